"""Ends a point when its rate of output tokens is steady (`stop.steady`), judged by the rows of its recorder."""

import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from engine_probe.analysis.statistics.settled_rate import Rate, settled_rate
from engine_probe.record.recorder import READINGS, Recorder
from engine_probe.sweep.results.driver_log import Steadiness, SteadyPart
from engine_probe.workload.stop import FIRST_CHECK_SECONDS, Steady

COLLECT_NS = 200_000_000  # as often as the recorder's writer takes rows
LATER = 1.25  # each check is this much later than the one before: constant checking finds it steady by chance
CHECKS = 2  # in a row that must find it steady, for the same reason
TURNOVERS = 2  # everything in flight must have been answered so often: one burst does not predict the next
CALLED, ENDED, TOKENS = (READINGS.index(name) for name in ("called_ns", "update_returned_ns", "delivered_tokens"))


class SteadyStop:
    """Called by the driver before every step; checks now and then."""

    def __init__(self, asked: Steady, recorder: Recorder, now: Callable[[], int] | None = None) -> None:
        now = now or time.monotonic_ns
        self._asked, self._now = asked, now
        self._taken: deque[npt.NDArray[np.int64]] = deque()  # by the recorder's writer
        recorder.followers.append(self._taken)
        self._begin_ns: int | None = None
        self._ends: list[npt.NDArray[np.int64]] = []
        self._tokens: list[npt.NDArray[np.int64]] = []
        self._collect_ns = now() + COLLECT_NS
        self._began_ns, self._next_seconds = now(), max(asked.after_seconds, FIRST_CHECK_SECONDS)
        self._last: Rate | None = None
        self._narrow = 0  # checks in a row that found the interval narrow enough
        self._reached = False

    def __call__(self, finished_ns: Sequence[int], in_flight: int) -> bool:
        """Return whether the point ends now. `finished_ns` holds when each answer came, in order."""
        now_ns = self._now()
        if now_ns < self._collect_ns:
            return False
        self._collect_ns = now_ns + COLLECT_NS
        self._collect()
        seconds = (now_ns - self._began_ns) / 1e9
        if seconds < self._next_seconds:
            return False
        self._next_seconds = seconds * LATER
        return self._is_steady(finished_ns, in_flight)

    def _collect(self) -> None:
        """Keep the columns that the rate needs, of the steps that ended since this began."""
        while self._taken:
            rows = self._taken.popleft()
            rows = rows[rows[:, ENDED] >= self._began_ns]
            if not len(rows):
                continue
            if self._begin_ns is None:
                self._begin_ns = int(rows[0, CALLED])
            self._ends.append(rows[:, ENDED].copy())
            self._tokens.append(rows[:, TOKENS].copy())

    def _is_steady(self, finished_ns: Sequence[int], in_flight: int) -> bool:
        if self._begin_ns is None:
            return False
        self._ends, self._tokens = [np.concatenate(self._ends)], [np.concatenate(self._tokens)]
        self._last = rate = settled_rate(self._begin_ns, self._ends[0], self._tokens[0])
        narrow = rate is not None and rate.relative <= self._asked.within
        self._narrow = self._narrow + 1 if narrow else 0
        if rate is None or self._narrow < CHECKS:
            return False
        answered = len(finished_ns) - bisect_left(finished_ns, rate.from_ns)
        self._reached = answered >= TURNOVERS * in_flight
        return self._reached

    def steadiness(self) -> Steadiness:
        """Return what the last check found, and whether it ended the point."""
        rate, part = self._last, None
        if rate is not None:
            part = SteadyPart(rate.from_ns, rate.to_ns, rate.per_second, float(rate.half_width))
        return Steadiness(self._reached, self._asked.within, part)
