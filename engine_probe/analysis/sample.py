"""A weighted sample, and what may be said of it: exact or silent."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Sample:
    """Values, and how often each was seen (None: once). A million equal gaps cost as much as one."""

    values: Values
    weights: npt.NDArray[np.int64] | None = None

    @classmethod
    def of(cls, values: npt.ArrayLike) -> Sample:
        return cls(np.asarray(values, dtype=np.float64))

    @property
    def count(self) -> int:
        return len(self.values) if self.weights is None else int(self.weights.sum())

    def mean(self) -> float | None:
        return float(np.average(self.values, weights=self.weights)) if self.count else None

    def percentiles(self, percents: Sequence[float]) -> list[float | None]:
        """For each, the smallest value that at least so many percent of the sample do not exceed.

        None where the sample is too small to have one: a p99 of twenty requests would be their maximum by
        another name.
        """
        count = self.count
        ranks = [math.ceil(count * percent / 100 - 1e-9) for percent in percents]
        told = [count > 0 and (percent <= 50 or count * (100 - percent) >= 100) for percent in percents]
        if not any(told):
            return [None] * len(ranks)
        if self.weights is None:
            wanted = [max(0, rank - 1) for rank in ranks]
            found = np.partition(self.values, wanted)[wanted]
        else:
            order = np.argsort(self.values)
            found = self.values[order][np.searchsorted(np.cumsum(self.weights[order]), ranks)]
        return [float(value) if tell else None for value, tell in zip(found, told, strict=True)]

    def spread(self) -> float | None:
        """Half the distance between the quartiles, which single outliers do not move."""
        low, high = self.percentiles((25, 75))
        return None if low is None or high is None else (high - low) / 2
