"""A figure over repeats of the same measurement: its mean, and where the true one lies.

Two repeats alone say next to nothing of chance: one degree of freedom, an interval 12.7 standard errors wide. Levels of
one curve are measured alike, and what chance adds to a rate or a time is in proportion to it; so its relative deviation
is taken from all levels together, as the fit of the regions takes it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
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


@dataclass(frozen=True)
class Noise:
    """How far repeats lie apart, relative to their mean: of several groups of repeats together."""

    deviation: float
    freedom: int

    def around(self, mean: float, count: int) -> Repeated:
        from scipy.special import stdtrit  # what scipy.stats asks, without its long import

        reach = float(stdtrit(self.freedom, (1 + CONFIDENCE) / 2)) * self.deviation * mean / math.sqrt(count)
        return Repeated(mean, count, mean - reach, mean + reach)

    def shows(self, one: int, other: int) -> float:
        """The least relative difference of two means, of so many repeats each, that would be told from chance."""
        from scipy.special import stdtrit

        error = self.deviation * math.sqrt(1 / one + 1 / other)
        return math.expm1(float(stdtrit(self.freedom, (1 + CONFIDENCE) / 2)) * error)

    def chance(self, one: Sequence[float], other: Sequence[float]) -> float:
        """Two-sided p of means that lie so far apart, were they the same."""
        from scipy.special import stdtr

        distance = abs(math.log(float(np.mean(one)) / float(np.mean(other))))
        error = self.deviation * math.sqrt(1 / len(one) + 1 / len(other))
        if not error:
            return 0.0 if distance else 1.0
        return float(2 * stdtr(self.freedom, -distance / error))


@dataclass(frozen=True)
class BothNoises:
    """Of two measurements that are compared, each with its own."""

    before: Noise
    after: Noise

    def difference(self, old: Sequence[float], new: Sequence[float]) -> tuple[float, tuple[float, float]]:
        """Two-sided p, and the interval at 95 % of the relative change: Welch's test on logarithms."""
        from scipy.special import stdtr, stdtrit

        parts = (self.before.deviation**2 / len(old), self.after.deviation**2 / len(new))
        distance, error = math.log(float(np.mean(new)) / float(np.mean(old))), math.sqrt(sum(parts))
        if not error:
            return 0.0 if distance else 1.0, (math.expm1(distance), math.expm1(distance))
        freedom = error**4 / sum(
            part**2 / side.freedom for part, side in zip(parts, (self.before, self.after), strict=True)
        )
        half = float(stdtrit(freedom, (1 + CONFIDENCE) / 2)) * error
        p = float(2 * stdtr(freedom, -abs(distance) / error))
        return p, (math.expm1(distance - half), math.expm1(distance + half))


def repeated(values: Sequence[float | None]) -> Repeated | None:
    """By itself. None unless every repeat has a finite value: a mean over some of them would be another figure."""
    known = finite(values)
    if not known:
        return None
    mean = float(np.mean(known))
    if len(known) == 1:
        return Repeated(mean, 1)
    from scipy.special import stdtrit

    reach = float(stdtrit(len(known) - 1, (1 + CONFIDENCE) / 2) * np.std(known, ddof=1) / math.sqrt(len(known)))
    return Repeated(mean, len(known), mean - reach, mean + reach)


def noise(groups: Sequence[Sequence[float]]) -> Noise | None:
    """None without repeats, and of what is not above zero, which is no rate and no time."""
    freedom = sum(len(group) - 1 for group in groups)
    if freedom < 1 or any(value <= 0 for group in groups for value in group):
        return None
    squares = sum((value / float(np.mean(group)) - 1) ** 2 for group in groups for value in group)
    return Noise(math.sqrt(squares / freedom), freedom)


def pooled(groups: Sequence[Sequence[float | None]]) -> list[Repeated | None]:
    """Of each group its mean, with the noise of all of them; each by itself where they have none in common."""
    known = [finite(group) for group in groups]
    common = noise([group for group in known if group])
    if common is None:
        return [repeated(group) for group in groups]
    return [common.around(float(np.mean(group)), len(group)) if group else None for group in known]


def finite(values: Sequence[float | None]) -> list[float]:
    """Empty unless all are."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    return known if len(known) == len(values) else []


@dataclass(frozen=True)
class Column:
    """A figure over the loads: `523.1 ± 8%`, or the ± beside the title where it is the same for all."""

    reach: str
    cells: tuple[str, ...]


def column(found: Sequence[Repeated | None], form: Callable[[float], str]) -> Column:
    """The means, each with half the width of its interval as a share of it."""
    means = [form(each.mean) if each else "-" for each in found]
    reaches = [f" ± {each.reach / each.mean:.0%}" if each and each.reach is not None else "" for each in found]
    if len(set(reaches)) == 1:
        return Column(reaches[0].strip(), tuple(means))
    return Column("", tuple(mean + reach for mean, reach in zip(means, reaches, strict=True)))
