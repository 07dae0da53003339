"""The saturation of one curve: where throughput stops growing over concurrent requests, users or a request rate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine_probe.analysis.compare.changes import SIGNIFICANT
from engine_probe.analysis.curve.curve_fits import Kind
from engine_probe.analysis.curve.growth import Growth, growth
from engine_probe.analysis.statistics.repeats import Noise, Repeated, noise

WITHIN = 0.05  # of the highest throughput: what operating at a lower load may cost
FULL = 0.995  # of the pool; more shows as 100 %
MISFIT = 0.1  # root mean square of the relative errors beyond which no line fits


@dataclass(frozen=True)
class Level:
    """The figures of one load over its repeats."""

    load: float  # concurrent requests, users, or requests per second
    output_tokens_per_s: float
    peak_running: int
    peak_kv_share: float
    waited_for_kv: bool  # a request waited for KV blocks or was preempted
    repeated: tuple[float, ...] = ()  # the throughput of each repeat


@dataclass(frozen=True)
class Boundary:
    """A level at which something ends, the range in which the end may lie, and the certainty that it ends."""

    load: float
    low: float
    high: float
    sureness: float


@dataclass(frozen=True)
class KvSaturation:
    """The load at which the KV pool is full: between two measured levels, or derived from the size of a request."""

    after: float | None  # the highest level at which no request waited for blocks
    reached: float | None  # the lowest at which one did
    derived: tuple[float, float] | None  # range of peak running / peak KV share, over the levels below `reached`

    @property
    def predicted(self) -> bool:
        """Return whether no level filled the pool, so that only the derived load is known."""
        return self.reached is None and self.derived is not None


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

    @property
    def noise(self) -> Noise | None:
        """Return the pooled noise of repeats over all levels. None without repeats."""
        return noise([level.repeated for level in self.levels if level.repeated])

    def interval(self, level: Level) -> Repeated:
        """Return a level's throughput with its interval."""
        noise = self.noise
        rate, count = level.output_tokens_per_s, max(1, len(level.repeated))
        return noise.around(rate, count) if noise else Repeated(rate, count)

    @property
    def not_different(self) -> tuple[Level, ...]:
        """Return the levels that are not significantly below the best.

        A t-test with pooled noise, corrected for the number of levels (Bonferroni), since the best is chosen from all.
        """
        noise, best = self.noise, self.best
        if noise is None or best is None:
            return ()
        others = [level for level in self.levels if level is not best and level.repeated]
        bound = SIGNIFICANT / max(1, len(others))
        return tuple(level for level in others if noise.chance(level.repeated, best.repeated) >= bound)

    @property
    def fallen(self) -> Level | None:
        """Return the last level if it is significantly below the best one by its repeats."""
        last = self.levels[-1] if self.levels else None
        return last if self.noise and last not in (None, self.best, *self.not_different) else None

    @property
    def operating(self) -> Level | None:
        """Return the lowest level whose throughput is shown to be within 5 % of the highest; that one without repeats.

        The bound is one-sided at 95 %, with the noise of all levels. The range in which growth ends is no such point:
        a load inside it was not measured.
        """
        known, best = self.noise, self.best
        if best is None or known is None:
            return best
        near = (level for level in self.levels if known.least_ratio(level.repeated, best.repeated) >= 1 - WITHIN)
        return next(near, best)

    def region(self, load: float) -> Kind | None:
        """Return the part of the curve that a load lies in; a boundary belongs to the part that it ends."""
        return None if self.growth is None else self.growth.line.kind(load)

    def sureness(self, load: float) -> float:
        """Return the certainty of that region."""
        return 0.0 if self.growth is None else self.growth.sureness(load)


def saturation(measured: Sequence[Level]) -> Saturation:
    """Find the saturation over levels in any order, each load once."""
    usable = [level for level in measured if math.isfinite(level.output_tokens_per_s) and level.output_tokens_per_s > 0]
    levels = tuple(sorted(usable, key=lambda level: level.load))
    notes = [f"{len(measured) - len(levels)} of {len(measured)} levels have no throughput"] * (
        len(levels) < len(measured)
    )
    line = curve(levels)
    chance = lack_of_fit_p(levels, line) if line else None
    if line and line.relative_error > MISFIT and (chance is None or chance < SIGNIFICANT):
        notes.append(
            f"no fitted line is closer to the levels than {line.relative_error:.0%}: they show no knee and no regions"
        )
        line = None
    elif not levels:
        notes.append("no level was measured")
    elif len(levels) < 2:
        notes.append("a single level shows neither knee nor peak")
    elif line is None:
        notes.append(f"{len(levels)} levels are too few to show a region")
    elif not line.breaks:
        notes.append(f"{len(levels)} levels show no end of proportional growth")
    equilibrium = full = None
    if line and line.breaks:
        equilibrium = Boundary(line.breaks[0], *line.equilibrium())
        if line.line.last is not None:
            full = Boundary(line.line.last, *line.saturation())
        else:
            notes.append(f"throughput still grows at {levels[-1].load:g}, the highest level")
        if chance is not None and chance < SIGNIFICANT:
            notes.append(
                f"the levels deviate from the fitted line by more than repeats vary (F-test, p {chance:.3f}): the "
                "curve has another shape, so trust its levels more than its regions"
            )
    best = max(levels, key=lambda level: level.output_tokens_per_s) if len(levels) > 1 else None
    return Saturation(levels, best, equilibrium, full, line, kv_saturation(levels), tuple(notes))


def curve(levels: Sequence[Level]) -> Growth | None:
    """Fit the growth with every repeat as an observation, or with the means of levels if no line fits the repeats.

    The noise of repeats says nothing of how far a line misses the curve.
    """
    means = [(level.load, level.output_tokens_per_s) for level in levels]
    every = [(level.load, rate) for level in levels for rate in level.repeated or (level.output_tokens_per_s,)]
    found = growth(*np.array(every, dtype=np.float64).T) if len(levels) > 1 else None
    chance = lack_of_fit_p(levels, found) if found and len(every) > len(means) else None
    if chance is None or chance >= SIGNIFICANT:
        return found
    return growth(*np.array(means, dtype=np.float64).T)


def lack_of_fit_p(levels: Sequence[Level], line: Growth) -> float | None:
    """Return p of the F-test for lack of fit, of levels against the noise of repeats. None without repeats."""
    from scipy.special import fdtrc  # what scipy.stats asks, without its long import

    fitted = {level.load: line.line.rate(level.load) for level in levels}
    means = {level.load: level.output_tokens_per_s for level in levels}
    off = sum(len(each.repeated) * (means[each.load] / fitted[each.load] - 1) ** 2 for each in levels)
    apart = sum(((rate - means[each.load]) / fitted[each.load]) ** 2 for each in levels for rate in each.repeated)
    free, more = len(levels) - line.line.parameters, sum(len(each.repeated) for each in levels) - len(levels)
    if free < 1 or more < 1 or not apart:
        return None
    return float(fdtrc(free, more, (off / free) / (apart / more)))


def kv_saturation(levels: Sequence[Level]) -> KvSaturation:
    """Find where the pool is full; it fills in proportion to its requests, so each lower level gives an estimate."""
    reached = next((level.load for level in levels if level.waited_for_kv), None)
    below = [level for level in levels if reached is None or level.load < reached]
    holds = [level.peak_running / level.peak_kv_share for level in below if level.peak_kv_share > 0]
    after = below[-1].load if below else None
    return KvSaturation(after, reached, (min(holds), max(holds)) if holds else None)
