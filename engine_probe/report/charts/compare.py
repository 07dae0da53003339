"""The charts of compared sweeps: every measurement's curve in one chart, for each unit of load and each metric."""

import math
from collections.abc import Iterator, Sequence

from engine_probe.analysis.compare.changes import METRICS, Metric
from engine_probe.evaluation.comparison import Comparison
from engine_probe.report.charts.level_means import SeriesValues, over_repeats
from engine_probe.report.charts.model import Axis, Lines, Series, load_axis, of_levels, short
from engine_probe.report.charts.sweep import WHISKERS

DRAWN = ("output_tokens_per_s", "ttft_p50_ms", "tpot_p50_ms", "recomputed_share")
WITHIN = " The intervals are within each sweep: the drift between sweeps is not in them."
OCCASIONS = " A dot is the mean over the measurements of a side, rings are the measurements."

Side = dict[float, tuple[float, ...]]  # the repeats at each load


def compare_charts(found: Sequence[Comparison], names: Sequence[str]) -> Iterator[Lines]:
    points = [(pair.point.unit, pair.point.label) for pair in found[0].pairs if pair.point]
    for unit, label in dict.fromkeys(points):
        for metric in (each for each in METRICS if each.name in DRAWN):
            sides = sides_of(found, metric, (unit, label))
            if len(sides[0]) > 1:
                yield metric_chart(metric, label, unit, list(zip(names, sides, strict=True)), bool(found[0].occasions))


def sides_of(found: Sequence[Comparison], metric: Metric, curve: tuple[str, str]) -> list[Side]:
    """Return the first measurement and each that is compared with it."""
    sides: list[Side] = [{} for _ in range(len(found) + 1)]
    for number, comparison in enumerate(found, 1):
        for pair in comparison.pairs:
            change = pair.change(metric.name)
            if pair.point and change and (pair.point.unit, pair.point.label) == curve:
                sides[0][pair.point.load] = change.old
                sides[number][pair.point.load] = change.new
    return sides


def metric_chart(metric: Metric, label: str, unit: str, sides: Sequence[tuple[str, Side]], occasions: bool) -> Lines:
    xs = sorted(sides[0][1])
    several = any(len(repeats) > 1 for _, side in sides for repeats in side.values())
    scale, most = (1.0, math.inf) if metric.unit else (100.0, 1.0)
    whiskers = OCCASIONS if occasions else f"{WHISKERS}{WITHIN}" if several else ""
    return Lines(
        title=f"{metric.title}, {label}" if label else metric.title,
        note=f"{metric.formula}.{whiskers}",
        x=load_axis(unit),
        y=[Axis(metric.title, metric.unit or "%")],
        xs=list(xs),
        series=[
            Series(
                name,
                **(
                    over_occasions(xs, side, scale)
                    if occasions
                    else over_repeats(xs, side, scale, most, throughput=metric.name == DRAWN[0])
                ),
                style="both",
                colour=number,
            )
            for number, (name, side) in enumerate(sides)
        ],
    )


def over_occasions(xs: Sequence[float], side: Side, scale: float) -> SeriesValues:
    """Return means without intervals: the levels share the drift of their sweep, so they cannot be pooled."""
    means = ((load, sum(values) / len(values)) for load, values in side.items())
    each = [[short(value * scale) for value in side.get(x, ())] for x in xs]
    return SeriesValues(values=of_levels(xs, means, scale), low=[], high=[], each=each)
