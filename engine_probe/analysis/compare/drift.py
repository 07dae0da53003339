"""How far two occasions differ where nothing changed, as earlier measurements of the same engines show it.

A change from one sweep to another is the difference of two occasions. Earlier sweeps on the same machine scatter around
the mean of their engine; or they drift, so that occasions differ the more, the more lie between them. Few of them
cannot tell which. So an occasion has parts of its own, of a random walk from each to the next, and of a trend. The
`MIXTURES` of these are weighted by how likely they make the earlier occasions, on a logarithmic scale for rates and
times. The interval is that of Student's distributions so weighted, for one measurement on each side.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from engine_probe.analysis.compare.changes import Change, Metric, Moments
from engine_probe.analysis.statistics.arrays import Reals
from engine_probe.analysis.statistics.student import CONFIDENCE, Interval, quantile

# Shares of the variance from one occasion to the next: of each by itself, of a walk, of a trend. Equally likely before.
MIXTURES = ((1.0, 0.0, 0.0), (0.5, 0.5, 0.0), (0.0, 1.0, 0.0), (0.8, 0.0, 0.2), (0.0, 0.8, 0.2))
HALVINGS = 40  # in the search for the end of an interval


@dataclass(frozen=True)
class Drift:
    """The distribution of the difference of two occasions: Student's, with errors that have weights."""

    weights: tuple[float, ...]
    errors: tuple[float, ...]
    freedom: int

    def two_sided_p(self, distance: float) -> float:
        from scipy.special import stdtr

        return 2 * float(np.dot(self.weights, stdtr(self.freedom, -abs(distance) / np.array(self.errors))))

    def reach(self) -> float:
        """Return half the width of the interval."""
        low, high = (quantile(self.freedom) * end for end in (min(self.errors), max(self.errors)))
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            low, high = (middle, high) if self.two_sided_p(middle) > 1 - CONFIDENCE else (low, middle)
        return high


def with_drift(change: Change, earlier: Sequence[Sequence[float]], moments: Moments) -> Change:
    """Return the change with the interval of the drift; unchanged if the earlier occasions show none."""
    found = apart(change.metric, earlier, moments, change.before, change.after)
    if found is None:
        return change
    return replace(change, interval=found[1], earlier=tuple(map(tuple, earlier)), moments=moments)


def apart(
    metric: Metric, earlier: Sequence[Sequence[float]], moments: Moments, before: float, after: float
) -> tuple[float, Interval] | None:
    """Return the two-sided p and the interval of the difference of two occasions. None if the drift is not known."""
    drift = drift_between(metric, earlier, moments)
    if drift is None or (metric.in_proportion and min(before, after) <= 0):
        return None
    half = drift.reach()
    if not metric.in_proportion:
        distance = after - before
        return drift.two_sided_p(distance), (distance - half, distance + half)
    distance = math.log(after / before)
    low, high = (before * math.expm1(min(distance + reach, 700.0)) for reach in (-half, half))
    return drift.two_sided_p(distance), (low, high)


def drift_between(metric: Metric, earlier: Sequence[Sequence[float]], moments: Moments) -> Drift | None:
    """Return how far the two compared occasions may differ. None if earlier ones do not show how the figure varies."""
    values = np.array([value for of_engine in earlier for value in of_engine], dtype=np.float64)
    freedom = len(values) - len(earlier)
    if freedom < 1 or (metric.in_proportion and values.min() <= 0):
        return None
    if metric.in_proportion:
        values = np.log(values)
    contrasts, factors, spreads = mixtures(moments)
    squares = ((contrasts @ values) ** 2).sum(axis=1)
    if squares.max() < 1e-18 * max(1.0, float(np.square(values).max())):
        return None
    logs = factors - freedom / 2 * np.log(squares)
    weights = np.exp(logs - logs.max())
    errors = np.sqrt(squares / freedom * spreads)
    return Drift(tuple((weights / weights.sum()).tolist()), tuple(errors.tolist()), freedom)


@cache
def mixtures(moments: Moments) -> tuple[Reals, Reals, Reals]:
    """Return for each mixture what makes earlier occasions independent, and how much the compared ones vary.

    The first are contrasts, free of the means of the engines; the second the logarithms of their factors; the third the
    variance of the difference of the two compared. Places in the order of time count, not the time between them.
    """
    times = [*(moment for engine in moments.earlier for moment in engine), moments.before, moments.after]
    *places, before, after = np.argsort(np.argsort(times, kind="stable")).tolist()
    since = np.array(places) + 1.0
    engines = np.repeat(np.eye(len(moments.earlier)), [len(engine) for engine in moments.earlier], axis=0)
    basis = np.linalg.svd(engines)[0][:, len(moments.earlier) :]
    contrasts, factors = [], []
    for own, walk, trend in MIXTURES:
        varies = own * np.eye(len(since)) + walk * np.minimum(since[:, None], since) + trend * np.outer(since, since)
        root = np.linalg.cholesky(basis.T @ varies @ basis)
        contrasts.append(np.linalg.solve(root, basis.T))
        factors.append(-float(np.log(np.diag(root)).sum()))
    steps = abs(after - before)
    spreads = [2 * own + walk * steps + trend * steps**2 for own, walk, trend in MIXTURES]
    return np.array(contrasts), np.array(factors), np.array(spreads)
