"""The charts of engines that measure together: how throughput grows with their number, and each one's share."""

from collections.abc import Iterator, Sequence

import numpy as np

from engine_probe.analysis.cluster.scaling import ScalingLevel
from engine_probe.recordings.cluster_levels import ClusterLevel, scaling_of
from engine_probe.report.charts.model import Axis, Lines, Series, numbers, short

ENGINES = Axis("engines", whole=True)
NUMBER = Axis("engine", whole=True)
OUTPUT = Axis("output", "tokens/s")
MOST_LEVELS = 8  # in the chart of each engine


def cluster_charts(levels: Sequence[ClusterLevel]) -> Iterator[Lines]:
    if scaled := scaling_of(levels):
        yield throughput_by_engines(scaled, levels)
        yield efficiency(scaled)
    several = [level for level in levels if level.engines > 1]
    if several:
        yield each_engine(several[-MOST_LEVELS:])


def throughput_by_engines(scaled: Sequence[ScalingLevel], levels: Sequence[ClusterLevel]) -> Lines:
    xs = [float(level.engines) for level in scaled]
    alone = scaled[0].output_tokens_per_s.mean
    repeats = {level.engines: [one.output_tokens_per_s for one in level.clusters] for level in levels}
    several = any(len(rates) > 1 for rates in repeats.values())
    rates = [level.output_tokens_per_s for level in scaled]
    measured = Series(
        "all engines together",
        numbers([rate.mean for rate in rates]),
        style="both",
        low=[low_end(rate.low) for rate in rates] if several else [],
        high=[low_end(rate.high) for rate in rates] if several else [],
        each=[list(map(short, repeats[level.engines])) for level in scaled] if several else [],
    )
    ideal = Series("so many times one engine", numbers([alone * x for x in xs]), style="dashed", colour=5)
    note = "Output tokens/s in the time in which all engines run. Over repeats the mean, its 95% interval, and rings."
    return Lines("Throughput by number of engines", note, ENGINES, [OUTPUT], list(xs), [measured, ideal])


def efficiency(scaled: Sequence[ScalingLevel]) -> Lines:
    xs = [float(level.engines) for level in scaled]
    intervals = [level.interval for level in scaled]
    several = any(intervals)
    line = Series(
        "efficiency",
        numbers([100 * level.efficiency for level in scaled]),
        style="both",
        low=[None if each is None else short(100 * each[0]) for each in intervals] if several else [],
        high=[None if each is None else short(100 * each[1]) for each in intervals] if several else [],
    )
    note = "Throughput as a share of so many times that of one engine; with repeats its 95% interval (Welch)."
    return Lines("Scaling efficiency", note, ENGINES, [Axis("efficiency", "%")], list(xs), [line])


def each_engine(levels: Sequence[ClusterLevel]) -> Lines:
    """Return each engine's own throughput: one line of dots for each configuration."""
    most = max(level.engines for level in levels)
    xs = [float(number) for number in range(1, most + 1)]
    series = []
    for colour, level in enumerate(levels):
        rates = np.array([cluster.window.rates for cluster in level.clusters])
        rest = [None] * (most - level.engines)
        name = level.configuration if len({one.configuration for one in levels}) == len(levels) else level.name
        several = len(rates) > 1
        each = [list(map(short, column)) for column in rates.T.tolist()] + [[] for _ in rest]
        means = numbers(rates.mean(axis=0)) + rest
        series.append(Series(name, means, style="dots", colour=colour, each=each if several else []))
    note = "Each engine's output tokens/s in the time in which all run: mean over repeats, and repeats as rings."
    return Lines("Throughput of each engine", note, NUMBER, [OUTPUT], list(xs), series)


def low_end(value: float | None) -> float | None:
    return None if value is None else short(max(value, 0.0))
