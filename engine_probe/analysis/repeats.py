"""A figure over repeats of the same measurement: its mean, and where the true one lies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Repeated:
    """Student's interval of the mean with 95 %; no ends with a single measurement, whose chance nobody knows."""

    mean: float
    count: int
    low: float | None = None
    high: float | None = None

    @property
    def reach(self) -> float | None:
        return None if self.high is None else self.high - self.mean


def repeated(values: Sequence[float | None]) -> Repeated | None:
    """None unless every repeat has a finite value: a mean over some of them would be another figure."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    if not known or len(known) < len(values):
        return None
    mean = float(np.mean(known))
    if len(known) == 1:
        return Repeated(mean, 1)
    from scipy.special import stdtrit  # what scipy.stats asks, without its long import

    reach = float(stdtrit(len(known) - 1, (1 + CONFIDENCE) / 2) * np.std(known, ddof=1) / math.sqrt(len(known)))
    return Repeated(mean, len(known), mean - reach, mean + reach)
