"""Medians of paired differences and their intervals, on a machine whose load drifts.

Two like subjects do the same step in turns, one of them observed. In the second half of the pairs the other one is
observed, so that what differs between the subjects cancels. The interval is a bootstrap of runs of neighbouring pairs,
because neighbours share the load of the machine.
"""

from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

Reals = npt.NDArray[np.float64]

RESAMPLES, SEED = 1_000, 20
NEIGHBOURS = 10  # pairs that are drawn together
FEWEST_PAIRS = 4 * NEIGHBOURS
CONFIDENCE = 0.95
MET, MISSED, UNTOLD = "met", "missed", "cannot be told"
COLD_BYTES = 8 << 20  # several times the caches that a core has to itself


class ColdCaches:
    """Writes more memory than a core's own caches hold, as a model does between two steps of the scheduler."""

    def __init__(self) -> None:
        self._memory = np.zeros(COLD_BYTES // 8)

    def __call__(self) -> None:
        np.add(self._memory, 1.0, out=self._memory)


class PairedEstimate(msgspec.Struct, frozen=True):
    """A median and its 95 % interval."""

    median: float
    low: float
    high: float

    @property
    def half_width(self) -> float:
        return (self.high - self.low) / 2

    def at_most(self, limit: float) -> str:
        return MET if self.high <= limit else MISSED if self.low > limit else UNTOLD

    def at_least(self, limit: float) -> str:
        return MET if self.low >= limit else MISSED if self.high < limit else UNTOLD


def estimate(halves: Any) -> PairedEstimate:
    """Return the mean of the medians of both halves (an array with a row for each)."""
    samples = np.asarray(halves, dtype=np.float64)
    return _with_interval(float(np.median(samples, axis=1).mean()), resampled_medians(samples))


def ratio(over: Any, under: Any) -> PairedEstimate:
    """Return how many times the one is of the other, which came from the same pairs; infinite if that is below zero."""
    above, below = (np.asarray(halves, dtype=np.float64) for halves in (over, under))
    return _with_interval(
        float(_quotient(np.median(above, axis=1).mean(), np.median(below, axis=1).mean())),
        _quotient(resampled_medians(above), resampled_medians(below)),
    )


def resampled_medians(halves: Reals) -> Reals:
    """Return the mean of both halves' medians in RESAMPLES draws, the same draws for arrays of the same shape."""
    random = np.random.default_rng(SEED)
    pairs = halves.shape[1]
    starts = random.integers(0, pairs - NEIGHBOURS + 1, (RESAMPLES, -(-pairs // NEIGHBOURS), 1))
    drawn = (starts + np.arange(NEIGHBOURS)).reshape(RESAMPLES, -1)[:, :pairs]
    medians: Reals = np.mean([np.median(half[drawn], axis=1) for half in halves], axis=0)
    return medians


def _quotient(over: Any, under: Any) -> Any:
    return np.where(np.asarray(under) > 0, over / np.where(np.asarray(under) > 0, under, 1), np.inf)


def _with_interval(median: float, draws: Reals) -> PairedEstimate:
    low, high = np.quantile(draws, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], method="nearest")
    return PairedEstimate(median, float(low), float(high))
