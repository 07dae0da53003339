"""A weighted sample and its statistics, which are None for a sample that is too small."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from engine_probe.analysis.statistics.arrays import Integers, Reals


@dataclass(frozen=True, eq=False)
class Sample:
    """Reals and how often each occurs (None: once), so that a million equal gaps take the memory of one."""

    values: Reals
    weights: Integers | None = None

    @classmethod
    def of(cls, values: npt.ArrayLike) -> Self:
        return cls(np.asarray(values, dtype=np.float64))

    @classmethod
    def joined(cls, samples: Sequence[Self]) -> Self:
        """Return the values of all samples as one."""
        weights = [np.ones(len(one.values), dtype=np.int64) if one.weights is None else one.weights for one in samples]
        return cls(np.concatenate([one.values for one in samples]), np.concatenate(weights))

    @property
    def count(self) -> int:
        return len(self.values) if self.weights is None else int(self.weights.sum())

    def mean(self) -> float | None:
        return float(np.average(self.values, weights=self.weights)) if self.count else None

    def largest(self) -> float | None:
        return float(self.values.max()) if self.count else None

    def deviation(self) -> float | None:
        """Return the standard deviation of the values (the sum of squares divided by their number)."""
        middle = self.mean()
        if middle is None:
            return None
        return math.sqrt(float(np.average((self.values - middle) ** 2, weights=self.weights)))

    def percentiles(self, percents: Sequence[float]) -> list[float | None]:
        """Return each percentile by linear interpolation. None if the sample is too small for it.

        The p99 of twenty values would only be their maximum.
        """
        if not self.count:
            return [None] * len(percents)
        found = self.interpolated(percents)
        return [
            float(value) if enough(self.count, percent) else None
            for value, percent in zip(found, percents, strict=True)
        ]

    def interpolated(self, percents: Sequence[float]) -> Reals:
        """Compute `numpy.percentile` (its default, linear) of the values, each as often as its weight says.

        This is the one definition of a percentile in this project, and that of `vllm bench`. The sample must not be
        empty.
        """
        places = (self.count - 1) * (np.asarray(percents) / 100)
        below = np.floor(places).astype(np.int64)
        ranked = self._ranked(np.concatenate([below, np.minimum(below + 1, self.count - 1)]))
        low, high = ranked[: len(below)], ranked[len(below) :]
        share, distance = places - below, high - low
        return np.where(share < 0.5, low + distance * share, high - distance * (1 - share))  # as numpy rounds

    def _ranked(self, ranks: Integers) -> Reals:
        """Return the values at these ranks, from 0, of the sorted sample."""
        if self.weights is None:
            return np.partition(self.values, ranks)[ranks]
        order = np.argsort(self.values)
        return self.values[order][np.searchsorted(np.cumsum(self.weights[order]), ranks, side="right")]

    def spread(self) -> float | None:
        """Return half the interquartile range, which single outliers do not move."""
        low, high = self.percentiles((25, 75))
        return None if low is None or high is None else (high - low) / 2


def enough(count: int, percent: float) -> bool:
    """Return whether a sample is large enough for a percentile: any for p50, 10 values for p90, 100 for p99."""
    return count > 0 and (percent <= 50 or count * (100 - percent) >= 100)
