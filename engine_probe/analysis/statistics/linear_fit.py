"""A linear fit of a latency over a length: a fixed part, and a part per token."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class LinearFit:
    intercept: float
    slope: float
    explained: float  # share of the variance, R²

    def at(self, length: float) -> float:
        return self.intercept + self.slope * length


def linear_fit(lengths: Sequence[float], values: Sequence[float]) -> LinearFit | None:
    """Fit by least squares. None with fewer than three lengths, or if all values are equal."""
    x, y = np.array(lengths), np.array(values)
    around, total = x - x.mean(), float(((y - y.mean()) ** 2).sum())
    if len(set(lengths)) < 3 or not total:
        return None
    slope = float(around @ y / (around @ around))
    intercept = float(y.mean() - slope * x.mean())
    left = float(((y - intercept - slope * x) ** 2).sum())
    return LinearFit(intercept, slope, 1 - left / total)
