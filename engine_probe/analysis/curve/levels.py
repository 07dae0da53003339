"""The figures of a sweep's points, and the levels of load that repeats make up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from engine_probe.analysis.curve.saturation import Level
from engine_probe.analysis.run.prefix_cache import CacheLevel, cache_levels
from engine_probe.analysis.run.summary import Summary
from engine_probe.analysis.step.bottleneck import LimitsFound
from engine_probe.analysis.step.losses import Composition


@dataclass(frozen=True)
class PointFigures:
    """The figures of one measured point."""

    id: str
    load: float
    summary: Summary
    limits: LimitsFound
    composition: Composition | None = None  # None if nothing was scheduled

    @property
    def kv_share(self) -> float:
        """Return the share of the busy time in which requests waited for KV blocks or were preempted."""
        return self.limits.bound("KV blocks")

    def percentile_ns(self, latency: str, percent: int) -> float | None:
        (figures,) = (figures for figures in self.summary.latencies if figures.name == latency)
        return figures.percentiles_ns[percent]


def levels(points: Sequence[PointFigures]) -> list[Level]:
    """Return a level for each load, with the throughput of its repeats."""
    ordered = sorted(points, key=lambda point: point.load)
    return [level(load, list(repeats)) for load, repeats in groupby(ordered, key=lambda each: each.load)]


def level(load: float, repeats: Sequence[PointFigures]) -> Level:
    rates = [point.summary.output_tokens_per_s for point in repeats]
    return Level(
        load=load,
        output_tokens_per_s=float(np.mean(rates)),
        peak_running=max(point.summary.peak_running for point in repeats),
        peak_kv_share=max(point.summary.peak_kv_share for point in repeats),
        waited_for_kv=any(point.kv_share > 0 for point in repeats),
        repeated=tuple(rates),
    )


def cache_of(points: Sequence[PointFigures]) -> tuple[CacheLevel, ...]:
    """Return the prefix cache's hits at each load; empty if it is off."""
    loads = sorted({point.load for point in points})
    return cache_levels({load: [each.summary.prefix_cache for each in points if each.load == load] for load in loads})
