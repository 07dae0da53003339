"""The noise of the levels of a curve, from how repeats scatter and from how levels scatter about a smooth curve.

Noise is in proportion to a rate or a time, so variances are relative. Two repeats alone say next to nothing, and levels
do not all vary alike: the variance of each is moderated towards that of all (Smyth 2004). What all repeats of a level
share shows only between levels: if neighbours lie further from a smooth curve than repeats explain (F-test), the excess
is added to the variance of every level. Repeats that follow each other share what the machine does in that time, which
looks like an effect of the load, so they have no interval.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import groupby

import numpy as np

from engine_probe.analysis.statistics.arrays import Reals
from engine_probe.analysis.statistics.rank_tests import holm
from engine_probe.analysis.statistics.repeats import Repeated, finite, repeated
from engine_probe.analysis.statistics.student import (
    CONFIDENCE,
    SIGNIFICANT,
    Interval,
    quantile,
    summed_variance,
    two_sided_p,
)

FEWEST = 5  # levels that can show what their repeats share
MOST_PRIOR = 2.0  # degrees of freedom of the common variance: a few levels cannot show that all vary alike
BENDS = 0.25  # of the inner levels: at so many the curve itself may bend


@dataclass(frozen=True)
class LevelNoise:
    """The means of levels with their relative variances: what repeats show, and what all repeats of a level share."""

    means: tuple[float, ...]
    variances: tuple[float, ...]  # of the means
    freedoms: tuple[float, ...]
    deviation: float  # of one run, pooled over all levels
    shared: float = 0.0  # variance between levels that repeats do not explain
    shared_freedom: float = 1.0

    @property
    def shared_deviation(self) -> float:
        return math.sqrt(self.shared)

    def interval(self, place: int, count: int, chosen_from: int = 1) -> Repeated:
        """Return a level's mean with its interval.

        The highest of several is likely too high: its lower end is corrected for their number (Bonferroni).
        """
        error, freedom = self._error(place)
        mean, corrected = self.means[place], 1 - (1 - CONFIDENCE) / chosen_from
        low, high = (quantile(freedom, confidence) * error * mean for confidence in (corrected, CONFIDENCE))
        return Repeated(mean, count, mean - low, mean + high)

    @cached_property
    def highest(self) -> int:
        return self.means.index(max(self.means))

    @cached_property
    def like_the_highest(self) -> tuple[int, ...]:
        """Return the levels that are not significantly below the highest (one-sided t-tests, Holm's method).

        The correction also allows for the choice of the highest from all.
        """
        others = [place for place in range(len(self.means)) if place != self.highest]
        corrected = holm([self.below_p(place, self.highest) for place in others])
        return tuple(place for place, p in zip(others, corrected, strict=True) if p >= SIGNIFICANT)

    def throughput_interval(self, place: int, count: int) -> Repeated:
        """Return a level's throughput with its interval; that of the highest allows for its choice among its like."""
        return self.interval(place, count, 1 + len(self.like_the_highest) if place == self.highest else 1)

    def below_p(self, lower: int, higher: int) -> float:
        """Return the one-sided p that a level is below another one, which has the higher mean."""
        error, freedom = self._error(lower, higher)
        return two_sided_p(math.log(self.means[higher] / self.means[lower]), error, freedom) / 2

    def lead_p(self, lower: int, higher: int, lead: float) -> float:
        """Return the one-sided p of a lead of one level over another.

        The lead may count more than the means, such as costs that have no noise.
        """
        parts = [(self.means[at] ** 2 * self.variances[at], self.freedoms[at]) for at in (lower, higher)]
        squared = self.means[lower] ** 2 + self.means[higher] ** 2
        variance, freedom = summed_variance([*parts, (squared * self.shared, self.shared_freedom)])
        if not variance:
            return 0.0 if lead > 0 else 1.0
        return two_sided_p(lead, math.sqrt(variance), freedom) / 2

    def shows(self, one: int, other: int) -> float:
        """Return the least relative difference of two levels that is significant."""
        error, freedom = self._error(one, other)
        return math.expm1(quantile(freedom) * error)

    def ratio(self, one: int, other: int, confidence: float) -> Interval:
        """Return the two-sided interval of the ratio of two levels."""
        error, freedom = self._error(one, other)
        ratio, reach = self.means[one] / self.means[other], quantile(freedom, confidence) * error
        return ratio * math.exp(-reach), ratio * math.exp(min(reach, 700.0))

    def _error(self, *places: int) -> tuple[float, float]:
        """Return the standard error of a sum of levels, and its degrees of freedom."""
        parts = [(self.variances[at], self.freedoms[at]) for at in places]
        variance, freedom = summed_variance([*parts, (self.shared * len(places), self.shared_freedom)])
        return math.sqrt(variance), freedom


def level_noise(loads: Sequence[float], groups: Sequence[Sequence[float]]) -> LevelNoise | None:
    """Return the noise of levels in the order of load. None without repeats, or if a value is not above zero."""
    repeats = [np.array(group) for group in groups if len(group) > 1]
    if not repeats or any(value <= 0 for group in groups for value in group):
        return None
    means = [float(np.mean(group)) for group in groups]
    freedom = sum(len(group) - 1 for group in repeats)
    own = [float(np.var(group, ddof=1) / group.mean() ** 2) for group in repeats]
    pooled = sum((len(group) - 1) * variance for group, variance in zip(repeats, own, strict=True)) / freedom
    prior = prior_freedom(own, [len(group) - 1 for group in repeats], pooled)
    variances, freedoms, shown = [], [], iter(own)
    for group in groups:
        more = len(group) - 1
        moderated = (prior * pooled + (more * next(shown) if more else 0.0)) / (prior + more)
        variances.append(moderated / len(group))
        freedoms.append(min(prior + more, freedom))
    shared = shared_variance(loads, means, float(np.mean(variances)), freedom)
    return LevelNoise(tuple(means), tuple(variances), tuple(freedoms), math.sqrt(pooled), *shared)


def prior_freedom(variances: Sequence[float], freedoms: Sequence[int], pooled: float) -> float:
    """Return the degrees of freedom that the common variance is worth, from how much variances of levels differ.

    By the method of moments on their logarithms (Smyth 2004, section 6.2), and at most `MOST_PRIOR`.
    """
    from scipy.special import digamma, polygamma

    if len(variances) < 2 or not pooled:
        return MOST_PRIOR
    half = np.array(freedoms) / 2
    logs = np.log(np.maximum(variances, 1e-5 * pooled)) - digamma(half) + np.log(half)
    excess = float(np.var(logs, ddof=1) - np.mean(polygamma(1, half)))
    if excess <= polygamma(1, MOST_PRIOR / 2):
        return MOST_PRIOR
    found = 0.5 + 1 / excess
    for _ in range(8):  # Newton's method for the inverse of the trigamma function
        trigamma = float(polygamma(1, found))
        found += trigamma * (1 - trigamma / excess) / float(polygamma(2, found))
    return 2 * found


def shared_variance(
    loads: Sequence[float], means: Sequence[float], explained: float, freedom: float
) -> tuple[float, float]:
    """Return the variance between levels that repeats do not explain, and its degrees of freedom; zero if none shows.

    The levels that lie furthest from their neighbours are left out, since the curve itself may bend there.
    """
    from scipy.special import fdtrc

    inner = len(loads) - 2
    if len(loads) < FEWEST or not explained:
        return 0.0, 1.0
    kept = inner - max(1, round(BENDS * inner))
    distances = sorted(off_curve(loads[at - 1 : at + 2], means[at - 1 : at + 2]) for at in range(1, inner + 1))
    between = sum(distances[:kept]) / kept / smallest_squares(inner, kept)
    if fdtrc(kept, freedom, between / explained) >= 1 - CONFIDENCE:
        return 0.0, 1.0
    return between - explained, float(kept)


def off_curve(loads: Sequence[float], means: Sequence[float]) -> float:
    """Return the relative squared distance of the middle of three levels from a smooth curve, in units of a variance.

    The curve is a straight line in the scale that fits best: plain, logarithmic or inverse, in which a step of a + b n
    is one. Each is the mean of the neighbours that has this name, weighted by their distance in load.
    """
    found = []
    for power in (1.0, 0.0, -1.0):
        x, y = scaled(np.array(loads), power), scaled(np.array(means), power)
        weight = (x[2] - x[1]) / (x[2] - x[0])
        middle = weight * y[0] + (1 - weight) * y[2]
        expected = math.exp(middle) if not power else middle**power
        shares = np.array([weight, 1 - weight]) * (np.array([means[0], means[2]]) / expected) ** power
        found.append((means[1] / expected - 1) ** 2 / (1 + float(shares @ shares)))
    return min(found)


def scaled(values: Reals, power: float) -> Reals:
    return np.asarray(values**power if power else np.log(values))


@cache
def smallest_squares(count: int, kept: int) -> float:
    """Return the expected mean of the smallest squares of `count` standard normal values."""
    from scipy.special import bdtr, ndtri

    shares = (np.arange(4000) + 0.5) / 4000
    return float(np.mean(ndtri((1 + shares) / 2) ** 2 * bdtr(kept - 1, count - 1, shares)) * count / kept)


def in_rounds(runs: Iterable[tuple[float, float]]) -> bool:
    """Return whether other loads were measured between repeats; each run has a load and a start.

    Of loads in a random order some are measured twice in a row, so most loads with repeats decide.
    """
    in_time = [load for load, _ in sorted(runs, key=lambda run: run[1])]
    stretches = Counter(load for load, _ in groupby(in_time))
    apart = [stretches[load] > 1 for load, count in Counter(in_time).items() if count > 1]
    return sum(apart) >= len(apart) / 2


def over_levels(
    measured: Sequence[tuple[float, Sequence[float | None]]],
    apart: bool,
    in_proportion: bool = True,
    throughput: bool = False,
) -> list[Repeated | None]:
    """Return the mean of a figure at each load, in their order, with its interval.

    There is none unless repeats were measured in rounds (`apart`). Where noise is not in proportion to the figure, as
    of a share, the interval is that of a level's own repeats. That of the highest `throughput` allows for its choice.
    """
    known = [(load, values) for load, group in measured if (values := finite(group))]
    if not apart:
        means = {load: Repeated(float(np.mean(values)), len(values)) for load, values in known}
        return [means.get(load) for load, _ in measured]
    loads, groups = [load for load, _ in known], [values for _, values in known]
    noise = level_noise(loads, groups) if in_proportion else None
    if noise is None:
        return [repeated(group) for _, group in measured]
    interval = noise.throughput_interval if throughput else noise.interval
    found = {load: interval(at, len(groups[at])) for at, load in enumerate(loads)}
    return [found.get(load) for load, _ in measured]
