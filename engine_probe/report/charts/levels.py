"""The levels of a curve as rows and lines: the mean over the repeats of each load, and how sure it is."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import groupby
from typing import Any, TypedDict

from engine_probe.analysis.curve.levels import PointFigures
from engine_probe.analysis.statistics.repeats import Column, Repeated, column, pooled, repeated
from engine_probe.report.charts.model import of_levels, short
from engine_probe.text_format import duration

Value = Callable[[PointFigures], float | None]


class Drawn(TypedDict):
    """What a series is made of, beside its name and looks."""

    values: list[float | None]
    low: list[float | None]
    high: list[float | None]
    each: list[list[float]]


def by_load(figures: Sequence[PointFigures]) -> list[list[PointFigures]]:
    """Repeats of one load together, in the order of loads."""
    ordered = sorted(figures, key=lambda each: each.load)
    return [list(same) for _, same in groupby(ordered, key=lambda each: each.load)]


def intervals(figures: Sequence[PointFigures], value: Value) -> list[Repeated | None]:
    """Of a rate or a time at each load: the mean over its repeats, its interval from the spread of all levels."""
    return pooled([[value(each) for each in same] for same in by_load(figures)])


def over_loads(
    xs: Sequence[float], figures: Sequence[PointFigures], value: Value, scale: float = 1.0, most: float = math.inf
) -> Drawn:
    return over_repeats(xs, {same[0].load: [value(each) for each in same] for same in by_load(figures)}, scale, most)


def over_repeats(
    xs: Sequence[float],
    measured: Mapping[float, Sequence[float | None]],
    scale: float = 1.0,
    most: float = math.inf,
) -> Drawn:
    """The mean over repeats at each load; where there are several, its interval, cut at 0 and at `most`, and each.

    A share, which has a most, scatters by no constant part of itself: its interval is of its own repeats.
    """
    alone = [repeated(values) for values in measured.values()]
    means = alone if math.isfinite(most) else pooled(list(measured.values()))
    told = {load: found for load, found in zip(measured, means, strict=True) if found}
    several = {load: found for load, found in told.items() if found.high is not None}
    mean = of_levels(xs, ((load, found.mean) for load, found in told.items()), scale)
    if not several:
        return Drawn(values=mean, low=[], high=[], each=[])
    return Drawn(
        values=mean,
        low=of_levels(xs, ((load, max(found.low or 0.0, 0.0)) for load, found in several.items()), scale),
        high=of_levels(xs, ((load, min(found.high or 0.0, most)) for load, found in several.items()), scale),
        each=[[short(one * scale) for one in measured[x] if one is not None] if x in several else [] for x in xs],
    )


def repeats_note(figures: Sequence[PointFigures]) -> list[str]:
    """What "±" means, where it is written; of one curve."""
    if all(len(same) < 2 for same in by_load(figures)):
        return []
    return [
        "± is half the interval of the mean over repeats, with 95 % (Student's t; the relative spread of repeats is "
        "taken from all levels together)."
    ]


def any_of(values: Sequence[Any]) -> bool:
    return any(value is not None for value in values)


def rate_and_latencies(curves: Sequence[Sequence[PointFigures]]) -> list[Column]:
    """Output tokens/s, and the medians of TTFT and TPOT, of one curve after the other."""

    def over_curves(value: Value, form: Callable[[float], str]) -> Column:
        return column([each for figures in curves for each in intervals(figures, value)], form)

    times = (partial(PointFigures.percentile_ns, latency=name, percent=50) for name in ("TTFT", "TPOT"))
    rate = over_curves(lambda each: each.summary.output_tokens_per_s, "{:,.1f}".format)
    return [rate, *(over_curves(time, duration) for time in times)]


def limits_cell(same: Sequence[PointFigures]) -> str:
    """Return what held up most of the time, of each repeat if they differ."""
    return " / ".join(dict.fromkeys(each.limits.main_with_doubt for each in same))
