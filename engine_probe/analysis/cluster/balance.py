"""Whether the engines of a cluster are equally fast, and which one is not."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from engine_probe.analysis.statistics.arrays import Reals
from engine_probe.analysis.statistics.rank_tests import holm
from engine_probe.analysis.statistics.student import quantile, two_sided_p

LEVEL = 0.05  # of the test over all engines together
ROUNDING = 1e-9  # a smaller relative difference is none: predicted engines can be exactly equal


@dataclass(frozen=True)
class EngineBias:
    """An engine that differs from the others: the ratio of its figure to the geometric mean of theirs."""

    engine: int  # its place, from 0
    ratio: float
    low: float  # ends of the 95 % interval
    high: float
    p: float  # corrected for the number of engines (Holm)


@dataclass(frozen=True)
class Balance:
    """How far apart equal engines are."""

    means: tuple[float, ...]  # of each engine, over the repeats
    repeats: int  # a single one has no test
    biased: tuple[EngineBias, ...]  # engines that differ by more than chance, the surest first

    @property
    def spread(self) -> float:
        """Return how far the highest lies above the lowest, as a share of the lowest."""
        return max(self.means) / min(self.means) - 1


def balance(repeats: Sequence[Sequence[float]]) -> Balance | None:
    """Return the balance of a figure of each engine in each repeat. None unless all are above zero.

    Logarithms are the sum of a part of the repeat, a part of the engine and noise; the noise is what the first two
    leave over (two-way analysis of variance).
    """
    figures = np.array(repeats, dtype=np.float64)
    if figures.ndim != 2 or figures.shape[1] < 2 or not np.all(np.isfinite(figures) & (figures > 0)):
        return None
    return Balance(tuple(figures.mean(axis=0).tolist()), len(figures), tuple(biased(np.log(figures))))


def biased(logs: Reals) -> Iterator[EngineBias]:
    """Yield the engines that differ; each is left out before the others are tested, or it would accuse them all."""
    left = list(range(logs.shape[1]))
    while len(left) > 1 and len(logs) > 1:
        tested = each_against_others(logs[:, left])
        # The furthest has the least p, since all have the same error; of two, which are as far, the slower.
        place = max(range(len(left)), key=lambda at: (round(abs(math.log(tested[at].ratio)), 9), -tested[at].ratio))
        if tested[place].p >= LEVEL:
            return
        yield replace(tested[place], engine=left.pop(place))


def each_against_others(logs: Reals) -> list[EngineBias]:
    repeats, engines = logs.shape
    within = logs - logs.mean(axis=1, keepdims=True)  # without what a repeat does to all engines
    effects = within.mean(axis=0)
    freedom = (repeats - 1) * (engines - 1)
    variance = float(((within - effects) ** 2).sum()) / freedom
    # An engine against the mean of the others: its effect times n / (n - 1).
    distances = effects * engines / (engines - 1)
    distances[np.abs(distances) < ROUNDING] = 0.0
    error = math.sqrt(variance * engines / ((engines - 1) * repeats))
    half = quantile(freedom) * error
    found = [two_sided_p(float(distance), error, freedom) for distance in distances]
    corrected = found if engines == 2 else holm(found)  # two engines are one comparison, told from either side
    return [
        EngineBias(number, math.exp(distance), math.exp(distance - half), math.exp(distance + half), p)
        for number, (distance, p) in enumerate(zip(distances.tolist(), corrected, strict=True))
    ]
