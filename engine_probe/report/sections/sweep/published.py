"""Published figures drawn beside measured ones, always named as such, and listed with how far apart they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import msgspec

from engine_probe.evaluation.published import Beside, Reference
from engine_probe.report.charts.model import Chart, Lines, Mark, Series
from engine_probe.report.document import Column, Section, says, table

COLUMNS = (
    Column("figure", words=True),
    Column("at"),
    Column("published"),
    Column("measured"),
    Column("measured / published", short="ratio"),
    Column("settings that differ", words=True, short="differs in"),
    Column("doubts", words=True),
)
PUBLISHED_COLOUR = 6
Value = TypeVar("Value")


def drawn_beside(chart: Chart, found: Sequence[Beside]) -> Chart:
    """The same chart with marks at published loads and dots for published values."""
    if not isinstance(chart, Lines):
        return chart
    mine = [each for each in found if each.figure.chart == chart.title]
    for each in mine:
        if each.published.at is None:
            mark = Mark(named(each), each.published.value)
            chart = msgspec.structs.replace(chart, marks=[*chart.marks, mark])
    dots: dict[str, dict[float, float]] = {}
    for each in mine:
        if each.published.at is not None:
            dots.setdefault(named(each), {})[each.published.at] = each.published.value * each.figure.scale
    for label, values in dots.items():
        chart = with_dots(chart, label, values)
    return chart


def named(each: Beside) -> str:
    return each.curve.named(f"published{own_settings(each)}{'; other settings' if each.differs else ''}")


def own_settings(each: Beside) -> str:
    """Several figures of one model may be published for one load."""
    return "".join(f", {name} {value}" for name, value in each.published.setting.items())


def with_dots(chart: Lines, label: str, values: dict[float, float]) -> Lines:
    """Loads that were not measured get a place on the axis; the other lines have nothing there."""
    old = [x for x in chart.xs if x is not None]
    xs = sorted({*old, *values})

    def moved(line: Sequence[Value], absent: Value) -> list[Value]:
        known = dict(zip(old, line, strict=True)) if line else {}
        return [known.get(x, absent) for x in xs] if line else []

    kept = [
        msgspec.structs.replace(
            line,
            **{name: moved(getattr(line, name), None) for name in ("values", "low", "high")},
            each=moved(line.each, []),
        )
        for line in chart.series
    ]
    dots = Series(label, [values.get(x) for x in xs], 0, "dots", PUBLISHED_COLOUR)
    return msgspec.structs.replace(chart, xs=list(xs), series=[*kept, dots])


def reference_rows(found: Sequence[Beside]) -> list[list[str]]:
    return [
        [
            each.curve.named(each.figure.words + own_settings(each)),
            "-" if each.published.at is None else f"{each.published.at:g}",
            each.figure.form(each.published.value),
            "not measured" if each.measured is None else each.figure.form(each.measured),
            "-" if each.ratio is None else f"{each.ratio:.2f}",
            ", ".join(each.differs) or "none that are told",
            each.published.doubt,
        ]
        for each in found
    ]


def nothing_beside(reference: Reference) -> str:
    models = ", ".join(dict.fromkeys(figure.model for figure in reference.figures))
    return f"Nothing of it is about what was measured here: it is about {models}, over {reference.load_in}."


def reference_section(reference: Reference, found: Sequence[Beside]) -> Section:
    """Return the figures with their source; nothing where it publishes none."""
    if not reference.figures:
        return Section()
    source = says([f"{reference.source}. {reference.doubt}"], "soft")
    nothing = says([] if found else [nothing_beside(reference)])
    tables = (table(COLUMNS, reference_rows(found)),) if found else ()
    return Section(f"Published: {reference.title}", sentences=(*source, *nothing), tables=tables, shown="always")
