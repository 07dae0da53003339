"""Charts as plain data, which `renderers/assets/page.js` draws: lines over a common x, or spans of time in rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from engine_probe.workload.load import RATE
from page_kit.line_chart import Region as Region

SIGNIFICANT = 5  # digits that a drawing needs; hover shows them all


class Axis(msgspec.Struct, frozen=True):
    label: str
    unit: str = ""
    log: bool = False  # powers of ten; what is not above zero is not drawn
    whole: bool = False  # counts: no tick between two of them


def load_axis(unit: str) -> Axis:
    """Return the axis of the load; requests and users are counted, a rate is not."""
    return Axis(unit, whole=unit != RATE)


class Series(msgspec.Struct, frozen=True):
    label: str
    values: list[float | None]
    axis: int = 0
    style: str = "line"  # line, step (holds until the next value), dots, both, dashed, shade (extremes, pale)
    colour: int = 0
    shade: float | None = None  # place among ordered series, 0 to 1; takes the place of the colour
    low: list[float | None] = []  # ends of an interval around each value; empty: none has one
    high: list[float | None] = []
    each: list[list[float]] = []  # what each value is the mean of, where repeats were measured
    follows: bool = False  # belongs to the series before it: one entry in the legend, shown and hidden together


class Mark(msgspec.Struct, frozen=True):
    """A place on x with a name: a dashed line from top to bottom."""

    label: str
    at: float


class Lines(msgspec.Struct, frozen=True, tag="lines", tag_field="kind"):
    title: str
    note: str
    x: Axis
    y: list[Axis]
    xs: list[float | None]
    series: list[Series]
    regions: list[Region] = []
    marks: list[Mark] = []
    sync: str = ""  # charts of one name share their cursor and zoom


class Spans(msgspec.Struct, frozen=True, tag="spans", tag_field="kind"):
    title: str
    note: str
    kinds: list[str]
    rows: list[str]
    spans: list[tuple[int, int, float, float]]  # row, kind, begin and end in seconds
    sync: str = ""
    named: bool = False  # rows have their names on the axis; of many only the mouse tells


Chart = Lines | Spans


def numbers(values: npt.ArrayLike | Sequence[float | None]) -> list[float | None]:
    """Finite ones to five significant digits (whole ones exactly), the others as None."""
    array = np.asarray(values, dtype=np.float64)
    return [None if not np.isfinite(value) else short(value) for value in array.tolist()]


def short(value: float) -> float:
    return int(value) if value == int(value) else float(f"{value:.{SIGNIFICANT}g}")


def moments(seconds: npt.ArrayLike) -> list[float | None]:
    """Times since the first step, to the microsecond."""
    return [None if not np.isfinite(value) else round(value, 6) for value in np.asarray(seconds, float).tolist()]


def of_levels(
    xs: Sequence[float], pairs: Iterable[tuple[float, float | None]], scale: float = 1.0
) -> list[float | None]:
    """Values at the levels they belong to, None at the others."""
    known = {x: value for x, value in pairs if value is not None}
    return [short(known[x] * scale) if x in known and np.isfinite(known[x]) else None for x in xs]
