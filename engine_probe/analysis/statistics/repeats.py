"""A figure over repeats of the same measurement: its mean, and the confidence interval of the mean.

Two repeats have one degree of freedom, so that their own interval reaches 12.7 standard errors to each side. The levels
of a curve are measured alike, and noise is in proportion to a rate or a time; so its relative deviation is estimated
from all levels together, as in the fit of the regions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from engine_probe.analysis.statistics.student import Interval, quantile, two_sided_p, welch

ONE_SIDED = 0.90  # a two-sided interval whose lower end is a one-sided bound at 95 %


@dataclass(frozen=True)
class Repeated:
    """A mean with its confidence interval, by Student's t; a single measurement has no interval."""

    mean: float
    count: int
    low: float | None = None
    high: float | None = None

    @property
    def reach(self) -> float | None:
        """Return half the width of the interval."""
        return None if self.high is None else self.high - self.mean


@dataclass(frozen=True)
class Noise:
    """The relative standard deviation of repeats, pooled over several groups of repeats."""

    deviation: float
    freedom: int

    def around(self, mean: float, count: int) -> Repeated:
        """Return the mean of so many repeats with its interval."""
        reach = quantile(self.freedom) * self.deviation * mean / math.sqrt(count)
        return Repeated(mean, count, mean - reach, mean + reach)

    def shows(self, one: int, other: int) -> float:
        """Return the least relative difference of two means that is significant with so many repeats of each."""
        error = self.deviation * math.sqrt(1 / one + 1 / other)
        return math.expm1(quantile(self.freedom) * error)

    def least_ratio(self, one: Sequence[float], other: Sequence[float]) -> float:
        """Return the lower bound of the ratio of two means, one-sided at 95 %. Zero without values on both sides."""
        if not one or not other:
            return 0.0
        error = self.deviation * math.sqrt(1 / len(one) + 1 / len(other))
        ratio = float(np.mean(one)) / float(np.mean(other))
        return ratio * math.exp(-quantile(self.freedom, ONE_SIDED) * error)

    def chance(self, one: Sequence[float], other: Sequence[float]) -> float:
        """Return the two-sided p of the difference of two means."""
        distance = math.log(float(np.mean(one)) / float(np.mean(other)))
        error = self.deviation * math.sqrt(1 / len(one) + 1 / len(other))
        return two_sided_p(distance, error, self.freedom)


@dataclass(frozen=True)
class BothNoises:
    """The noise of each of two measurements that are compared."""

    before: Noise
    after: Noise

    def interval(self, old: Sequence[float], new: Sequence[float]) -> Interval:
        """Return the interval of the relative change, by Welch's test on logarithms."""
        variances = (self.before.deviation**2 / len(old), self.after.deviation**2 / len(new))
        distance = math.log(float(np.mean(new)) / float(np.mean(old)))
        _, (low, high) = welch(distance, variances, (self.before.freedom, self.after.freedom))
        return math.expm1(low), math.expm1(high)


def repeated(values: Sequence[float | None]) -> Repeated | None:
    """Return the mean of repeats with the interval of these repeats alone.

    None unless every repeat has a finite value, since a mean over some of them would be another figure.
    """
    repeats = finite(values)
    if not repeats:
        return None
    mean = float(np.mean(repeats))
    if len(repeats) == 1:
        return Repeated(mean, 1)
    reach = float(quantile(len(repeats) - 1) * np.std(repeats, ddof=1) / math.sqrt(len(repeats)))
    return Repeated(mean, len(repeats), mean - reach, mean + reach)


def noise(groups: Sequence[Sequence[float]]) -> Noise | None:
    """Return the noise of groups of repeats. None without repeats, or if a value is not above zero."""
    freedom = sum(len(group) - 1 for group in groups)
    if freedom < 1 or any(value <= 0 for group in groups for value in group):
        return None
    squares = sum((value / float(np.mean(group)) - 1) ** 2 for group in groups for value in group)
    return Noise(math.sqrt(squares / freedom), freedom)


def pooled(groups: Sequence[Sequence[float | None]]) -> list[Repeated | None]:
    """Return the mean of each group with an interval from their pooled noise, or from its own without that."""
    finite_groups = [finite(group) for group in groups]
    common = noise([group for group in finite_groups if group])
    if common is None:
        return [repeated(group) for group in groups]
    return [common.around(float(np.mean(group)), len(group)) if group else None for group in finite_groups]


def finite(values: Sequence[float | None]) -> list[float]:
    """Return the values if all are finite, else none."""
    numbers = [value for value in values if value is not None and math.isfinite(value)]
    return numbers if len(numbers) == len(values) else []


@dataclass(frozen=True)
class Column:
    """The cells of a figure over the loads: `523.1 ± 8%`, or the ± in `reach` if it is the same for all."""

    reach: str
    cells: tuple[str, ...]


def column(found: Sequence[Repeated | None], form: Callable[[float], str]) -> Column:
    """Format means, each with half the width of its interval as a share of the mean."""
    means = [form(each.mean) if each else "-" for each in found]
    reaches = [f" ± {each.reach / each.mean:.0%}" if each and each.reach is not None else "" for each in found]
    if len(set(reaches)) == 1:
        return Column(reaches[0].strip(), tuple(means))
    return Column("", tuple(mean + reach for mean, reach in zip(means, reaches, strict=True)))
