"""Money and energy as curves over the load."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from engine_probe.analysis.money.curve_costs import MONEY
from engine_probe.evaluation.money.costs import Costed, Money
from engine_probe.report.charts.levels import any_of
from engine_probe.report.charts.model import Axis, Chart, Lines, Region, Series, load_axis, of_levels
from engine_probe.report.charts.money.options import options_chart
from engine_probe.report.charts.sweep import INTERVALS
from engine_probe.text_format import capitalized

CURVES = (
    ("Cost per million output tokens", "cost_per_million_output_tokens"),
    ("Energy per output token", "joules_per_output_token"),
)


def money_charts(found: Money) -> Iterator[Chart]:
    """Yield the charts of curves with at least two levels, and of options by demand."""
    for unit in dict.fromkeys(curve.unit for curve in found.curves):
        alike = [curve for curve in found.curves if curve.unit == unit and len(curve.costs.levels) > 1]
        xs = sorted({level.load for curve in alike for level in curve.costs.levels})
        if len(xs) < 2:
            continue
        for heading, name in CURVES:
            yield from over_load(alike, xs, heading, name, found.currency)
        for curve in alike:
            yield from profit_chart(curve, found.currency)
    if len(found.steps) > 1:
        yield options_chart(found)


def line(curve: Costed, xs: Sequence[float], name: str, label: str, colour: int) -> Series:
    by_load = {level.load: figure for level in curve.costs.levels if (figure := level.figures[name])}
    low = of_levels(xs, ((load, figure.low) for load, figure in by_load.items()))
    return Series(
        label=label,
        values=of_levels(xs, ((load, figure.mean) for load, figure in by_load.items())),
        style="both",
        colour=colour,
        low=low if any_of(low) else [],
        high=of_levels(xs, ((load, figure.high) for load, figure in by_load.items())) if any_of(low) else [],
    )


def over_load(alike: Sequence[Costed], xs: Sequence[float], heading: str, name: str, currency: str) -> Iterator[Lines]:
    series = [line(curve, xs, name, curve.label or heading.lower(), number) for number, curve in enumerate(alike)]
    series = [curve for curve in series if any_of(curve.values)]
    if not series:
        return
    (metric,) = (metric for metric in MONEY if metric.name == name)
    unit = metric.unit.format(currency)
    intervals = INTERVALS if any(curve.high for curve in series) else ""
    note = f"{capitalized(metric.formula)}.{intervals}"
    yield Lines(heading, note, load_axis(alike[0].unit), [Axis(metric.title, unit)], list(xs), series)


def profit_chart(curve: Costed, currency: str) -> Iterator[Lines]:
    """Yield revenue, cost and profit, with regions of profit and loss between the break-even points."""
    costs = curve.costs
    if not any(level.mean("revenue_per_hour") for level in costs.levels):
        return
    xs = [level.load for level in costs.levels]
    names = (("revenue_per_hour", "revenue", 0), ("cost_per_hour", "cost", 1), ("profit_per_hour", "profit", 2))
    series = [line(curve, xs, name, label, colour) for name, label, colour in names]
    if not any_of(series[2].values):
        return
    begins_with_loss = (costs.levels[0].mean("profit_per_hour") or 0) < 0
    ends = [None, *(point.at for point in costs.break_even), None]
    kinds = [("profit", "spare"), ("loss", "overload")]
    regions = [
        Region(*kinds[(number + begins_with_loss) % 2], begin, end)
        for number, (begin, end) in enumerate(pairwise(ends))
    ]
    note = "Break-even is interpolated linearly between the levels on either side of it."
    heading = f"Revenue, cost and profit{f' ({curve.label})' if curve.label else ''}"
    yield Lines(heading, note, load_axis(curve.unit), [Axis("an hour", currency)], list(xs), series, regions)
