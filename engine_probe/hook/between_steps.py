"""A pause in which no thread changes the scheduler, so that its requests and blocks can be counted."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CodeType, FrameType
from typing import Any

from engine_probe.hook.patches import Patches
from engine_probe.hook.scheduler import SchedulerHook

CHANGING_METHODS = ("schedule", "update_from_output", "add_request", "finish_requests", "reset_prefix_cache")
LONGEST_WAIT_SECONDS, POLL_SECONDS = 5.0, 0.001


def begin_between_steps(hook: SchedulerHook) -> None:
    """Let a hook count what is in the engine, and record from then on."""
    with between_steps(hook.scheduler) as busy:
        if busy:
            raise TimeoutError(busy)
        hook.begin()


def close_between_steps(hook: SchedulerHook) -> dict[str, Any]:
    """Audit a hook's counters, detach it and return what `run.json` says about it."""
    try:
        with between_steps(hook.scheduler) as busy:
            audit = [] if busy else hook.audit()
    finally:
        hook.detach()
    return {**hook.close(), "counter_audit": audit, "counters_not_audited": busy}


@contextmanager
def between_steps(scheduler: Any) -> Iterator[str | None]:
    """Block other threads at the scheduler's methods and wait until none is inside one; model work goes on.

    Yield None, or the reason if a thread stayed inside. The caller must not be inside a step itself.
    """
    lock, gates = threading.Lock(), Patches()
    with lock:
        try:
            for name in CHANGING_METHODS:
                if hasattr(scheduler, name):
                    gates.replace(scheduler, name, _gated(getattr(scheduler, name), lock))
            idle = _wait_until_idle(scheduler)
            yield None if idle else f"another thread was in the scheduler for {LONGEST_WAIT_SECONDS:g} s"
        finally:
            gates.undo()


def _gated(call: Callable[..., Any], lock: Any) -> Callable[..., Any]:
    def gate(*args: Any, **kwargs: Any) -> Any:
        with lock:
            pass
        return call(*args, **kwargs)

    return gate


def _wait_until_idle(scheduler: Any) -> bool:
    """Wait until two polls in a row find no thread inside; False after LONGEST_WAIT_SECONDS.

    One poll is not enough: a thread may have looked a method up before it was gated and enter it afterwards.
    """
    codes = frozenset(_changing_codes(type(scheduler)))
    deadline, idle_polls = time.monotonic() + LONGEST_WAIT_SECONDS, 0
    while idle_polls < 2:
        if time.monotonic() > deadline:
            return False
        idle_polls = 0 if _other_thread_inside(codes) else idle_polls + 1
        time.sleep(POLL_SECONDS)
    return True


def _changing_codes(scheduler_class: type) -> Iterator[CodeType]:
    for owner in scheduler_class.__mro__:
        for name in CHANGING_METHODS:
            code = getattr(vars(owner).get(name), "__code__", None)
            if code is not None:
                yield code


def _other_thread_inside(codes: frozenset[CodeType]) -> bool:
    this_thread = threading.get_ident()
    for thread, top in sys._current_frames().items():
        frame: FrameType | None = top
        while thread != this_thread and frame is not None:
            if frame.f_code in codes:
                return True
            frame = frame.f_back
    return False
