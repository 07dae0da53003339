"""The figures of a sweep's points, and the levels of load that repeats make up.

The throughput of a level is that of the part in which the load was held (`held_load.py`). Where fewer than two
levels have such a part, as in a sweep of single batches, it is that of whole runs, and a note says so.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from engine_probe.analysis.batch.graphs import GraphUse
from engine_probe.analysis.batch.speculation import Speculation
from engine_probe.analysis.curve.held_load import TURNOVERS, HeldLoad
from engine_probe.analysis.curve.saturation import Level
from engine_probe.analysis.run.prefix_cache import CacheLevel, cache_levels
from engine_probe.analysis.run.summary import Summary
from engine_probe.analysis.statistics.grouped import grouped
from engine_probe.analysis.statistics.level_noise import in_rounds
from engine_probe.analysis.statistics.repeats import Repeated, repeated
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
    held: HeldLoad | None = None  # None if that part is missing or too short
    started_ns: int = 0  # by the wall clock; 0 if not known
    graphs: GraphUse | None = None  # None without CUDA graphs, and if they are not known
    speculation: Speculation | None = None  # None without drafts

    @property
    def kv_share(self) -> float:
        """Return the share of the busy time in which requests waited for KV blocks or were preempted."""
        return self.limits.bound("KV blocks")

    @property
    def success_rate(self) -> float | None:
        return self.summary.success.rate if self.summary.success else None

    @property
    def any_failed(self) -> bool:
        return self.summary.success is not None and self.summary.success.any_failed

    def percentile_ns(self, latency: str, percent: int) -> float | None:
        return self.summary.latency(latency).percentiles_ns[percent]


Rate = Callable[[PointFigures], float | None]


def while_held(points: Sequence[PointFigures]) -> bool:
    """Return whether the throughput of this curve is that of the parts in which its loads were held: at two or more."""
    held = {point.load for point in points if point.held}
    return len(held) >= min(2, len({point.load for point in points}))


def whole_run_rate(point: PointFigures) -> float:
    return point.summary.output_tokens_per_s


def held_rate(point: PointFigures) -> float | None:
    """Return the output tokens per second while the load was held. None if it was not, or for too short a time."""
    return point.held.output_tokens_per_s if point.held else None


def rate_of_curve(points: Sequence[PointFigures]) -> Rate:
    """Return the function that gives the throughput of a point in this curve."""
    return held_rate if while_held(points) else whole_run_rate


def by_load(points: Iterable[PointFigures]) -> list[list[PointFigures]]:
    """Return the repeats of each load, in the order of loads."""
    repeats = grouped(points, lambda point: point.load)
    return [repeats[load] for load in sorted(repeats)]


def levels(points: Sequence[PointFigures], rate: Rate | None = None) -> list[Level]:
    """Return a level for each load that has this throughput, or that which its curve takes."""
    rate = rate or rate_of_curve(points)
    apart = measured_in_rounds(points)
    return [level(repeats, rate, apart) for repeats in by_load(point for point in points if rate(point) is not None)]


def measured_in_rounds(points: Sequence[PointFigures]) -> bool:
    """Return whether other loads were measured between the repeats of each load."""
    return in_rounds((point.load, point.started_ns) for point in points)


def level(repeats: Sequence[PointFigures], rate: Rate, apart: bool) -> Level:
    rates = [value for point in repeats if (value := rate(point)) is not None]
    return Level(
        load=repeats[0].load,
        output_tokens_per_s=float(np.mean(rates)),
        peak_running=max(point.summary.peak_running for point in repeats),
        peak_kv_share=max(point.summary.peak_kv_share for point in repeats),
        waited_for_kv=any(point.kv_share > 0 for point in repeats),
        repeated=tuple(rates),
        in_rounds=apart,
    )


def load_notes(points: Sequence[PointFigures]) -> tuple[str, ...]:
    """Return which levels take no part in the curve because their load was held for too short a time, or that none was.

    Empty if all were held.
    """
    loads = {point.load for point in points}
    short = sorted(loads - {point.load for point in points if point.held})
    if not short or len(loads) < 2:
        return ()
    if not while_held(points):
        return (
            "throughput is that of whole runs, too low where requests end one after another: no two levels are known "
            f"to have held their load for {TURNOVERS} answers to each request in flight",
        )
    return (
        f"at {', '.join(f'{load:g}' for load in short)} the load was held for too short a time (fewer than {TURNOVERS} "
        "answers to each request in flight) to take part in the fit: give more requests",
    )


def cache_of(points: Sequence[PointFigures]) -> tuple[CacheLevel, ...]:
    """Return the prefix cache's hits at each load; empty if it is off."""
    return cache_levels({same[0].load: [each.summary.prefix_cache for each in same] for same in by_load(points)})


def makespans(points: Sequence[PointFigures]) -> dict[float, Repeated] | None:
    """Return the makespan at each load over its repeats. None if a point is no burst whose requests were answered."""
    found = dict[float, Repeated]()
    for repeats in by_load(points):
        span = repeated([point.summary.makespan_seconds for point in repeats])
        if span is None:
            return None
        found[repeats[0].load] = span
    return found


def speed_up(spans: Mapping[float, Repeated], load: float) -> float:
    """Return the speed-up of a burst: makespan of one request x how many / their makespan."""
    return load * spans[1].mean / spans[load].mean
