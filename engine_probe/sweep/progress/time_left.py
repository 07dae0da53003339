"""Estimates how long the rest of a sweep will take, from what it has measured so far."""

import math
from collections import defaultdict
from collections.abc import Sequence
from statistics import mean, median

import msgspec

from engine_probe.sweep.definition.sweep_file import Point
from engine_probe.sweep.preflight.duration_estimate import limited, tokens_to_come
from engine_probe.sweep.results.point_results import Row, Scored, Unmeasured, Unprobed

MINUTES_FROM, HOURS_FROM = 90, 5400  # seconds


class Remaining:
    """Follows the points of a grid as they begin and end, and the engines as they start."""

    def __init__(self, todo: Sequence[Point]) -> None:
        self._left = {point.key: point for point in todo}
        self._engine = {point.key: "".join(engine.key for engine in point.engines) for point in todo}
        self._seconds: list[float] = []  # of every point so far
        self._of_load: dict[tuple[str, bytes], list[float]] = defaultdict(list)
        # By engine and requests in flight: tokens and seconds.
        self._tokens: dict[str, dict[int, tuple[int, float]]] = defaultdict(dict)
        self._texts: list[float] = []  # seconds of those that were predicted
        self._starts: list[float] = []
        self._starting: float | None = None  # since when
        self._begun: tuple[str, float] | None = None
        self._expected: dict[str, float] = {}
        self._warm = ""  # the engine that runs

    def starting(self, now: float) -> None:
        self._starting = now if self._starting is None else self._starting

    def began(self, point: Point, now: float) -> None:
        if self._starting is not None:
            self._starts.append(now - self._starting)
        self._starting, self._begun, self._warm = None, (point.key, now), self._engine.get(point.key, "")

    def ended(self, row: Row) -> None:
        self._left.pop(row.id, None)
        self._begun = None
        if isinstance(row, Scored):
            self._texts.append(row.seconds)
        elif isinstance(row, Unprobed):
            self._learn(row.point, row.driven.seconds, row.driven.answered_tokens)
        elif not isinstance(row, Unmeasured):
            self._learn(row.point, row.seconds, row.output_tokens)
        if self._seconds:
            self._expected = {key: self._expect(key, point) for key, point in self._left.items()}

    def words(self, now: float) -> str:
        seconds = self.seconds(now)
        return "" if seconds is None or seconds < 1 else f", {about(seconds)}"

    def seconds(self, now: float) -> float | None:
        """Return the estimate. None before a point is measured, and in a search, whose points are unknown."""
        if not self._expected:
            return None
        total = sum(self._expected.values())
        if self._begun is not None and self._begun[0] in self._expected:
            key, since = self._begun
            total -= min(now - since, self._expected[key])
        engines = {self._engine[key] for key in self._left} - {self._warm}
        return total + len(engines) * (mean(self._starts) if self._starts else 0.0)

    def _learn(self, point: Point, seconds: float, tokens: int | None) -> None:
        engine, work = self._engine.get(point.key, ""), point.workload
        self._seconds.append(seconds)
        self._of_load[engine, msgspec.json.encode(work)].append(seconds)
        if tokens:
            before = self._tokens[engine].get(work.max_in_flight, (0, 0.0))
            self._tokens[engine][work.max_in_flight] = (before[0] + tokens, before[1] + seconds)

    def _expect(self, key: str, point: Point) -> float:
        """Estimate a point: as long as its load took before, or at the rate of the nearest load, or the mean of all."""
        if point.quality is not None:
            return mean(self._texts) if self._texts else 0.0
        engine, work = self._engine[key], point.workload
        if same := self._of_load.get((engine, msgspec.json.encode(work))):
            return median(same)
        loads = self._tokens.get(engine) or next(iter(self._tokens.values()), None)
        to_come = tokens_to_come(point)
        if loads is None or to_come is None:
            return limited(mean(self._seconds), point)
        tokens, seconds = loads[min(loads, key=lambda in_flight: abs(math.log(in_flight / work.max_in_flight)))]
        return limited(to_come * seconds / tokens, point)


def about(seconds: float) -> str:
    if seconds >= HOURS_FROM:
        return f"about {seconds / 3600:.1f} h left"
    return f"about {seconds / 60:.0f} min left" if seconds >= MINUTES_FROM else f"about {seconds:.0f} s left"
