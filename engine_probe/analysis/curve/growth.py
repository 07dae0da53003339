"""How throughput grows with load: where growth ends and what follows, over all curves that the levels allow.

A statement about a region is as certain as the share of these curves for which it is true makes it (`certainty`), and
any other as certain as that share. Each word has one rule for every curve:

- overload: throughput is over 2 % (`SMALL`) below the highest of any lower load.
- spare: a request gets at least 80 % (`NEAR`) of what it gets alone.
- plateau: at most 2 % is left to gain at any higher load.
- shared: none of these.

What a request gets alone is measured at a load of one. Where the lowest load is higher, a level is called spare only
where `1 - DOUBT` of the curves agree, and else unclear: what came before it, even a fall, was not measured.
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from engine_probe.analysis.curve.likelihood import Likelihood, Scatter
from engine_probe.analysis.curve.posterior import Curves, CurveSampler
from engine_probe.analysis.curve.shapes import BreakRange, Family
from engine_probe.analysis.statistics.arrays import Flags, Reals

Kind = Literal["spare", "unclear", "shared", "plateau", "overload"]

KINDS: tuple[Kind, ...] = ("spare", "unclear", "shared", "plateau", "overload")
# How often a region is true that this share of curves have, as the offset and the slope of a logistic curve over the
# logarithm of its odds: no engine has quite the shape of any curve. From simulated levels whose regions are known:
# `python -m tools.calibration.learned` finds these within 0.06, as it weighs the ends a little differently.
CERTAINTIES: dict[Kind, tuple[float, float]] = {
    "spare": (-0.04, 1.06),
    "shared": (0.15, 1.13),
    "plateau": (0.20, 0.85),
    "overload": (-0.30, 0.92),
}
NEAR = 0.8  # growth counts as proportional while a request gets this share of what it would get alone
SMALL = 0.02  # a gain or a loss up to this is none
ENDED, NO_GAIN = 0.005, 0.001  # what is left to gain where growth is said to end, and where it has ended for sure
ENOUGH = 0.93  # of the curves that end, whose ends a range between measured levels holds
DOUBT = 0.05  # that a range does not hold what it should
OF_CURVES = 0.02  # the share of curves that such a range leaves out: no engine has quite the shape of any of them
LIKELY = 0.75  # from here on an end of growth is named
FAR = 64  # curves are followed up to this many times the highest level; an end past half of that is none
LOADS, LOADS_BEYOND = 100, 40  # up to the highest level and beyond it
POSSIBLE = 0.05  # of the curves, from where on their family is one that the engine may have
STEP = 1e-4  # of a parameter, to each side, for a derivative
TOGETHER = 250  # curves that are followed at a time


@dataclass(frozen=True)
class Fit:
    """The curve of a family that is closest to the levels."""

    family: Family
    cube: Reals
    span: BreakRange
    scale: float
    error: float  # root mean square of the relative errors, per degree of freedom
    errors: Reals  # at the levels, relative

    def rate(self, load: float) -> float:
        return self.scale * float(self.family.rates(self.cube[:, None], np.array([load]), self.span)[0, 0])

    def slopes(self, levels: Reals) -> Reals:
        """Return the derivatives of the logarithms of the rates: by that of the scale, and by each parameter."""
        columns = [np.ones(len(levels))]
        for parameter in range(self.family.parameters):
            ends = np.repeat(self.cube[:, None], 2, axis=1)
            ends[parameter] = np.clip(ends[parameter] + (-STEP, STEP), 0, 1)
            low, high = np.log(self.family.rates(ends, levels, self.span)).T
            columns.append((high - low) / np.ptp(ends[parameter]))
        return np.column_stack(columns)


@dataclass(frozen=True)
class Boundary:
    """A load at which something ends, and the range in which the end lies with at least this certainty."""

    load: float
    low: float  # zero if the end may lie below all measured levels
    high: float  # infinite if the end may lie above all measured levels
    sureness: float


@dataclass(frozen=True)
class Ends:
    """For each drawn curve: where proportional growth and growth at all end, and its gains and losses at the levels."""

    spare: Reals  # the load up to which a request gets its share
    small: Reals  # from where at most `SMALL` is left to gain
    growth: Reals  # from where at most `ENDED` is
    none: Reals  # from where at most `NO_GAIN` is
    losses: Reals  # levels x curves: below the highest of any lower load


@dataclass(frozen=True, eq=False)
class Growth:
    """What the curves that the levels allow have in common."""

    levels: tuple[float, ...]
    fits: tuple[Fit, ...]  # of the families that at least `POSSIBLE` of the curves have, the likeliest first
    ends: Ends
    mean_rates: Reals  # at the levels, of all curves
    chances: Reals  # levels x `KINDS`

    @property
    def fit(self) -> Fit:
        """Return the closest curve of the likeliest family."""
        return self.fits[0]

    @property
    def most(self) -> float:
        return self.levels[-1]

    def region(self, load: float) -> Kind:
        """Return the region of a measured level that is the most certain."""
        return max(KINDS, key=lambda kind: self._certainty(kind, load))

    def sureness(self, load: float) -> float:
        """Return the certainty of that region."""
        return self._certainty(self.region(load), load)

    def _certainty(self, kind: Kind, load: float) -> float:
        return certainty(kind, float(self.chances[self.levels.index(load), KINDS.index(kind)]))

    @property
    def shape(self) -> tuple[Kind, ...]:
        """Return the regions from the lowest to the highest level."""
        kinds = [self.region(load) for load in self.levels]
        return (kinds[0], *(kind for last, kind in pairwise(kinds) if kind != last))

    @property
    def breaks(self) -> tuple[float, ...]:
        """Return the loads at which regions end, between the levels that lie in different ones."""
        found = []
        for low, high in pairwise(self.levels):
            if self.region(low) != self.region(high):
                is_spare = self.region(low) == "spare" or self.region(high) in ("unclear", "shared")
                ends = self.ends.spare if is_spare else self.ends.growth
                found.append(min(high, max(low, float(np.median(ends)))))
        return tuple(found)

    @property
    def ended(self) -> float:
        """Return the certainty that growth has ended by the highest level."""
        return float((self.ends.small <= self.most).mean())

    @property
    def falls(self) -> float:
        """Return the certainty that throughput at the highest level is over 2 % below its highest."""
        return certainty("overload", float((self.ends.losses[-1] > SMALL).mean()))

    @property
    def stays(self) -> float:
        """Return the certainty that growth has ended by the highest level, and at most 2 % is lost there."""
        level = (self.ends.small <= self.most) & (self.ends.losses[-1] <= SMALL)
        return certainty("plateau", float(level.mean()))

    def equilibrium(self) -> Boundary | None:
        """Return where proportional growth ends. None if it more likely goes on beyond all levels."""
        low, middle, high = quantiles(self.ends.spare)
        if middle >= self.most:
            return None
        return Boundary(middle, low, high if high <= self.most else math.inf, 1 - DOUBT)

    def saturation(self) -> Boundary | None:
        """Return the level to which growth goes on, and the range in which it ends.

        None unless it is `LIKELY` that growth ends by the highest level. The level is the lowest whose throughput is
        within 2 % of the highest. The range around it is the one with the fewest measured levels that holds the end of
        `ENOUGH` of the curves that end. Of growth that may have ended by the lowest level nothing shows where: then
        the range begins at zero, unless that level is a single request.
        """
        ended = self.ends.small <= self.most
        if self.ended < LIKELY:
            return None
        place, count = int(np.argmax(self.mean_rates >= (1 - SMALL) * self.mean_rates.max())), len(self.levels)
        after = np.searchsorted(self.levels, self.ends.none, "right") - 1  # an end may lie behind these levels
        after = np.maximum(after, 0)  # a range from the lowest level on begins at zero
        before = np.searchsorted(self.levels, self.ends.small, "left")  # and before these
        sure = {
            (low, high): float((ended & (low <= after) & (before <= high)).mean())
            for low in range(place + 1)
            for high in range(max(place, low + 1), count)
        }
        enough = [ends for ends in sure if sure[ends] >= ENOUGH * self.ended]
        low, high = min(enough, key=lambda ends: (ends[1] - ends[0], -sure[ends]))
        begin = self.levels[low] if low or self.levels[0] <= 1 else 0.0
        return Boundary(self.levels[place], begin, self.levels[high], sure[low, high])


def growth(levels: Reals, rates: Reals, scatter: Scatter | None) -> Growth | None:
    """Find the growth over ascending levels. None with too few levels."""
    likelihood = Likelihood(rates, scatter)
    curves = CurveSampler(levels, likelihood).draw()
    if curves is None:
        return None
    ends, at_levels = followed(curves, levels)
    spare, shared, plateau, overload = regions_of(ends, levels)
    unclear = np.zeros_like(spare)
    if levels[0] > 1:
        sure = spare.mean(axis=1)
        doubtful = (sure >= [kind.mean(axis=1) for kind in (shared, plateau, overload)]).all(axis=0)
        doubtful &= sure < 1 - DOUBT
        unclear[doubtful] = True
        spare[doubtful] = shared[doubtful] = plateau[doubtful] = overload[doubtful] = False
    chances = np.stack([kind.mean(axis=1) for kind in (spare, unclear, shared, plateau, overload)], axis=1)
    scaled = at_levels / np.exp(np.log(at_levels).mean(axis=0))
    return Growth(tuple(levels.tolist()), closest(curves, levels, rates), ends, scaled.mean(axis=1), chances)


def regions_of(ends: Ends, levels: Reals) -> tuple[Flags, Flags, Flags, Flags]:
    """Return which curves are spare, shared, plateau and overload at each level, a row."""
    spare = (levels[:, None] <= ends.spare) & (ends.losses <= SMALL)
    overload = ends.losses > SMALL
    plateau = ~spare & ~overload & (levels[:, None] >= ends.small)
    return spare, ~spare & ~overload & ~plateau, plateau, overload


def certainty(kind: Kind, share: float) -> float:
    """Return how often a region is true that this share of the curves have."""
    if not 0 < share < 1:
        return share
    offset, slope = CERTAINTIES[kind]
    return float(1 / (1 + math.exp(-offset) * (1 / share - 1) ** slope))


def closest(curves: Curves, levels: Reals, rates: Reals) -> tuple[Fit, ...]:
    """Return the closest curve of each likely family, the likeliest first."""
    counts = {family: place.stop - place.start for family, place in curves.by_family()}
    likely = min(POSSIBLE * sum(counts.values()), max(counts.values()))
    found = [closest_of(family, place, curves, levels, rates) for family, place in curves.by_family()]
    ordered = sorted(found, key=lambda fit: -counts[fit.family])
    return tuple(fit for fit in ordered if counts[fit.family] >= likely)


def closest_of(family: Family, place: slice, curves: Curves, levels: Reals, rates: Reals) -> Fit:
    span = BreakRange(levels)
    best = place.start + int((curves.errors[:, place] ** 2).sum(axis=0).argmin())
    cube, errors = curves.cube[:, best], curves.errors[:, best]
    shape = family.rates(cube[:, None], levels, span)[:, 0]
    scale = math.exp(float((np.log(rates) - np.log(shape)).mean()))
    free = max(1, len(levels) - 1 - family.parameters)
    return Fit(family, cube, span, scale, math.sqrt(float((errors**2).sum()) / free), errors)


def followed(curves: Curves, levels: Reals) -> tuple[Ends, Reals]:
    """Follow each curve from one request to far beyond the levels. Return its ends, and its rates at the levels.

    Some curves at a time, whose rates fit into a processor's cache.
    """
    low, high = float(levels[0]), float(levels[-1])
    alone = min(1.0, low)
    up_to, beyond = np.geomspace(alone, high, LOADS), np.geomspace(high, FAR * high, LOADS_BEYOND)
    loads, span = np.unique(np.concatenate([levels, up_to, beyond])), BreakRange(levels)
    blocks = np.array_split(np.arange(len(curves.kinds)), math.ceil(len(curves.kinds) / TOGETHER))
    found = (ends_of(curves.at(block).rates(loads, span), loads, levels) for block in blocks)
    *ends, at_levels = (np.concatenate(parts, axis=-1) for parts in zip(*found, strict=True))
    return Ends(*ends), at_levels


def ends_of(rates: Reals, loads: Reals, levels: Reals) -> tuple[Reals, ...]:
    """Return what `Ends` has of these curves, and their rates at the levels."""
    at = np.searchsorted(loads, levels)
    losses = 1 - rates[at] / np.maximum.accumulate(rates)[at]
    gains = np.maximum.accumulate(rates[::-1])[::-1] / rates - 1
    spare = first_at_most(NEAR, rates / (loads[:, None] * rates[0] / loads[0]), loads)
    ends = [first_at_most(left, gains, loads) for left in (SMALL, ENDED, NO_GAIN)]
    for each in ends:
        each[each >= FAR / 2 * levels[-1]] = math.inf
    return spare, *ends, losses, rates[at]


def first_at_most(most: float, values: Reals, loads: Reals) -> Reals:
    """Return for each column the load at which it falls to a value, interpolated; infinity if it does not."""
    below = values <= most
    after = below.argmax(axis=0)
    before = np.maximum(after - 1, 0)
    columns = np.arange(values.shape[1])
    high, low = values[before, columns], values[after, columns]
    share = np.where(after > 0, (high - most) / np.where(high > low, high - low, 1.0), 0.0)
    logs = np.log(loads)
    found = np.exp(logs[before] + share * (logs[after] - logs[before]))
    return np.where(below.any(axis=0), found, math.inf)


def quantiles(values: Reals) -> tuple[float, float, float]:
    """Return low, median and high of a sample; the share outside of low and high is `OF_CURVES`."""
    ordered = np.sort(values)
    shares = (OF_CURVES / 2, 0.5, 1 - OF_CURVES / 2)
    low, middle, high = (ordered[int(share * (len(ordered) - 1))] for share in shares)
    return float(low), float(middle), float(high)
