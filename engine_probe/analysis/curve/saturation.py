"""The saturation of one curve: where throughput stops growing over concurrent requests, users or a request rate."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from engine_probe.analysis.curve.growth import Boundary, Growth, Kind, growth
from engine_probe.analysis.curve.likelihood import Scatter
from engine_probe.analysis.statistics.level_noise import LevelNoise, level_noise
from engine_probe.analysis.statistics.repeats import Repeated, noise
from engine_probe.analysis.statistics.smooth_residuals import smooth_p
from engine_probe.analysis.statistics.student import ONE_SIDED, SIGNIFICANT

WITHIN = 0.05  # of the highest throughput: what operating at a lower load may cost
FULL = 0.995  # of the pool; more shows as 100 %
MISFIT = 0.1  # root mean square of the relative errors beyond which no curve fits
ONCE, NO_NOISE = ", measured once,", ", nor how far its figures vary"
SURE = 0.9  # from here on a fall is told without a doubt


@dataclass(frozen=True)
class Level:
    """The figures of one load over its repeats."""

    load: float  # concurrent requests, users, or requests per second
    output_tokens_per_s: float
    peak_running: int
    peak_kv_share: float
    waited_for_kv: bool  # a request waited for KV blocks or was preempted
    repeated: tuple[float, ...] = ()  # the throughput of each repeat
    in_rounds: bool = True  # its repeats, if it has some, were not measured one after another


@dataclass(frozen=True)
class KvSaturation:
    """The load at which the KV pool is full: between two measured levels, or derived from the size of a request."""

    after: float | None  # the highest level at which no request waited for blocks
    reached: float | None  # the lowest at which one did
    derived: tuple[float, float] | None  # range of peak running / peak KV share, over the fuller levels below `reached`

    @property
    def predicted(self) -> bool:
        """Return whether no level filled the pool, so that only the derived load is known."""
        return self.reached is None and self.derived is not None

    @property
    def holds(self) -> tuple[float, float] | None:
        """Return how many concurrent requests fill the pool, as a range: derived, or else the first level it waited."""
        return self.derived or (None if self.reached is None else (self.reached, self.reached))


@dataclass(frozen=True)
class Saturation:
    """The saturation of a curve; what the levels do not show is None, and `notes` says why."""

    levels: tuple[Level, ...]
    best: Level | None  # with the highest throughput
    equilibrium: Boundary | None  # the end of proportional growth
    saturation: Boundary | None  # the end of growth
    growth: Growth | None
    kv: KvSaturation
    notes: tuple[str, ...]

    @property
    def with_room(self) -> Level | None:
        """Return the best level, or the highest below it, at which the pool was never full."""
        upto = [level for level in self.levels if self.best and level.load <= self.best.load]
        return next((level for level in reversed(upto) if level.peak_kv_share < FULL), None)

    @cached_property
    def noise(self) -> LevelNoise | None:
        """Return the noise of the levels. None without repeats, or if those of a level followed each other."""
        if not all(level.in_rounds for level in self.levels):
            return None
        repeats = [level.repeated or (level.output_tokens_per_s,) for level in self.levels]
        return level_noise([level.load for level in self.levels], repeats)

    def interval(self, level: Level) -> Repeated:
        """Return a level's throughput with its interval; that of the best allows for its choice among its like."""
        rate, count = level.output_tokens_per_s, max(1, len(level.repeated))
        if self.noise is None:
            return Repeated(rate, count)
        return self.noise.throughput_interval(self.levels.index(level), count)

    @property
    def not_different(self) -> tuple[Level, ...]:
        """Return the levels that are not significantly below the best."""
        return () if self.noise is None else tuple(self.levels[place] for place in self.noise.like_the_highest)

    @property
    def fallen(self) -> Level | None:
        """Return the last level if throughput there has surely fallen."""
        return self.levels[-1] if self.growth and self.growth.falls >= SURE else None

    @property
    def operating(self) -> Level | None:
        """Return the lowest level whose throughput is shown to be within 5 % of the highest; that one without noise.

        The bound is one-sided at 95 %. The range in which growth ends is no such point: a load inside it was not
        measured.
        """
        known, best = self.noise, self.best
        if best is None or known is None:
            return best
        place = self.levels.index(best)
        near = (level for at, level in enumerate(self.levels) if known.ratio(at, place, ONE_SIDED)[0] >= 1 - WITHIN)
        return next(near, best)

    def region(self, load: float) -> Kind | None:
        """Return the region of a measured level. None of a load that takes no part in the curve."""
        return self.growth.region(load) if self.growth and load in self.growth.levels else None

    def sureness(self, load: float) -> float:
        """Return the certainty of that region; zero where none is told."""
        if self.growth is None or self.region(load) in (None, "unclear"):
            return 0.0
        return self.growth.sureness(load)


def saturation(measured: Sequence[Level]) -> Saturation:
    """Find the saturation over levels in any order, each load once."""
    usable = [level for level in measured if math.isfinite(level.output_tokens_per_s) and level.output_tokens_per_s > 0]
    levels = tuple(sorted(usable, key=lambda level: level.load))
    notes = [f"{len(measured) - len(levels)} of {len(measured)} levels have no throughput"] * (
        len(levels) < len(measured)
    )
    found = curve(levels)
    chance = lack_of_fit_p(levels, found) if found else None
    misses = None if chance is None else chance < SIGNIFICANT
    if found and found.fit.error > MISFIT and misses is not False:
        notes.append(
            f"no fitted curve is closer to the levels than {found.fit.error:.0%}: they show no knee and no regions"
        )
        found = None
    elif not levels:
        notes.append("no level was measured")
    elif len(levels) < 2:
        once = len(levels[0].repeated) == 1
        notes.append(f"a single level{ONCE if once else ''} shows neither knee nor peak{NO_NOISE if once else ''}")
    elif found is None:
        notes.append(f"{len(levels)} levels are too few to show a region")
    equilibrium = full = None
    if found:
        equilibrium, full = found.equilibrium(), found.saturation()
        if not equilibrium and not full:
            notes.append(f"{len(levels)} levels show no end of proportional growth")
        elif not full and found.ended < 0.5:
            notes.append(f"throughput still grows at {levels[-1].load:g}, the highest level")
        elif not full:
            notes.append(
                f"whether growth ends by {levels[-1].load:g}, the highest level, is not clear ({found.ended:.0%} sure)"
            )
        if chance is not None and misses:
            notes.append(misfit(found, chance))
    best = max(levels, key=lambda level: level.output_tokens_per_s) if len(levels) > 1 else None
    return Saturation(levels, best, equilibrium, full, found, kv_saturation(levels), tuple(notes))


def curve(levels: Sequence[Level]) -> Growth | None:
    """Fit the growth to the means of levels; repeats say how much such a mean varies by chance."""
    if len(levels) < 2:
        return None
    loads, rates = np.array([(level.load, level.output_tokens_per_s) for level in levels], dtype=np.float64).T
    return growth(loads, rates, scatter(levels))


def scatter(levels: Sequence[Level]) -> Scatter | None:
    known = noise([level.repeated for level in levels if level.repeated])
    if known is None:
        return None
    shares = [1 / len(level.repeated) for level in levels if level.repeated]
    variance = known.deviation**2
    return Scatter(variance * float(np.mean(shares)), known.freedom, variance, all(level.in_rounds for level in levels))


def lack_of_fit_p(levels: Sequence[Level], found: Growth) -> float | None:
    """Return p of the F-test for lack of fit, of levels against the noise of repeats: the best of a likely family.

    None without repeats, or if they followed each other: then levels differ by what happened between them, too.
    """
    from scipy.special import fdtrc  # what scipy.stats asks, without its long import

    known, free = scatter(levels), [len(levels) - 1 - fit.family.parameters for fit in found.fits]
    if known is None or not known.in_rounds or min(free) < 1 or not known.variance:
        return None
    tests = zip(free, found.fits, strict=True)
    return max(float(fdtrc(left, known.freedom, fit.error**2 / known.variance)) for left, fit in tests)


def misfit(found: Growth, chance: float) -> str:
    """Return the note that the levels lie off the curve, and why.

    Noise that the repeats of a level share leaves neighbours independent. Where these deviate alike from every likely
    family, it is the shape.
    """
    tests = [smooth_p(fit.errors, fit.slopes(np.array(found.levels))) for fit in found.fits]
    off = f"the levels deviate from the fitted curve by more than repeats vary (F-test, p {chance:.3f})"
    if all(p is not None and p < SIGNIFICANT for p in tests):
        return f"{off}, neighbours alike: the curve has another shape, so trust its levels more than its regions"
    return f"{off}: repeats of a level share noise, or the curve has a shape that is not among those fitted"


def kv_saturation(levels: Sequence[Level]) -> KvSaturation:
    """Find where the pool is full; it fills in proportion to its requests, so each lower level gives an estimate.

    Levels that fill less than half of what the fullest one fills are left out: their few requests may be unlike the
    others, and blocks that are not full weigh more.
    """
    reached = next((level.load for level in levels if level.waited_for_kv), None)
    below = [level for level in levels if reached is None or level.load < reached]
    least = max((level.peak_kv_share for level in below), default=0.0) / 2
    holds = [level.peak_running / level.peak_kv_share for level in below if level.peak_kv_share > least]
    after = below[-1].load if below else None
    return KvSaturation(after, reached, (min(holds), max(holds)) if holds else None)
