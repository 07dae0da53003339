"""The common start of engines that measure a point together: all wait until the last one is warm."""

import threading
import time
from collections.abc import Callable, Iterable

from engine_probe.sweep.engine_process.messages import Ready

# Between the moment when the last engine is warm and the common start. An engine hears of it within a tick, and then
# attaches its probe.
LEAD_SECONDS = 3.0


class PointOverError(Exception):
    """The point is over, because another of its engines failed or the sweep is ending."""


class StartGate:
    """Knows which engines are ready; opens once all are."""

    def __init__(self, engines: int, now: Callable[[], int] = time.time_ns) -> None:
        self._missing, self._now = engines, now
        self._lock = threading.Lock()
        self._stopped = False
        self.start_ns: int | None = None  # by the wall clock; None until all are ready

    def arrive(self) -> None:
        with self._lock:
            self._missing -= 1
            if not self._missing:
                self.start_ns = self._now() + round(LEAD_SECONDS * 1e9)

    def stop(self) -> None:
        """Let every engine end what it does."""
        self._stopped = True

    def check(self) -> None:
        """Raise if the point is over."""
        if self._stopped:
            raise PointOverError


class StartSlot:
    """One engine's place at the gate."""

    def __init__(self, gate: StartGate) -> None:
        self._gate, self._told = gate, False

    def check(self) -> None:
        self._gate.check()

    def attend(self, events: Iterable[object]) -> int | None:
        """Take note of a warm engine among its events. Return the common start, once, when it is known."""
        self._gate.check()
        if any(isinstance(event, Ready) for event in events):
            self._gate.arrive()
        if self._told or self._gate.start_ns is None:
            return None
        self._told = True
        return self._gate.start_ns
