"""The effect of raising a limit: curves of a sweep that differ in one setting, where requests waited for it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine_probe.analysis.compare.changes import difference
from engine_probe.analysis.curve.levels import PointFigures, by_load, whole_run_rate
from engine_probe.analysis.statistics.student import Interval
from engine_probe.analysis.step.bottleneck import NAMED

SETTINGS = {
    "max_num_seqs": "max_num_seqs",
    "max_num_active_seqs": "max_num_active_seqs",
    "max_num_batched_tokens": "token budget",
    "max_num_scheduled_tokens": "token budget",
    "num_gpu_blocks_override": "KV blocks",
    "kv_cache_memory_bytes": "KV blocks",
    "gpu_memory_utilization": "KV blocks",
}


@dataclass(frozen=True)
class MeasuredCurve:
    """A curve as its settings, the unit of its load, and its points."""

    settings: Mapping[str, Any]
    unit: str
    figures: Sequence[PointFigures]


@dataclass(frozen=True)
class ChangedThroughput:
    """The throughput at one load, with one thing changed."""

    others: Mapping[str, Any]  # the settings that both curves share
    load: float
    unit: str
    before: tuple[float, ...]  # output tokens/s of each repeat
    after: tuple[float, ...]

    @property
    def relative(self) -> float:
        return float(np.mean(self.after) / np.mean(self.before) - 1)

    @property
    def interval(self) -> Interval | None:
        """Return the interval of the relative change (Welch, 95 %). None without repeats on both sides."""
        _, around = difference(self.before, self.after)
        if around is None:
            return None
        base = float(np.mean(self.before))
        return around[0] / base, around[1] / base


@dataclass(frozen=True)
class Raised(ChangedThroughput):
    """One setting at two values, everything else alike."""

    setting: str
    low: float
    high: float
    waited: float  # share of the busy time in which requests waited for it at the low value, the least of its repeats


def raised_limits(curves: Sequence[MeasuredCurve]) -> Iterator[Raised]:
    """Yield each setting from each value to the next higher one, at the load that waited for it longest."""
    for curve in curves:
        for name, limit in SETTINGS.items():
            higher = next_higher(curve, name, curves)
            if higher is None:
                continue
            after = rates(higher)
            waited = {load: share for load, share in waits(curve, limit).items() if load in after and share >= NAMED}
            if not waited:
                continue
            load = max(waited, key=lambda each: waited[each])
            others = {key: value for key, value in curve.settings.items() if key != name}
            low, high = curve.settings[name], higher.settings[name]
            before = rates(curve)[load]
            yield Raised(others, load, curve.unit, before, after[load], name, low, high, waited[load])


def next_higher(curve: MeasuredCurve, name: str, curves: Sequence[MeasuredCurve]) -> MeasuredCurve | None:
    """Return the curve that differs from this one only in a setting, with its next higher value."""
    value = curve.settings.get(name)
    if not isinstance(value, int | float):
        return None
    alike = [
        each
        for each in curves
        if each.unit == curve.unit
        and isinstance(each.settings.get(name), int | float)
        and each.settings[name] > value
        and {**each.settings, name: value} == curve.settings
    ]
    return min(alike, key=lambda each: each.settings[name], default=None)


def rates(curve: MeasuredCurve) -> dict[float, tuple[float, ...]]:
    """Return the output tokens/s of each repeat by load; loads without any output are left out."""
    found = {same[0].load: tuple(map(whole_run_rate, same)) for same in by_load(curve.figures)}
    return {load: each for load, each in found.items() if sum(each) > 0}


def waits(curve: MeasuredCurve, limit: str) -> dict[float, float]:
    """Return the share of the busy time in which requests waited for a limit, the least of a load's repeats."""
    return {same[0].load: min(point.limits.bound(limit) for point in same) for same in by_load(curve.figures)}
