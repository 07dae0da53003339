"""How likely measured levels are, given a curve: their scatter around it is unknown, and may drift from level to level.

Repeats say how much the mean of a level varies by chance. That is too little where the repeats of a level share what
disturbs them, or where no shape is quite that of the engine. So the deviation of levels is what repeats show; or up to
`MOST_SHARED` times that of one run; or any in `DEVIATIONS`, as where there are no repeats. What disturbs levels is
independent, or drifts from one to the next. All of this is integrated out.
"""

import math
from dataclasses import dataclass

import numpy as np

from engine_probe.analysis.statistics.arrays import Reals

DEVIATIONS = (0.01, 0.2)  # relative; no shape is taken to be more exact than the least
FROM_REPEATS = 0.4  # weight of the deviation that repeats show; nothing if they followed each other
SHARED = 0.4  # weight of what repeats share
MOST_SHARED = 4.0  # times the deviation of a run
DRIFTING, BETWEEN_LEVELS = 0.3, 0.6  # weight of a drift: with repeats in rounds or none, and with others
OWN = 1 / 9  # ratio of the variance that a drifting level has by itself to that of the drift
SQUARES = np.linspace(math.log(1e-12), math.log(1e3), 300)  # logarithms of the sums of squares in a table
LEAST_VARIANCE = 1e-8  # repeats that are exactly alike, as of a simulation, show none
SHARES = 12  # steps in which what repeats share is integrated
VARIANCES = 2 * np.linspace(math.log(DEVIATIONS[0]), math.log(DEVIATIONS[1]), 60)  # logarithms


@dataclass(frozen=True)
class Scatter:
    """The relative variance of a level's mean as its repeats show it, and the degrees of freedom of that."""

    variance: float
    freedom: int
    of_run: float  # the variance of a single run
    in_rounds: bool = True  # repeats of a level did not follow each other


class Likelihood:
    """The likelihood of levels given a curve whose scale is free."""

    def __init__(self, rates: Reals, scatter: Scatter | None) -> None:
        self._logs = np.log(rates)
        self._table = table(len(rates), scatter)
        self._steps = np.diff(self._table)
        self._contrasts, self._factor = drift(len(rates))
        self._drifting = DRIFTING if scatter is None or scatter.in_rounds else BETWEEN_LEVELS

    def errors(self, fitted: Reals) -> Reals:
        """Return the relative errors of levels, the rows, with each curve scaled to their geometric mean."""
        off = self._logs[:, None] - np.log(fitted)
        off -= off.mean(axis=0)
        return np.asarray(off, dtype=np.float64)

    def __call__(self, errors: Reals) -> Reals:
        """Return the logarithm of the likelihood of each column of errors."""
        alone, drifting = self.independent(errors), self.drifting(errors)
        found = np.logaddexp(alone + math.log(1 - self._drifting), drifting + math.log(self._drifting))
        return np.asarray(found, dtype=np.float64)

    def independent(self, errors: Reals) -> Reals:
        return self.looked_up((errors**2).sum(axis=0))

    def drifting(self, errors: Reals) -> Reals:
        return self._factor + self.looked_up(((self._contrasts @ errors) ** 2).sum(axis=0))

    def looked_up(self, squares: Reals) -> Reals:
        """Interpolate in the table, whose steps are even."""
        places = np.clip((np.log(squares + 1e-12) - SQUARES[0]) / (SQUARES[1] - SQUARES[0]), 0, len(SQUARES) - 1)
        below = np.minimum(places.astype(np.intp), len(SQUARES) - 2)
        return np.asarray(self._table[below] + (places - below) * self._steps[below], dtype=np.float64)


def table(count: int, scatter: Scatter | None) -> Reals:
    """Return the logarithm of the likelihood for each of `SQUARES`; one of the levels is spent on the scale."""
    prior = np.full(len(VARIANCES), 1 / len(VARIANCES))
    if scatter:
        alone = FROM_REPEATS if scatter.in_rounds else 0.0
        least, most = (max(end, LEAST_VARIANCE) for end in (scatter.variance, MOST_SHARED**2 * scatter.of_run))
        shared = np.geomspace(least, most, SHARES)
        prior = (1 - FROM_REPEATS - SHARED) * prior + alone * shown(scatter, scatter.variance)
        prior += (FROM_REPEATS + SHARED - alone) * np.mean([shown(scatter, variance) for variance in shared], axis=0)
    logs = np.log(prior) - (count - 1) / 2 * VARIANCES - np.exp(SQUARES[:, None] - VARIANCES) / 2
    return np.asarray(np.logaddexp.reduce(logs, axis=1), dtype=np.float64)


def shown(scatter: Scatter, variance: float) -> Reals:
    """Return how likely each of `VARIANCES` is if repeats estimate it by this one."""
    logs = -scatter.freedom / 2 * (VARIANCES + max(variance, LEAST_VARIANCE) * np.exp(-VARIANCES))
    likely = np.exp(logs - logs.max())
    return np.asarray(likely / likely.sum(), dtype=np.float64)


def drift(count: int) -> tuple[Reals, float]:
    """Return what makes drifting levels independent of each other and of the scale, and the logarithm of its factor.

    The drift is a random walk; the variance of its levels around their mean is on average that of independent ones.
    """
    basis = np.linalg.qr(np.column_stack([np.ones(count), np.eye(count)[:, 1:]]))[0][:, 1:]
    steps = np.arange(count, dtype=np.float64)
    walk = basis.T @ np.minimum(steps[:, None], steps) @ basis
    walk *= (count - 1) / np.trace(walk)
    root = np.linalg.cholesky((walk + OWN * np.eye(count - 1)) / (1 + OWN))
    return np.linalg.solve(root, basis.T), -float(np.log(np.diag(root)).sum())
