"""Where more load stops paying: the points of a sweep over requests at once, users or a rate, read as one curve."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine_probe.analysis.comparison import SIGNIFICANT, welch
from engine_probe.analysis.growth import Growth, Kind, growth

MISFIT = 0.1  # of the line, root mean square of the relative errors: beyond it there is no such line


@dataclass(frozen=True)
class Level:
    """What one load came to; the mean over its repeats."""

    load: float  # requests at once, users, or requests per second
    output_tokens_per_s: float
    peak_running: int
    peak_kv_share: float
    waited_for_kv: bool  # a request waited for KV blocks, or lost them
    repeated: tuple[float, ...] = ()  # the throughput of each repeat

    @property
    def spread(self) -> float | None:
        """Relative standard deviation over the repeats."""
        several = len(self.repeated) > 1
        return float(np.std(self.repeated, ddof=1)) / self.output_tokens_per_s if several else None


@dataclass(frozen=True)
class Boundary:
    """A level at which something ends, and the range that the measurement leaves open."""

    load: float
    low: float
    high: float


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
    def kv_headroom(self) -> float | None:
        """Share of the pool that was free at the best level when it was fullest."""
        return None if self.best is None else 1 - self.best.peak_kv_share

    @property
    def not_different(self) -> tuple[Level, ...]:
        """Levels whose repeats cannot be told from the best one's (Welch's t-test at 5 %, each by itself)."""
        if self.best is None:
            return ()
        tested = ((level, welch(level.repeated, self.best.repeated)) for level in self.levels if level is not self.best)
        return tuple(level for level, p in tested if p is not None and p >= SIGNIFICANT)

    def region(self, load: float) -> Kind | None:
        """Which part of the curve a level lies in; a boundary belongs to what it ends."""
        if self.growth is None:
            return None
        return self.growth.shape[sum(load > end for end in self.growth.breaks)]


def saturation(measured: Sequence[Level]) -> Saturation:
    """Levels in any order, each load once."""
    usable = [level for level in measured if math.isfinite(level.output_tokens_per_s) and level.output_tokens_per_s > 0]
    levels = tuple(sorted(usable, key=lambda level: level.load))
    notes = [f"{len(measured) - len(levels)} of {len(measured)} levels have no throughput"] * (
        len(levels) < len(measured)
    )
    line = curve(levels)
    if line and line.relative_error > MISFIT:
        notes.append(f"the levels lie {line.relative_error:.0%} off any broken line: they show no knee and no regions")
        line = None
    elif len(levels) < 2:
        notes.append("one level alone shows neither knee nor peak")
    elif line is None or len(line.shape) == 1:
        notes.append(f"{len(levels)} levels show no end of proportional growth")
    equilibrium = boundary(line, 0) if line and len(line.shape) > 1 else None
    ends = line is not None and line.shape[-1] in ("plateau", "overload")
    full = boundary(line, len(line.breaks) - 1) if line and ends else None
    if equilibrium and full is None:
        notes.append(f"throughput still grows at {levels[-1].load:g}, the most that was tried")
    best = max(levels, key=lambda level: level.output_tokens_per_s) if len(levels) > 1 else None
    return Saturation(levels, best, equilibrium, full, line, kv_saturation(levels), tuple(notes))


def curve(levels: Sequence[Level]) -> Growth | None:
    if len(levels) < 2:
        return None
    at = np.array([level.load for level in levels], dtype=np.float64)
    return growth(at, np.array([level.output_tokens_per_s for level in levels]))


def boundary(line: Growth, number: int) -> Boundary:
    return Boundary(line.breaks[number], *line.at(number))


def kv_saturation(levels: Sequence[Level]) -> KvSaturation:
    """The pool fills in proportion to the requests in it, so each level below tells how many it would hold."""
    reached = next((level.load for level in levels if level.waited_for_kv), None)
    below = [level for level in levels if reached is None or level.load < reached]
    holds = [level.peak_running / level.peak_kv_share for level in below if level.peak_kv_share > 0]
    after = below[-1].load if below else None
    return KvSaturation(after, reached, (min(holds), max(holds)) if holds else None)
