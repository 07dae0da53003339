"""Published figures in the charts of a sweep: always labelled as published, and in a colour of their own."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

import msgspec

from engine_probe.evaluation.published.published_comparison import Beside
from engine_probe.report.charts.model import Chart, Lines, Mark, Series

PUBLISHED_COLOUR = 6
Value = TypeVar("Value")


def all_beside(found: Sequence[Beside], charts: Iterable[Chart]) -> Iterator[Chart]:
    yield from (drawn_beside(chart, found) for chart in charts)


def drawn_beside(chart: Chart, found: Sequence[Beside]) -> Chart:
    """Add marks at published loads and dots for published values to a chart."""
    if not isinstance(chart, Lines):
        return chart
    dots: dict[str, dict[float, float]] = {}
    for pair in found:
        if pair.figure.chart != chart.title:
            continue
        for end, value in pair.published.ends.items():
            if pair.published.at is None:
                chart = msgspec.structs.replace(chart, marks=[*chart.marks, Mark(series_name(pair, end), value)])
            else:
                dots.setdefault(series_name(pair, end), {})[pair.published.at] = value * pair.figure.scale
    for label, values in dots.items():
        chart = with_dots(chart, label, values)
    return chart


def series_name(pair: Beside, end: str) -> str:
    """Name a published value, or an end of a band: `published`, `published, at most`."""
    which = f", {end}" if end else ""
    return pair.curve.named(f"published{which}{own_settings(pair)}{'; other settings' if pair.differs else ''}")


def own_settings(pair: Beside) -> str:
    """Return the settings of a published figure, which tell apart several figures for one model and load."""
    return "".join(f", {name} {value}" for name, value in pair.published.setting.items())


def with_dots(chart: Lines, label: str, values: dict[float, float]) -> Lines:
    """Add a series of dots; at loads that only it has, the other series are empty."""
    measured_xs = [x for x in chart.xs if x is not None]
    xs = sorted({*measured_xs, *values})

    def widened(line: Sequence[Value], absent: Value) -> list[Value]:
        by_load = dict(zip(measured_xs, line, strict=True)) if line else {}
        return [by_load.get(x, absent) for x in xs] if line else []

    measured = [
        msgspec.structs.replace(
            line,
            **{name: widened(getattr(line, name), None) for name in ("values", "low", "high")},
            each=widened(line.each, []),
        )
        for line in chart.series
    ]
    dots = Series(label, [values.get(x) for x in xs], 0, "dots", PUBLISHED_COLOUR)
    return msgspec.structs.replace(chart, xs=list(xs), series=[*measured, dots])
