"""The levels of a curve as table cells and chart lines: the mean over the repeats of each load, and its interval."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import groupby
from typing import Any, TypedDict

from engine_probe.analysis.curve.levels import PointFigures, measured_in_rounds, rate_of_curve
from engine_probe.analysis.statistics.level_noise import over_levels
from engine_probe.analysis.statistics.repeats import Column, Repeated, column
from engine_probe.report.charts.model import of_levels, short
from engine_probe.text_format import duration

Value = Callable[[PointFigures], float | None]


class SeriesValues(TypedDict):
    """The values of a `Series`: means, their intervals, and the repeats themselves."""

    values: list[float | None]
    low: list[float | None]
    high: list[float | None]
    each: list[list[float]]


def by_load(figures: Sequence[PointFigures]) -> list[list[PointFigures]]:
    """Return the repeats of each load, in the order of loads."""
    ordered = sorted(figures, key=lambda point: point.load)
    return [list(repeats) for _, repeats in groupby(ordered, key=lambda point: point.load)]


def intervals(figures: Sequence[PointFigures], value: Value) -> list[Repeated | None]:
    """Return the mean of a rate or a time at each load, with an interval from the noise of all levels."""
    measured = [(repeats[0].load, list(map(value, repeats))) for repeats in by_load(figures)]
    return over_levels(measured, measured_in_rounds(figures))


def over_loads(
    xs: Sequence[float], figures: Sequence[PointFigures], value: Value, scale: float = 1.0, most: float = math.inf
) -> SeriesValues:
    measured = {repeats[0].load: list(map(value, repeats)) for repeats in by_load(figures)}
    return over_repeats(xs, measured, scale, most, measured_in_rounds(figures))


def over_repeats(
    xs: Sequence[float],
    measured: Mapping[float, Sequence[float | None]],
    scale: float = 1.0,
    most: float = math.inf,
    apart: bool = True,
) -> SeriesValues:
    """Return the mean over repeats at each load; of several repeats also its interval, cut at 0 and `most`, and each.

    A share has a finite `most`. Its spread is not proportional to its value, so each interval is of its own repeats.
    """
    found = over_levels(list(measured.items()), apart, in_proportion=math.isinf(most))
    means = {load: mean for load, mean in zip(measured, found, strict=True) if mean}
    intervals = {load: mean for load, mean in means.items() if mean.high is not None}
    mean = of_levels(xs, ((load, mean.mean) for load, mean in means.items()), scale)
    if not intervals:
        return SeriesValues(values=mean, low=[], high=[], each=[])
    return SeriesValues(
        values=mean,
        low=of_levels(xs, ((load, max(mean.low or 0.0, 0.0)) for load, mean in intervals.items()), scale),
        high=of_levels(xs, ((load, min(mean.high or 0.0, most)) for load, mean in intervals.items()), scale),
        each=[[short(one * scale) for one in measured[x] if one is not None] if x in intervals else [] for x in xs],
    )


def repeats_note(figures: Sequence[PointFigures]) -> list[str]:
    """Return what "±" means in the table of a curve. Empty if no load has an interval."""
    if all(len(repeats) < 2 for repeats in by_load(figures)) or not measured_in_rounds(figures):
        return []
    return [
        "± is half the interval of the mean over repeats, with 95 % (Student's t; the spread of a level is moderated "
        "towards that of all levels)."
    ]


def any_of(values: Sequence[Any]) -> bool:
    return any(value is not None for value in values)


def rate_and_latencies(curves: Sequence[Sequence[PointFigures]]) -> list[Column]:
    """Return table columns of output tokens/s and the medians of TTFT and TPOT, curve after curve."""

    def over_curves(value: Value, form: Callable[[float], str]) -> Column:
        return column([level for figures in curves for level in intervals(figures, value)], form)

    times = (partial(PointFigures.percentile_ns, latency=name, percent=50) for name in ("TTFT", "TPOT"))
    rates = [level for figures in curves for level in intervals(figures, rate_of_curve(figures))]
    return [column(rates, "{:,.1f}".format), *(over_curves(time, duration) for time in times)]


def limits_cell(same: Sequence[PointFigures]) -> str:
    """Return the bottleneck, of each repeat if they differ."""
    return " / ".join(dict.fromkeys(each.limits.main_with_doubt for each in same))
