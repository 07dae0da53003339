"""A figure over repeats of the same measurement: its mean, the interval of the mean, and the noise of several groups.

Of the levels of a curve, `level_noise.py` knows more.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from engine_probe.analysis.statistics.student import Interval, quantile, welch
from engine_probe.text_format import rate_words


@dataclass(frozen=True)
class Repeated:
    """A mean with its confidence interval, by Student's t; a single measurement has no interval."""

    mean: float
    count: int
    low: float | None = None
    high: float | None = None

    @property
    def reach(self) -> float | None:
        """Return how far the interval reaches from the mean, to the side on which it reaches further."""
        return None if self.high is None or self.low is None else max(self.high - self.mean, self.mean - self.low)


def reach_words(found: Repeated) -> str:
    """Return how far the interval reaches, as a share of the mean: " ± 8%". Empty without an interval."""
    if found.reach is None:
        return ""
    return f" ± {found.reach / found.mean:.0%}" if found.reach <= abs(found.mean) else " ± over 100%"


def rate_and_reach(found: Repeated) -> str:
    """Return a mean rate with how far its interval reaches: "1,234 ± 8%"."""
    return rate_words(found.mean) + reach_words(found)


@dataclass(frozen=True)
class Noise:
    """The relative standard deviation of repeats, pooled over several groups of repeats."""

    deviation: float
    freedom: int


def relative_change(old: Sequence[float], new: Sequence[float], before: Noise, after: Noise) -> Interval:
    """Return the interval of the relative change, given the noise of each side, by Welch's test on logarithms."""
    variances = (before.deviation**2 / len(old), after.deviation**2 / len(new))
    distance = math.log(float(np.mean(new)) / float(np.mean(old)))
    _, (low, high) = welch(distance, variances, (before.freedom, after.freedom))
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
    reach = reach_of_mean(repeats)
    return Repeated(mean, len(repeats), mean - reach, mean + reach)


def reach_of_mean(repeats: Sequence[float]) -> float:
    """Return half the interval of a mean, by Student's t."""
    return float(quantile(len(repeats) - 1) * np.std(repeats, ddof=1) / math.sqrt(len(repeats)))


def noise(groups: Sequence[Sequence[float]]) -> Noise | None:
    """Return the noise of groups of repeats. None without repeats, or if a value is not above zero."""
    freedom = sum(len(group) - 1 for group in groups)
    if freedom < 1 or any(value <= 0 for group in groups for value in group):
        return None
    means = [float(np.mean(group)) for group in groups]
    squares = sum((value / mean - 1) ** 2 for group, mean in zip(groups, means, strict=True) for value in group)
    return Noise(math.sqrt(squares / freedom), freedom)


def finite(values: Sequence[float | None]) -> list[float]:
    """Return the values if all are finite, else none."""
    numbers = [value for value in values if value is not None and math.isfinite(value)]
    return numbers if len(numbers) == len(values) else []


@dataclass(frozen=True)
class Cells:
    """The cells of a figure over the loads: `523.1 ± 8%`, or the ± in `reach` if it is the same for all."""

    reach: str
    cells: tuple[str, ...]


def column(found: Sequence[Repeated | None], form: Callable[[float], str]) -> Cells:
    """Format means, each with how far its interval reaches as a share of the mean."""
    means = [form(each.mean) if each else "-" for each in found]
    reaches = [reach_words(each) if each else "" for each in found]
    if len(set(reaches)) == 1:
        return Cells(reaches[0].strip(), tuple(means))
    return Cells("", tuple(mean + reach for mean, reach in zip(means, reaches, strict=True)))
