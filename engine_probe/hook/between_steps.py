"""A moment in which no thread changes the scheduler, so that what it holds can be counted."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CodeType, FrameType
from typing import Any

from engine_probe.hook.patches import Patches

CHANGING = ("schedule", "update_from_output", "add_request", "finish_requests", "reset_prefix_cache")
LONGEST_WAIT_SECONDS, LOOK_SECONDS = 5.0, 0.001


@contextmanager
def between_steps(scheduler: Any) -> Iterator[str | None]:
    """Hold other threads back at the scheduler's methods, and wait until none is inside one of them.

    Yield why that did not come about, else None; model work goes on meanwhile. Callers must not be inside a step.
    """
    held, gates = threading.Lock(), Patches()
    with held:
        try:
            for name in CHANGING:
                if hasattr(scheduler, name):
                    gates.replace(scheduler, name, _gated(getattr(scheduler, name), held))
            left = _wait_until_left(scheduler)
            yield None if left else f"another thread was in the scheduler for {LONGEST_WAIT_SECONDS:g} s"
        finally:
            gates.undo()


def _gated(call: Callable[..., Any], held: Any) -> Callable[..., Any]:
    def gate(*args: Any, **kwargs: Any) -> Any:
        with held:
            pass
        return call(*args, **kwargs)

    return gate


def _wait_until_left(scheduler: Any) -> bool:
    """Two looks in a row that find nobody: a thread may be about to enter a method that it has looked up."""
    codes = frozenset(_codes(type(scheduler)))
    deadline, empty = time.monotonic() + LONGEST_WAIT_SECONDS, 0
    while empty < 2:
        if time.monotonic() > deadline:
            return False
        empty = 0 if _somebody_inside(codes) else empty + 1
        time.sleep(LOOK_SECONDS)
    return True


def _codes(scheduler_class: type) -> Iterator[CodeType]:
    for owner in scheduler_class.__mro__:
        for name in CHANGING:
            code = getattr(vars(owner).get(name), "__code__", None)
            if code is not None:
                yield code


def _somebody_inside(codes: frozenset[CodeType]) -> bool:
    own = threading.get_ident()
    for thread, top in sys._current_frames().items():
        frame: FrameType | None = top
        while thread != own and frame is not None:
            if frame.f_code in codes:
                return True
            frame = frame.f_back
    return False
