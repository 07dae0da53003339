"""Gives up a point that hangs, and none that is only long: by its steps, and by what it asks for."""

import time
from collections.abc import Callable

from engine_probe.errors import UnavailableError
from engine_probe.perplexity.scoring import Scoring
from engine_probe.recordings.live_reader import Moment
from engine_probe.sweep.definition.sweep_file import Point
from engine_probe.sweep.preflight.point_limit import STALL_SECONDS, longest_time


class PointTimeoutError(UnavailableError):
    """A point took longer than it may; the engine did not die."""


class PointTimeout:
    """Follows the point that is being measured.

    A given limit is the only one. Otherwise a point has the time that `longest_time` allows for what it asks, and no
    step of it may take longer than half an hour. No step is due where nothing is in flight, and none is seen without
    the probe or during a warm-up.
    """

    def __init__(self, point: Point, given: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since = self._last_change = clock()
        self._given = given
        self._limit = longest_time(point) if given is None else given
        self._last: Moment | Scoring | None = None
        self._first_step_due = point.probe and not point.warm_up.own_workload

    def check(self, progress: Moment | Scoring | None) -> None:
        """Raise if the point has taken too long."""
        now = self._clock()
        if progress != self._last or (isinstance(progress, Moment) and progress.idle):
            self._last, self._last_change = progress, now
        if self._limit is not None and now - self._since > self._limit:
            basis = "of what it asks for; point_seconds sets another limit" if self._given is None else "point_seconds"
            raise PointTimeoutError(f"given up after {self._limit:g} s ({basis})")
        is_due = self._given is None and (self._first_step_due or self._last is not None)
        if is_due and now - self._last_change > STALL_SECONDS:
            raise PointTimeoutError(f"given up after {STALL_SECONDS:g} s without a step (point_seconds allows more)")
