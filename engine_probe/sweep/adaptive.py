"""Finding the load that matters with as few points as it takes: bracket by doubling, then bisect.

A search is a generator: it yields a value to measure and is sent what came of it. It ends by returning what it found.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Annotated, Literal

import msgspec

from engine_probe.analysis.slo import Slo
from engine_probe.errors import InputError

RISING = 1.02  # a throughput that rises by less than this from one point to the double is no longer rising

Search = Generator[int, float, "Found"]


class Adaptive(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"first": "from", "last": "to"}):
    """`axis` goes from `from` to at most `to`: until throughput saturates, or as far as the SLO is met."""

    axis: str
    first: Annotated[int, msgspec.Meta(ge=1)]
    last: Annotated[int, msgspec.Meta(ge=1)]
    goal: Literal["saturation", "slo"] = "saturation"
    slo: Slo | None = None
    resolution: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.1  # how far apart, relatively, the last two may be

    def check(self) -> None:
        if self.last < self.first:
            raise InputError(f"adaptive: to = {self.last} is below from = {self.first}")
        if self.goal == "slo" and (self.slo is None or not self.slo.limits_ms):
            raise InputError("adaptive.slo is missing: say what is allowed: ttft_ms, tpot_ms, e2el_ms or several")
        if self.goal == "saturation" and self.slo is not None:
            raise InputError('adaptive.slo is for goal = "slo": leave it out, or set the goal')

    def search(self) -> Search:
        find = find_peak if self.goal == "saturation" else find_limit
        return find(self.first, self.last, self.resolution)


class Found(msgspec.Struct, frozen=True):
    """The best value measured, and the neighbours between which the true one lies (None: beyond what was tried)."""

    best: int | None
    above: int | None  # the greatest measured below the best
    below: int | None  # the smallest measured above it


def find_peak(first: int, last: int, resolution: float) -> Search:
    """The value of the highest score, on a curve that rises and then does not."""
    scores: dict[int, float] = {}
    value = first
    while True:
        scores[value] = yield value
        top = max(scores, key=lambda tried: scores[tried])
        flat = value > first and scores[value] < RISING * max(scores[tried] for tried in scores if tried < value)
        if value == last or (flat and top != value):
            break
        value = min(value * 2, last)
    while True:
        best = max(scores, key=lambda tried: scores[tried])
        low, high = neighbours(scores, best)
        gaps = [(other, middle(low_end, high_end)) for other, low_end, high_end in sides(low, best, high)]
        open_gaps = [(abs(other - best) / best, probe) for other, probe in gaps if probe is not None]
        wide = [(gap, probe) for gap, probe in open_gaps if gap > resolution]
        if not wide:
            return Found(best, low, high)
        probe = max(wide)[1]
        scores[probe] = yield probe


def find_limit(first: int, last: int, resolution: float) -> Search:
    """The greatest value whose score is not negative, where it is negative from some value on."""
    good: int | None = None
    value = first
    while True:
        if (yield value) < 0:
            break
        good = value
        if value == last:
            return Found(good, None, None)
        value = min(value * 2, last)
    bad = value
    while good is not None and (probe := middle(good, bad)) is not None and (bad - good) / good > resolution:
        if (yield probe) < 0:
            bad = probe
        else:
            good = probe
    return Found(good, None, bad)


def neighbours(scores: dict[int, float], best: int) -> tuple[int | None, int | None]:
    below = [value for value in scores if value < best]
    above = [value for value in scores if value > best]
    return (max(below) if below else None), (min(above) if above else None)


def sides(low: int | None, best: int, high: int | None) -> list[tuple[int, int, int]]:
    """The gaps beside the best: the neighbour, and the gap's two ends."""
    found = []
    if low is not None:
        found.append((low, low, best))
    if high is not None:
        found.append((high, best, high))
    return found


def middle(low: int, high: int) -> int | None:
    """A value between the two; None where there is none."""
    return (low + high) // 2 if high - low > 1 else None
