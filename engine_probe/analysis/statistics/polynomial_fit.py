"""A straight line and a parabola through measured values, with the intervals of their coefficients, and which fits.

Errors of times are in proportion to the times, so the sum of squared relative errors is minimised. The parabola fits
better if its square differs from zero by Student's t, which is the F-test of the two nested fits.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine_probe.analysis.statistics.arrays import Reals
from engine_probe.analysis.statistics.student import SIGNIFICANT, quantile, two_sided_p

EXACT = 1e-9  # relative error of a fit that leaves rounding alone to be explained


@dataclass(frozen=True)
class Coefficient:
    value: float
    low: float  # ends of the 95 % interval
    high: float
    p: float  # two-sided, of a coefficient that is zero


@dataclass(frozen=True)
class Polynomial:
    """A least-squares fit; its coefficients are those of the powers of x, from 0 on."""

    coefficients: tuple[Coefficient, ...]
    explained: float  # share of the variance of the values
    error: float  # root mean square of the relative errors

    def at(self, x: float) -> float:
        return sum(each.value * x**power for power, each in enumerate(self.coefficients))


@dataclass(frozen=True)
class LineOrParabola:
    """Both fits of the same values; no parabola through fewer than four different x."""

    line: Polynomial
    parabola: Polynomial | None

    @property
    def bends(self) -> bool:
        """Return whether the parabola fits better than chance explains."""
        return self.parabola is not None and self.line.error > EXACT and self.parabola.coefficients[-1].p < SIGNIFICANT

    @property
    def best(self) -> Polynomial:
        return self.parabola if self.parabola is not None and self.bends else self.line


def line_or_parabola(xs: Sequence[float], ys: Sequence[float]) -> LineOrParabola | None:
    """Fit both. None with fewer than three different x, or if a value is not above zero."""
    different = len(set(xs))
    if different < 3 or min(ys) <= 0:
        return None
    return LineOrParabola(polynomial(xs, ys, 1), polynomial(xs, ys, 2) if different > 3 else None)


def polynomial(xs: Sequence[float], ys: Sequence[float], degree: int) -> Polynomial:
    """Fit a polynomial of this degree; there must be more values than coefficients."""
    x, y = np.asarray(xs, dtype=np.float64), np.asarray(ys, dtype=np.float64)
    scale = float(np.max(np.abs(x)))  # powers of long lengths would be ill-conditioned
    design = np.vander(x / scale, degree + 1, increasing=True)
    weights = 1 / expected(x, y)
    found, *_ = np.linalg.lstsq(design * weights[:, None], y * weights, rcond=None)
    relative = (y - design @ found) * weights
    freedom = len(y) - degree - 1
    covariance = np.linalg.pinv((design * weights[:, None]).T @ (design * weights[:, None])) * (relative @ relative)
    errors = np.sqrt(np.diag(covariance) / freedom)
    reach = quantile(freedom)
    coefficients = tuple(
        Coefficient(
            value=float(value) / scale**power,
            low=float(value - reach * error) / scale**power,
            high=float(value + reach * error) / scale**power,
            p=two_sided_p(float(value), float(error), freedom),
        )
        for power, (value, error) in enumerate(zip(found, errors, strict=True))
    )
    around = float(np.sum((y - y.mean()) ** 2))
    explained = 1 - float(np.sum((y - design @ found) ** 2)) / around if around else 0.0
    return Polynomial(coefficients, explained, math.sqrt(float(np.mean(relative**2))))


def expected(x: Reals, y: Reals) -> Reals:
    """Return for each value the mean of those at the same x, by which its error is divided."""
    _, place = np.unique(x, return_inverse=True)
    return np.asarray((np.bincount(place, y) / np.bincount(place))[place])
