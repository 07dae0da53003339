"""Where more load stops paying: the points of a sweep over concurrent requests, users or a rate, read as one curve."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine_probe.analysis.compare.changes import SIGNIFICANT
from engine_probe.analysis.curve.curve_fits import Kind
from engine_probe.analysis.curve.growth import Growth, growth
from engine_probe.analysis.statistics.repeats import Noise, Repeated, noise

FULL = 0.995  # of the pool: more reads as 100 %
MISFIT = 0.1  # root mean square of the relative errors: beyond it there is no such line


@dataclass(frozen=True)
class Level:
    """What one load came to; the mean over its repeats."""

    load: float  # concurrent requests, users, or requests per second
    output_tokens_per_s: float
    peak_running: int
    peak_kv_share: float
    waited_for_kv: bool  # a request waited for KV blocks, or lost them
    repeated: tuple[float, ...] = ()  # the throughput of each repeat


@dataclass(frozen=True)
class Boundary:
    """A level at which something ends, the range that the measurement leaves open, and how sure it is that it ends."""

    load: float
    low: float
    high: float
    sureness: float


@dataclass(frozen=True)
class KvSaturation:
    """When the pool is full. `between`: measured; `derived`: from how much of it a request takes."""

    after: float | None  # the highest level at which no request waited for blocks
    reached: float | None  # the lowest at which one did
    derived: tuple[float, float] | None  # most running / most of the pool in use, over the levels before it

    @property
    def predicted(self) -> bool:
        """Never reached: only the derivation says where it would be."""
        return self.reached is None and self.derived is not None


@dataclass(frozen=True)
class Saturation:
    """None wherever the levels do not show it; `notes` says why."""

    levels: tuple[Level, ...]
    best: Level | None  # the highest throughput that was measured
    equilibrium: Boundary | None  # the end of proportional growth
    saturation: Boundary | None  # the end of growth
    growth: Growth | None
    kv: KvSaturation
    notes: tuple[str, ...]

    @property
    def with_room(self) -> Level | None:
        """The best level, or the highest below it at which the pool was never full."""
        upto = [level for level in self.levels if self.best and level.load <= self.best.load]
        return next((level for level in reversed(upto) if level.peak_kv_share < FULL), None)

    @property
    def noise(self) -> Noise | None:
        """How far repeats of a level lie apart, all levels together; None without repeats."""
        return noise([level.repeated for level in self.levels if level.repeated])

    def interval(self, level: Level) -> Repeated:
        """Of its throughput."""
        known = self.noise
        rate, count = level.output_tokens_per_s, max(1, len(level.repeated))
        return known.around(rate, count) if known else Repeated(rate, count)

    @property
    def not_different(self) -> tuple[Level, ...]:
        """Levels that repeats do not tell from the best one (t-test with the noise of all levels, each by itself)."""
        known, best = self.noise, self.best
        if known is None or best is None:
            return ()
        others = (level for level in self.levels if level is not best and level.repeated)
        return tuple(level for level in others if known.chance(level.repeated, best.repeated) >= SIGNIFICANT)

    @property
    def fallen(self) -> Level | None:
        """The last level, where repeats tell it from the best one: a fall that needs no line to be seen."""
        last = self.levels[-1] if self.levels else None
        return last if self.noise and last not in (None, self.best, *self.not_different) else None

    def region(self, load: float) -> Kind | None:
        """Which part of the curve a level lies in; a boundary belongs to what it ends."""
        return None if self.growth is None else self.growth.line.kind(load)

    def sureness(self, load: float) -> float:
        """How sure that region is."""
        return 0.0 if self.growth is None else self.growth.sureness(load)


def saturation(measured: Sequence[Level]) -> Saturation:
    """Levels in any order, each load once."""
    usable = [level for level in measured if math.isfinite(level.output_tokens_per_s) and level.output_tokens_per_s > 0]
    levels = tuple(sorted(usable, key=lambda level: level.load))
    notes = [f"{len(measured) - len(levels)} of {len(measured)} levels have no throughput"] * (
        len(levels) < len(measured)
    )
    line = curve(levels)
    chance = bent(levels, line) if line else None  # large: repeats scatter as much
    if line and line.relative_error > MISFIT and (chance is None or chance < SIGNIFICANT):
        notes.append(
            f"the levels lie {line.relative_error:.0%} off any line that was tried: they show no knee and no regions"
        )
        line = None
    elif not levels:
        notes.append("no level was measured")
    elif len(levels) < 2:
        notes.append("one level alone shows neither knee nor peak")
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
            notes.append(f"throughput still grows at {levels[-1].load:g}, the most that was tried")
        if chance is not None and chance < SIGNIFICANT:
            notes.append(
                f"the levels lie further off this line than their repeats lie apart (F-test, p {chance:.3f}): the "
                "curve has another shape, trust its levels more than its regions"
            )
    best = max(levels, key=lambda level: level.output_tokens_per_s) if len(levels) > 1 else None
    return Saturation(levels, best, equilibrium, full, line, kv_saturation(levels), tuple(notes))


def curve(levels: Sequence[Level]) -> Growth | None:
    """Every repeat is an observation; where the levels are no broken line, only their means are: as many as there are.

    Repeats tell how much chance moves a level, and nothing of how far a line misses the curve.
    """
    means = [(level.load, level.output_tokens_per_s) for level in levels]
    every = [(level.load, rate) for level in levels for rate in level.repeated or (level.output_tokens_per_s,)]
    found = growth(*np.array(every, dtype=np.float64).T) if len(levels) > 1 else None
    if found is None or len(every) == len(means) or (chance := bent(levels, found)) is None or chance >= SIGNIFICANT:
        return found
    return growth(*np.array(means, dtype=np.float64).T)


def bent(levels: Sequence[Level], line: Growth) -> float | None:
    """The chance of levels so far off the line, were repeats all that moves them; None without repeats."""
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
    """The pool fills in proportion to the requests in it, so each level below tells how many it would hold."""
    reached = next((level.load for level in levels if level.waited_for_kv), None)
    below = [level for level in levels if reached is None or level.load < reached]
    holds = [level.peak_running / level.peak_kv_share for level in below if level.peak_kv_share > 0]
    after = below[-1].load if below else None
    return KvSaturation(after, reached, (min(holds), max(holds)) if holds else None)
