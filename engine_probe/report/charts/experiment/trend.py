"""Figures over occasions: each with the interval of their scatter, and a mark at each change that is shown."""

from collections.abc import Iterator

from engine_probe.analysis.compare.trend import Trend
from engine_probe.evaluation.trend import TIME, TrendOver
from engine_probe.report.charts.model import Axis, Lines, Mark, Series, numbers

HOURS, DAYS = 3600.0, 86400.0  # in seconds
MOST_HOURS = 48.0  # of an axis; a longer one is in days


def trend_charts(found: TrendOver) -> Iterator[Lines]:
    """Yield a chart for each figure: over all points, or of each point if there is only one."""
    axis, xs = axis_of(found)
    place = "Of the geometric mean over all points. " if found.together else ""
    names = "" if found.axis == TIME else f" {labels(found)}."
    for trend in found.main:
        note = f"{place}Whiskers: where an occasion would be found again (95 %), by the scatter between changes.{names}"
        marks = [Mark(f"changed, p {shift.p:.2g}", (xs[shift.at - 1] + xs[shift.at]) / 2) for shift in trend.shifts]
        relative = trend.values[0] > 0
        unit = Axis("against the first", "%") if relative else Axis(trend.metric.title, trend.metric.unit)
        yield Lines(trend.metric.title, note, axis, [unit], numbers(xs), [*series(trend, relative)], marks=marks)


def series(trend: Trend, relative: bool) -> Iterator[Series]:
    """Yield the figure, or its change against the first occasion in percent."""

    def drawn(value: float) -> float:
        return (value / trend.values[0] - 1) * 100 if relative else value

    known = [each for each in trend.intervals if each is not None]
    low, high = ([drawn(ends[side]) for ends in known] for side in (0, 1))
    whole = len(known) == len(trend.values)
    yield Series(
        trend.metric.title,
        numbers([drawn(value) for value in trend.values]),
        style="both",
        low=numbers(low) if whole else [],
        high=numbers(high) if whole else [],
    )


def axis_of(found: TrendOver) -> tuple[Axis, list[float]]:
    """Return the axis of time since the first occasion, or the numbers of the occasions."""
    if found.axis != TIME:
        return Axis("measurement", whole=True), [number + 1.0 for number in range(len(found.occasions))]
    first = found.occasions[0].started_ns
    seconds = [(each.started_ns - first) / 1e9 for each in found.occasions]
    long = seconds[-1] > MOST_HOURS * HOURS
    unit = DAYS if long else HOURS
    label = f"since {found.occasions[0].label} UTC"
    return Axis(label, "days" if long else "hours"), [round(each / unit, 4) for each in seconds]


def labels(found: TrendOver) -> str:
    return ", ".join(f"{number} is {each.label}" for number, each in enumerate(found.occasions, 1))
