"""Does an exposure make an event likelier, among observations that are alike in everything that the strata name?

Conditional logistic regression: within a stratum each choice of as many events is as likely as its exposures make it.
The test shuffles the events within their strata; for an exposure of yes or no it is the permutation form of the
Mantel-Haenszel test, and over risk sets that of the log-rank test. The interval is that of the profile likelihood, so
that it ends at infinity or zero where events and exposures separate.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from engine_probe.analysis.statistics.arrays import Flags, Reals
from engine_probe.analysis.statistics.rank_tests import SEED, SHUFFLES
from engine_probe.analysis.statistics.student import CONFIDENCE

FURTHEST = 30.0  # logarithm of the largest odds ratio, between the smallest and the largest exposure of any stratum
HALVINGS = 50
SMALL = 16  # members of a stratum: those of larger ones are taken together where their exposures are equal


@dataclass(frozen=True, eq=False)
class Stratum:
    exposures: Reals
    events: Flags

    @property
    def is_informative(self) -> bool:
        """Return whether it can tell anything: events and others, of different exposures."""
        return 0 < self.events.sum() < len(self.events) and bool(np.ptp(self.exposures))


@dataclass(frozen=True)
class MatchedOdds:
    """The odds ratio of one more unit of exposure, with its 95 % interval and the two-sided p of no effect."""

    ratio: float
    low: float
    high: float
    p: float
    events: int  # in strata that can tell anything
    strata: int


def informative(strata: Iterable[Stratum]) -> list[Stratum]:
    return [stratum for stratum in strata if stratum.is_informative]


def matched_odds(strata: Sequence[Stratum]) -> MatchedOdds | None:
    """Estimate and test the effect of exposure. None if no stratum is informative."""
    from scipy.special import chdtri

    telling = informative(strata)
    if not telling:
        return None
    reach = FURTHEST / max(float(np.ptp(stratum.exposures)) for stratum in telling)
    likelihood = log_likelihood(telling)
    best = _highest(likelihood, -reach, reach)
    least = likelihood(best) - float(chdtri(1, 1 - CONFIDENCE)) / 2
    low = _crossing(likelihood, least, -reach, best)
    high = _crossing(likelihood, least, reach, best)
    return MatchedOdds(
        ratio=_ratio(best, reach),
        low=_ratio(low, reach),
        high=_ratio(high, reach),
        p=shuffled_p(telling),
        events=sum(int(stratum.events.sum()) for stratum in telling),
        strata=len(telling),
    )


def shuffled_p(strata: Sequence[Stratum], shuffles: int = SHUFFLES) -> float:
    """Return the two-sided p: how often events shuffled within strata have exposures as far from expected."""
    chance = np.random.default_rng(SEED)
    totals, measured, expected = np.zeros(shuffles), 0.0, 0.0
    for stratum in strata:
        events = int(stratum.events.sum())
        measured += float(stratum.exposures[stratum.events].sum())
        expected += events * float(stratum.exposures.mean())
        totals += _drawn(stratum.exposures, events, shuffles, chance)
    distance = abs(measured - expected) - 1e-9
    return float((1 + (np.abs(totals - expected) >= distance).sum()) / (1 + shuffles))


def _drawn(exposures: Reals, count: int, shuffles: int, chance: np.random.Generator) -> Reals:
    """Return sums of exposures drawn without replacement, `count` at a time."""
    if count == 1:
        return exposures[chance.integers(len(exposures), size=shuffles)]
    order = chance.random((shuffles, len(exposures))).argpartition(count - 1, axis=1)[:, :count]
    several: Reals = exposures[order].sum(axis=1)
    return several


def log_likelihood(strata: Sequence[Stratum]) -> Callable[[float], float]:
    """Return the conditional log-likelihood as a function of the logarithm of the odds ratio."""
    of_events = sum(float(stratum.exposures[stratum.events].sum()) for stratum in strata)
    alike: dict[tuple[int, int], list[Reals]] = {}  # exposures of small strata with as many members and events
    large: list[Callable[[float], float]] = []
    for stratum in strata:
        members, events = len(stratum.events), int(stratum.events.sum())
        if members > SMALL:
            large.append(_choices_by_value(stratum.exposures, events))
        else:
            alike.setdefault((members, events), []).append(stratum.exposures)
    groups = [(count, np.array(exposures).T) for (_, count), exposures in alike.items()]

    def value(effect: float) -> float:
        small = sum(_log_choices(effect * exposures, count) for count, exposures in groups)
        return effect * of_events - small - sum(choices(effect) for choices in large)

    return value


def _log_choices(logs: Reals, count: int) -> float:
    """Return the logarithm of the sum, over all choices of `count` rows, of the product of their exponentials.

    Columns are strata, whose logarithms are added.
    """
    sums = np.full((count + 1, logs.shape[1]), -math.inf)
    sums[0] = 0.0
    for row in logs:
        sums[1:] = np.logaddexp(sums[1:], sums[:-1] + row)
    return float(sums[-1].sum())


def _choices_by_value(exposures: Reals, count: int) -> Callable[[float], float]:
    """Return the same for one stratum as a function of the effect; equal exposures are taken together."""
    values, members = np.unique(exposures, return_counts=True)
    taken = np.arange(count + 1)
    ways = [_log_binomials(int(alike), count) for alike in members]
    left = taken[:, None] - taken[None, :]  # events chosen before, by events chosen in all and of this value

    def value(effect: float) -> float:
        sums = np.where(taken == 0, 0.0, -math.inf)
        for exposure, of_value in zip(values, ways, strict=True):
            before = np.where(left >= 0, sums[np.maximum(left, 0)], -math.inf)
            sums = np.logaddexp.reduce(before + of_value + effect * exposure * taken, axis=1)
        return float(sums[-1])

    return value


def _log_binomials(members: int, most: int) -> Reals:
    """Return the logarithm of the ways to take 0, 1 ... `most` of so many members."""
    from scipy.special import gammaln

    taken = np.minimum(np.arange(most + 1), members)
    ways: Reals = gammaln(members + 1) - gammaln(taken + 1) - gammaln(members - taken + 1)
    return np.where(np.arange(most + 1) <= members, ways, -math.inf)


def _highest(function: Callable[[float], float], low: float, high: float) -> float:
    """Return where a concave function is highest."""
    for _ in range(HALVINGS):
        left, right = low + (high - low) / 3, high - (high - low) / 3
        low, high = (left, high) if function(left) < function(right) else (low, right)
    return (low + high) / 2


def _crossing(function: Callable[[float], float], level: float, outside: float, inside: float) -> float:
    """Return where a function falls below a level between two places; `outside` if it does not."""
    if function(outside) > level:
        return outside
    for _ in range(HALVINGS):
        middle = (outside + inside) / 2
        outside, inside = (middle, inside) if function(middle) < level else (outside, middle)
    return inside


def _ratio(effect: float, reach: float) -> float:
    """Return an odds ratio, without end where the estimate is."""
    if abs(effect) > reach * 0.99:
        return math.inf if effect > 0 else 0.0
    return math.exp(effect)
