"""When an engine core begins and ends, in whichever process vLLM builds it.

Unlike everything else in this room this wraps methods of classes: the engine does not exist yet. A process whose
core is being built loads its plugins from within `EngineCore.__init__`, too late to wrap that call, so the
beginning of the busy loop is watched as well.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any


def watch_cores(built: Callable[[Any], None], closing: Callable[[Any], None]) -> None:
    """Call `built(core)` once or more after a core is complete, `closing(core)` before it shuts down."""
    from vllm.v1.engine.core import DPEngineCoreProc, EngineCore, EngineCoreProc

    _wrap(EngineCore, "__init__", after=built)
    _wrap(EngineCoreProc, "run_busy_loop", before=built)
    _wrap(DPEngineCoreProc, "run_busy_loop", before=built)
    _wrap(EngineCore, "shutdown", before=closing)


def _wrap(
    owner: type, name: str, before: Callable[[Any], None] | None = None, after: Callable[[Any], None] | None = None
) -> None:
    original = getattr(owner, name)

    @functools.wraps(original)
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
        if before:
            before(self)
        result = original(self, *args, **kwargs)
        if after:
            after(self)
        return result

    setattr(owner, name, wrapped)
