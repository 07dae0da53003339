"""The search for a load with few points: doubling until the goal is passed, then bisecting.

A search is a generator: it yields a value to measure, is sent its score, and returns what it found. With repeats, the
values that the answer rests on are measured again until the answer is significant or the repeats are used up; a value
that turns out different reopens the search.
"""

import math
from collections.abc import Generator, Iterable
from itertools import pairwise
from statistics import fmean
from typing import Annotated, Literal

import msgspec

from engine_probe.analysis.run.slo import Slo
from engine_probe.analysis.statistics.student import quantile
from engine_probe.errors import InputError
from engine_probe.files.key_meaning import about

TWO_SIDED = 0.9  # confidence of a margin; 95 % one-sided
HALF = 0.5

Search = Generator[int, float, "Found"]


class Adaptive(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"first": "from", "last": "to"}):
    """Search one load axis between `from` and `to` instead of measuring a grid."""

    axis: Annotated[str, about("The workload key to search over.", "workload.concurrency")]
    first: Annotated[int, about("The lowest value.", 1, ge=1)]
    last: Annotated[int, about("The highest value.", 64, ge=1)]
    goal: Annotated[
        Literal["saturation", "slo"],
        about(
            "saturation: the lowest load that gives the highest throughput; slo: the highest that meets adaptive.slo.",
            "slo",
        ),
    ] = "saturation"
    slo: Annotated[Slo | None, about("The limits of goal slo.")] = None
    resolution: Annotated[
        float, about("The search ends when neighbouring values differ by this share.", 0.15, gt=0, le=1)
    ] = 0.1
    tolerance: Annotated[
        float, about("Throughput within this share of the highest counts as the highest.", 0.02, ge=0, lt=1)
    ] = 0.05

    def check(self) -> None:
        if self.last < self.first:
            raise InputError(f"adaptive: to = {self.last} is below from = {self.first}")
        if self.goal == "slo" and (self.slo is None or self.slo.is_empty):
            raise InputError(
                "adaptive.slo is missing: say what is allowed: ttft_ms, tpot_ms, e2el_ms, success_percent, a cost, an "
                "energy or several"
            )
        if self.goal == "saturation" and self.slo is not None:
            raise InputError('adaptive.slo is for goal = "slo": leave it out, or set the goal')

    def search(self, repeats: int = 1) -> Search:
        if self.goal == "slo":
            return find_limit(self.first, self.last, self.resolution, repeats)
        return find_saturation(self.first, self.last, self.resolution, repeats, self.tolerance)


class Found(msgspec.Struct, frozen=True):
    """The value sought, and the neighbours between which the true one lies (None: beyond the measured values)."""

    best: int | None
    above: int | None  # the greatest measured below the best
    below: int | None  # the smallest measured above it
    highest: int | None = None  # where throughput was highest, for goal saturation
    sure: bool | None = None  # whether the answer is significant; None without repeats


class MeasuredScores:
    """The scores of each measured value, and their pooled noise."""

    def __init__(self, repeats: int) -> None:
        self._repeats = repeats
        self._scores: dict[int, list[float]] = {}

    def add(self, value: int, score: float) -> None:
        self._scores.setdefault(value, []).append(score)

    def __getitem__(self, value: int) -> float:
        return fmean(self._scores[value])

    @property
    def values(self) -> list[int]:
        return sorted(self._scores)

    @property
    def highest(self) -> int:
        return max(self.values, key=lambda value: self[value])

    def neighbours(self, value: int) -> tuple[int | None, int | None]:
        below = [other for other in self.values if other < value]
        above = [other for other in self.values if other > value]
        return (below[-1] if below else None), (above[0] if above else None)

    def count(self, value: int) -> int:
        return len(self._scores[value])

    def may_repeat(self, value: int) -> bool:
        return self.count(value) < self._repeats

    def margin(self, *values: int) -> float | None:
        """Return the margin of error of the difference of these values, from the pooled noise of all repeats.

        None without repeats.
        """
        freedom = sum(len(scores) - 1 for scores in self._scores.values())
        if not freedom:
            return None
        squares = sum((score - fmean(scores)) ** 2 for scores in self._scores.values() for score in scores)
        return quantile(freedom, TWO_SIDED) * math.sqrt(
            squares / freedom * sum(1 / self.count(value) for value in values)
        )


def find_saturation(first: int, last: int, resolution: float, repeats: int = 1, tolerance: float = 0.05) -> Search:
    """Find the lowest value whose throughput is as high as the highest, on a curve that rises and then does not.

    As high means not significantly more than the tolerance below the highest.
    """
    measured, value = MeasuredScores(repeats), first
    while True:
        measured.add(value, (yield value))
        below = [measured[other] for other in measured.values if other < value]
        flat = bool(below) and measured[value] * (1 - tolerance) <= max(below)
        if flat and measured.count(value) == 1 and measured.may_repeat(value):
            continue  # one bad measurement must not end the doubling
        if flat or value == last:
            break
        value = min(value * 2, last)
    while True:
        top = measured.highest
        line = measured[top] * (1 - tolerance)

        def short(value: int, line: float = line, top: int = top) -> float:
            """Return how far a value is below the line, beyond the margin of error."""
            return line - measured[value] - (measured.margin(value, top) or 0.0)

        best = next(value for value in measured.values if short(value) <= 0)
        above, below_ = measured.neighbours(best)
        _, behind = measured.neighbours(top)
        # The true highest may lie just beyond the top, or unmeasured between two doublings.
        falls = behind is not None and short(behind) > 0
        margin = measured.margin(best, top)
        sure = None if margin is None else best == top or measured[best] - line > margin
        probe = widest([(above, best)], resolution)
        probe = probe or (widest([(top, behind)], resolution) if falls else None)
        probe = probe or widest(pairwise(value for value in measured.values if value >= best), max(resolution, HALF))
        if probe is None and not sure:
            probe = next((value for value in (top, best) if measured.may_repeat(value)), None)
        if probe is None:
            return Found(best, above, below_, top, sure)
        measured.add(probe, (yield probe))


def find_limit(first: int, last: int, resolution: float, repeats: int = 1) -> Search:
    """Find the highest value whose score is not negative, given that scores are negative from some value on."""
    measured, value = MeasuredScores(repeats), first
    while True:
        measured.add(value, (yield value))
        if measured[value] < 0 or value == last:
            break
        value = min(value * 2, last)
    while True:
        bad = next((value for value in measured.values if measured[value] < 0), None)
        good = max((value for value in measured.values if bad is None or value < bad), default=None)
        ends = [value for value in (good, bad) if value is not None]
        margins = {value: measured.margin(value) for value in ends}
        doubtful = [end for end in ends if (margin := margins[end]) is None or abs(measured[end]) < margin]
        probe = widest([(good, bad)], resolution)
        if probe is None:
            probe = min(filter(measured.may_repeat, doubtful), key=measured.count, default=None)
        if probe is None:
            above = None if good is None else measured.neighbours(good)[0]
            return Found(good, above, bad, sure=None if None in margins.values() else not doubtful)
        measured.add(probe, (yield probe))


def widest(gaps: Iterable[tuple[int | None, int | None]], resolution: float) -> int | None:
    """Return the middle of the relatively widest gap. None if all are within the resolution."""
    wide = [
        ((high - low) / low, (low + high) // 2)
        for low, high in gaps
        if low is not None and high is not None and high - low > 1 and (high - low) / low > resolution
    ]
    return max(wide)[1] if wide else None
