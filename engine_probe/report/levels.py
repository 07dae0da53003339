"""The levels of a curve as rows and lines: the mean over the repeats of each load, and how sure it is."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any, TypedDict

from engine_probe.analysis.points import PointFigures
from engine_probe.analysis.repeats import repeated
from engine_probe.report.charts import of_levels, short
from engine_probe.report.terminal import duration

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


def over_loads(
    xs: Sequence[float], figures: Sequence[PointFigures], value: Value, scale: float = 1.0, most: float = math.inf
) -> Drawn:
    """The mean over repeats at each load; where there are several, its interval, cut at 0 and at `most`, and each."""
    measured = {same[0].load: [value(each) for each in same] for same in by_load(figures)}
    told = {load: found for load, values in measured.items() if (found := repeated(values))}
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
    return ["± is half the interval of the mean over repeats, with 95 % (Student's t)."]


def any_of(values: Sequence[Any]) -> bool:
    return any(value is not None for value in values)


def mean_cell(same: Sequence[PointFigures], value: Value, form: Callable[[float], str]) -> str:
    """`523.1 ± 8%`: with several repeats half the width of the interval of the mean, as a share of it."""
    found = repeated([value(each) for each in same])
    if found is None:
        return "-"
    return form(found.mean) + (f" ± {found.reach / found.mean:.0%}" if found.reach is not None and found.mean else "")


def duration_cell(same: Sequence[PointFigures], latency: str, percent: int) -> str:
    return mean_cell(same, lambda each: each.percentile_ns(latency, percent), duration)


def limits_cell(same: Sequence[PointFigures]) -> str:
    """What limits most, of each repeat if they differ."""
    return " / ".join(dict.fromkeys(each.limits.main for each in same))
