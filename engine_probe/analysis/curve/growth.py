"""How throughput grows with load: the line that fits the levels, and the certainty of its breaks and parts.

Every line of every family, broken at every choice of measured levels, is weighted by its marginal likelihood under one
unknown relative noise, with equal priors for families and for breaks within a family. The chosen line is the best of
the heaviest family of the likeliest outcome; certainties are sums of these weights.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from engine_probe.analysis.curve.curve_fits import Kind, Line, Reals, lines

Key = TypeVar("Key")

DOUBT = 0.05  # share of the weight that may lie outside a range
EXACT = 1e-18  # a squared relative error below this is rounding


@dataclass(frozen=True)
class Growth:
    """The chosen line, and all fitted lines with their weights."""

    line: Line
    relative_error: float  # root mean square, per degree of freedom
    tried: tuple[tuple[Line, float], ...]
    levels: tuple[float, ...]  # the loads that were measured

    @property
    def most(self) -> float:
        return self.levels[-1]

    @property
    def shape(self) -> tuple[Kind, ...]:
        """Return the parts up to the highest level."""
        return self.line.shape[: 1 + len(self.breaks)]

    @property
    def breaks(self) -> tuple[float, ...]:
        return tuple(place for place in self.line.breaks if place < self.most)

    def sureness(self, load: float) -> float:
        """Return the weight of all lines that put this load into the same part as the chosen line."""
        kind = self.line.kind(load)
        return min(1.0, sum(weight for line, weight in self.tried if line.kind(load) == kind))

    def equilibrium(self) -> tuple[float, float, float]:
        """Return the range in which proportional growth may end, and the certainty that it ends."""
        found = [(line, weight) for line, weight in self.tried if line.breaks and line.breaks[0] < self.most]
        low, high, weight = spread((line.breaks[0], weight) for line, weight in found)
        return self.below(low), self.above(high), weight

    def saturation(self) -> tuple[float, float, float]:
        """Return the range in which growth may end, and the certainty that it ends.

        Lines break only at measured levels, so the range reaches to the neighbours of the levels that hold the weight.
        """
        low, high, weight = spread((line.last, weight) for line, weight in self.tried if line.last is not None)
        return self.below(low), self.above(high), weight

    def below(self, load: float) -> float:
        """Return the level before a level; a load between levels is a fitted place and stays as it is."""
        place = bisect_left(self.levels, load)
        return self.levels[max(0, place - 1)] if load in self.levels else load

    def above(self, load: float) -> float:
        place = bisect_left(self.levels, load)
        return self.levels[min(len(self.levels) - 1, place + 1)] if load in self.levels else load


def spread(places: Iterable[tuple[float, float]]) -> tuple[float, float, float]:
    """Return the lowest and highest of the likeliest places that hold 95 % of the weight, and the weight of all."""
    at = totals(places)
    total, held, kept = sum(at.values()), 0.0, []
    for place, weight in sorted(at.items(), key=lambda each: -each[1]):
        kept.append(place)
        held += weight
        if held >= (1 - DOUBT) * total:
            break
    return min(kept), max(kept), min(1.0, total)


def totals(pairs: Iterable[tuple[Key, float]]) -> dict[Key, float]:
    found: dict[Key, float] = {}
    for key, weight in pairs:
        found[key] = found.get(key, 0.0) + weight
    return found


def growth(levels: Reals, rates: Reals) -> Growth | None:
    """Fit the growth over ascending levels, repeats included. None with too few levels."""
    tried = weighed(list(lines(levels, rates)), len(levels))
    if not tried:
        return None
    chosen = likeliest(tried)
    error = math.sqrt(chosen.squares / max(1, len(levels) - chosen.parameters))
    return Growth(chosen, error, tuple(tried), tuple(np.unique(levels).tolist()))


def likeliest(tried: Sequence[tuple[Line, float]]) -> Line:
    """Choose the outcome of growth (slope and cliff are both a fall), then the family, then the line."""
    outcomes = totals((line.outcome, weight) for line, weight in tried)
    outcome = max(outcomes, key=lambda each: outcomes[each])
    families = totals((line.family, weight) for line, weight in tried if line.outcome == outcome)
    family = max(families, key=lambda each: families[each])
    # The first of equals: of a bending curve the middle candidate.
    return min((line for line, _ in tried if line.family == family), key=lambda line: line.squares)


def weighed(found: Sequence[Line], count: int) -> list[tuple[Line, float]]:
    """Weight lines by their likelihood with the unknown noise integrated out, a power of the sum of squares."""
    places = totals((line.family, line.share) for line in found)
    logs = []
    for line in found:
        free = len(line.coefficients)
        squares = max(line.squares / count, EXACT)
        fits = -(count - free) / 2 * math.log(squares) - free / 2 * math.log(count)
        logs.append(fits + math.log(line.share / places[line.family]))
    most = max(logs, default=0.0)
    weights = [math.exp(log - most) for log in logs]
    return [(line, weight / sum(weights)) for line, weight in zip(found, weights, strict=True)]
