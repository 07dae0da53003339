"""Charts as plain data, drawn by `renderers/assets/page.js`: lines over a common x axis, or spans of time in rows."""

from collections.abc import Iterable, Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from engine_probe.workload.load import RATE
from page_kit.line_chart import Region as Region

Reals = npt.NDArray[np.float64]
SIGNIFICANT = 5  # digits of a drawn value


class Axis(msgspec.Struct, frozen=True):
    label: str
    unit: str = ""
    log: bool = False  # logarithmic; values that are not above zero are not drawn
    whole: bool = False  # counts: ticks at whole numbers only


def load_axis(unit: str) -> Axis:
    """Return the axis of the load; requests and users are counted, a rate is not."""
    return Axis(unit, whole=unit != RATE)


class Series(msgspec.Struct, frozen=True):
    label: str
    values: list[float | None]
    axis: int = 0
    # line, step (holds until the next value), until (holds back to the one before), dots, both (line and dots), dashed,
    # shade (extremes)
    style: str = "line"
    colour: int = 0
    shade: float | None = None  # 0 to 1: place among ordered series; replaces the colour
    low: list[float | None] = []  # ends of the interval around each value; empty: no value has one
    high: list[float | None] = []
    each: list[list[float]] = []  # the repeats that each value is the mean of
    names: list[str] = []  # what each value is of, shown with it under the mouse
    follows: bool = False  # shares the legend entry of the series before it, and is shown and hidden with it


class Mark(msgspec.Struct, frozen=True, omit_defaults=True):
    """A labelled vertical line, dashed."""

    label: str
    at: float
    names_its_place: bool = True  # with the label: `break-even: 27`; False: the place is no value that is read


class Lines(msgspec.Struct, frozen=True, tag="lines", tag_field="kind"):
    title: str
    note: str
    x: Axis
    y: list[Axis]
    xs: list[float | None]
    series: list[Series]
    regions: list[Region] = []
    marks: list[Mark] = []
    sync: str = ""  # charts with the same name share cursor and zoom


class Spans(msgspec.Struct, frozen=True, tag="spans", tag_field="kind"):
    title: str
    note: str
    kinds: list[str]
    rows: list[str]
    spans: list[tuple[int, int, float, float]]  # row, kind, begin and end in seconds
    sync: str = ""
    named: bool = False  # the axis has the names of the rows; otherwise only the mouse shows them


Chart = Lines | Spans


def numbers(values: npt.ArrayLike | Sequence[float | None]) -> list[float | None]:
    """Return finite values rounded to five significant digits (whole numbers exactly), others as None."""
    array = np.asarray(values, dtype=np.float64)
    return [None if not np.isfinite(value) else short(value) for value in array.tolist()]


def placed(xs: Reals, at: Reals, values: Reals) -> list[float | None]:
    """Return the values at their places on a common x axis, None elsewhere; of several at one place, the last."""
    aligned = np.full(len(xs), np.nan)
    aligned[np.searchsorted(xs, at)] = values
    return numbers(aligned)


def short(value: float) -> float:
    return int(value) if value == int(value) else float(f"{value:.{SIGNIFICANT}g}")


def moments(seconds: npt.ArrayLike) -> list[float | None]:
    """Return seconds rounded to microseconds."""
    return [None if not np.isfinite(value) else round(value, 6) for value in np.asarray(seconds, float).tolist()]


def of_levels(
    xs: Sequence[float], pairs: Iterable[tuple[float, float | None]], scale: float = 1.0
) -> list[float | None]:
    """Return the values at their loads, and None at the other loads."""
    by_x = {x: value for x, value in pairs if value is not None and np.isfinite(value)}
    return [short(by_x[x] * scale) if x in by_x else None for x in xs]
