"""The unit of time that fits what an axis shows."""

from collections.abc import Sequence

import msgspec

from engine_probe.report.charts.model import Lines, Series, short

LONG_MS = 10_000.0  # from here on an axis is in seconds


def in_seconds(chart: Lines) -> Lines:
    """Return the chart with seconds on each linear axis of milliseconds whose values reach ten seconds."""
    long = {
        number
        for number, axis in enumerate(chart.y)
        if axis.unit == "ms" and not axis.log and largest(chart.series, number) >= LONG_MS
    }
    axes = [msgspec.structs.replace(axis, unit="s") if number in long else axis for number, axis in enumerate(chart.y)]
    series = [divided(line, 1e3) if line.axis in long else line for line in chart.series]
    return msgspec.structs.replace(chart, y=axes, series=series)


def largest(series: Sequence[Series], axis: int) -> float:
    values = (value for line in series if line.axis == axis for value in line.values if value is not None)
    return max(values, default=0.0)


def divided(line: Series, by: float) -> Series:
    def each(values: Sequence[float | None]) -> list[float | None]:
        return [None if value is None else short(value / by) for value in values]

    return msgspec.structs.replace(
        line,
        values=each(line.values),
        low=each(line.low),
        high=each(line.high),
        each=[[short(value / by) for value in repeats] for repeats in line.each],
    )
