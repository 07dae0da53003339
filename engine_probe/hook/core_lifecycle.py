"""Callbacks for the start and the shutdown of an engine core, in whichever process vLLM builds it.

Unlike the rest of this room, this wraps methods of classes, because no engine exists yet. vLLM loads plugins from
within `EngineCore.__init__`, which is too late to wrap that call in the process of an engine core; so the start of the
busy loop is wrapped as well.
"""

import functools
from collections.abc import Callable
from typing import Any


def hook_core_lifecycle(on_built: Callable[[Any], None], on_shutdown: Callable[[Any], None]) -> None:
    """Call `on_built(core)` (possibly twice) once a core is built, and `on_shutdown(core)` before it shuts down."""
    from vllm.v1.engine.core import DPEngineCoreProc, EngineCore, EngineCoreProc

    _wrap(EngineCore, "__init__", after=on_built)
    _wrap(EngineCoreProc, "run_busy_loop", before=on_built)
    _wrap(DPEngineCoreProc, "run_busy_loop", before=on_built)
    _wrap(EngineCore, "shutdown", before=on_shutdown)


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
