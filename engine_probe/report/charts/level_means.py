"""The levels of a curve as table cells and chart lines: the mean over the repeats of each load, and its interval."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypedDict

from engine_probe.analysis.batch.prediction_interval import RATE
from engine_probe.analysis.curve.levels import PointFigures, by_load, measured_in_rounds, rate_of_curve
from engine_probe.analysis.statistics.level_noise import over_levels
from engine_probe.analysis.statistics.repeats import Cells, Repeated, column, repeated
from engine_probe.report.charts.model import of_levels, short
from engine_probe.text_format import duration, rate_words

Value = Callable[[PointFigures], float | None]


class SeriesValues(TypedDict):
    """The values of a `Series`: means, their intervals, and the repeats themselves."""

    values: list[float | None]
    low: list[float | None]
    high: list[float | None]
    each: list[list[float]]


def intervals(figures: Sequence[PointFigures], value: Value, name: str = "") -> list[Repeated | None]:
    """Return the mean of a rate or a time at each load, with an interval from the noise of all levels.

    That of a prediction is how far a measurement may lie from it; `name` is that of the figure in `Summary.within`.
    """
    if any(point.summary.within for point in figures):
        return [predicted(repeats, value, name) for repeats in by_load(figures)]
    measured = [(repeats[0].load, list(map(value, repeats))) for repeats in by_load(figures)]
    return over_levels(measured, measured_in_rounds(figures))


def throughput(figures: Sequence[PointFigures]) -> list[Repeated | None]:
    """Return the throughput of a curve at each load with its interval: the one that is shown everywhere.

    As for the fit of the curve, the mean is over the repeats that held their load.
    """
    rate = rate_of_curve(figures)
    if any(point.summary.within for point in figures):
        return intervals(figures, rate, RATE)
    measured = [(repeats[0].load, known_rates(repeats, rate)) for repeats in by_load(figures)]
    return over_levels(measured, measured_in_rounds(figures), throughput=True)


def throughput_at(figures: Sequence[PointFigures], load: float) -> Repeated:
    """Return the throughput of a level that takes part in the curve."""
    found = zip(by_load(figures), throughput(figures), strict=True)
    return next(rate for repeats, rate in found if rate and repeats[0].load == load)


def known_rates(repeats: Sequence[PointFigures], rate: Value) -> list[float]:
    return [value for each in repeats if (value := rate(each)) is not None]


def predicted(repeats: Sequence[PointFigures], value: Value, name: str) -> Repeated | None:
    """Return the mean of predictions of one load, with the interval of a measurement."""
    known = repeated(list(map(value, repeats)))
    found = None if known is None else repeats[0].summary.interval(name, known.mean)
    return known if known is None or found is None else Repeated(known.mean, known.count, *found)


def over_loads(
    xs: Sequence[float],
    figures: Sequence[PointFigures],
    value: Value,
    scale: float = 1.0,
    most: float = math.inf,
    name: str = "",
) -> SeriesValues:
    if name and any(point.summary.within for point in figures):
        found = zip(by_load(figures), intervals(figures, value, name), strict=True)
        return band(xs, {repeats[0].load: mean for repeats, mean in found if mean}, scale)
    measured = {repeats[0].load: list(map(value, repeats)) for repeats in by_load(figures)}
    return over_repeats(xs, measured, scale, most, measured_in_rounds(figures))


def throughput_over_loads(xs: Sequence[float], figures: Sequence[PointFigures]) -> SeriesValues:
    if any(point.summary.within for point in figures):
        return over_loads(xs, figures, rate_of_curve(figures), name=RATE)
    rate = rate_of_curve(figures)
    measured = {repeats[0].load: known_rates(repeats, rate) for repeats in by_load(figures)}
    return over_repeats(xs, measured, apart=measured_in_rounds(figures), throughput=True)


def band(xs: Sequence[float], means: Mapping[float, Repeated], scale: float) -> SeriesValues:
    """Return predictions with their intervals."""

    def line(end: Callable[[Repeated], float | None]) -> list[float | None]:
        return of_levels(xs, ((load, end(mean) or mean.mean) for load, mean in means.items()), scale)

    return SeriesValues(
        values=line(lambda each: each.mean),
        low=line(lambda each: each.low),
        high=line(lambda each: each.high),
        each=[[] for _ in xs],
    )


def over_repeats(
    xs: Sequence[float],
    measured: Mapping[float, Sequence[float | None]],
    scale: float = 1.0,
    most: float = math.inf,
    apart: bool = True,
    throughput: bool = False,
) -> SeriesValues:
    """Return the mean over repeats at each load; of several repeats also its interval, cut at 0 and `most`, and each.

    A share has a finite `most`. Its spread is not proportional to its value, so each interval is of its own repeats.
    """
    found = over_levels(list(measured.items()), apart, math.isinf(most), throughput)
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
    if any(point.summary.within for point in figures):
        return [
            "± reaches as far from a prediction as nine of ten measurements lie, by recordings left out of the fit."
        ]
    if all(len(repeats) < 2 for repeats in by_load(figures)) or not measured_in_rounds(figures):
        return []
    return [
        "± is half the interval of the mean over repeats, with 95% (Student's t; the spread of a level is moderated "
        "towards that of all levels). That of the highest throughput reaches further down where other levels may be as "
        "high, since the highest of several is likely to be too high."
    ]


def any_of(values: Sequence[Any]) -> bool:
    return any(value is not None for value in values)


def rate_and_latencies(curves: Sequence[Sequence[PointFigures]]) -> list[Cells]:
    """Return table columns of output tokens/s and the medians of TTFT and TPOT, curve after curve."""

    def medians(latency: str) -> Cells:
        value = partial(PointFigures.percentile_ns, latency=latency, percent=50)
        found = (level for figures in curves for level in intervals(figures, value, f"{latency} p50"))
        return column(list(found), duration)

    rates = [level for figures in curves for level in throughput(figures)]
    return [column(rates, rate_words), medians("TTFT"), medians("TPOT")]


def limits_cell(same: Sequence[PointFigures]) -> str:
    """Return the bottleneck, of each repeat if they differ; that a sweep is predicted stands above its table."""
    found = (each.limits.main if each.limits.terms else each.limits.main_with_doubt for each in same)
    return " / ".join(dict.fromkeys(found))
