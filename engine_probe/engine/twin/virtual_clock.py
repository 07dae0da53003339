"""A clock that stands still until somebody moves it, and that a whole process can be made to read."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import nextafter
from typing import Any

SECOND_NS = 1_000_000_000
START_NS = SECOND_NS  # the first reading, the same in every process: two runs with the same steps have the same times
FOLLOWING = ("engine_probe.", "vllm.")  # packages whose modules may have imported the functions of `time` by name


class VirtualClock:
    """Holds a moment that only its methods move."""

    def __init__(self, wall_ns: int | None = None) -> None:
        self._now_ns = START_NS
        wall_ns = time.time_ns() if wall_ns is None else wall_ns
        self._wall_ahead_ns = wall_ns // SECOND_NS * SECOND_NS - START_NS

    def now_ns(self) -> int:
        return self._now_ns

    def advance_to(self, moment_ns: int) -> None:
        """Move the clock to a moment; one that has passed leaves it where it is."""
        if moment_ns > self._now_ns:
            self._now_ns = moment_ns

    def set_to(self, moment_ns: int) -> None:
        """Set the clock to a moment, which may have passed: of one of several cores that compute at the same time."""
        self._now_ns = moment_ns

    def sleep(self, seconds: float) -> None:
        """Let time pass at once. At least a nanosecond, or a caller that waits for a moment would wait for ever."""
        self._now_ns += max(1, round(seconds * SECOND_NS))

    @contextmanager
    def installed(self) -> Iterator[VirtualClock]:
        """Let this process read the clock in place of Python's monotonic and wall clocks, inside the block.

        Sleeping takes no time in the thread that installs it, and real time in all others. `time.perf_counter` stays
        real: with it this process measures itself.
        """
        owner, real_sleep = threading.get_ident(), time.sleep
        replaced: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
            "monotonic_ns": (time.monotonic_ns, lambda: self._now_ns),
            "monotonic": (time.monotonic, lambda: self._now_ns / SECOND_NS),
            "time_ns": (time.time_ns, lambda: self._now_ns + self._wall_ahead_ns),
            # Seconds of the wall clock are floats of 0.2 us: rounded up, a request would arrive after it was queued.
            "time": (time.time, lambda: nextafter((self._now_ns + self._wall_ahead_ns) / SECOND_NS, 0)),
            "sleep": (real_sleep, lambda s: self.sleep(s) if threading.get_ident() == owner else real_sleep(s)),
        }
        try:
            _exchange({id(real): virtual for real, virtual in replaced.values()})
            yield self
        finally:
            _exchange({id(virtual): real for real, virtual in replaced.values()})


def _exchange(replacements: dict[int, Callable[..., Any]]) -> None:
    """Replace functions, by identity, in `time` and in the modules that imported them by name."""
    modules = [module for name, module in list(sys.modules.items()) if name.startswith(FOLLOWING)]
    for module in (time, *modules):
        for name, value in list(getattr(module, "__dict__", {}).items()):
            if id(value) in replacements and callable(value):
                setattr(module, name, replacements[id(value)])
