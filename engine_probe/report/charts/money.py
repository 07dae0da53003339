"""Money and energy as curves over the load, and options over the demand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from engine_probe.analysis.money.curve_costs import MONEY
from engine_probe.evaluation.costs import Costed, Money
from engine_probe.report.charts.levels import any_of
from engine_probe.report.charts.model import Axis, Chart, Lines, Region, Series, load_axis, numbers, of_levels
from engine_probe.report.charts.sweep import INTERVALS
from engine_probe.report.sections.money_words import several

CURVES = (
    ("Cost of a million output tokens", "cost_per_million_output_tokens"),
    ("Energy of an output token", "joules_per_output_token"),
)


def money_charts(found: Money) -> Iterator[Chart]:
    """Curves of two levels and more; of figures that are known."""
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
    known = {level.load: figure for level in curve.costs.levels if (figure := level.figures[name])}
    low = of_levels(xs, ((load, figure.low) for load, figure in known.items()))
    return Series(
        label=label,
        values=of_levels(xs, ((load, figure.mean) for load, figure in known.items())),
        style="both",
        colour=colour,
        low=low if any_of(low) else [],
        high=of_levels(xs, ((load, figure.high) for load, figure in known.items())) if any_of(low) else [],
    )


def over_load(alike: Sequence[Costed], xs: Sequence[float], heading: str, name: str, currency: str) -> Iterator[Lines]:
    series = [line(curve, xs, name, curve.label or heading.lower(), number) for number, curve in enumerate(alike)]
    series = [each for each in series if any_of(each.values)]
    if not series:
        return
    (metric,) = (each for each in MONEY if each.name == name)
    unit = metric.unit.format(currency)
    note = f"{metric.formula[:1].upper()}{metric.formula[1:]}.{INTERVALS if any(each.high for each in series) else ''}"
    yield Lines(heading, note, load_axis(alike[0].unit), [Axis(metric.title, unit)], list(xs), series)


def profit_chart(curve: Costed, currency: str) -> Iterator[Lines]:
    """Revenue, cost and profit; where it earns is shaded, from one break-even to the next."""
    done = curve.costs
    if not any(level.mean("revenue_per_hour") for level in done.levels):
        return
    xs = [level.load for level in done.levels]
    names = (("revenue_per_hour", "revenue", 0), ("cost_per_hour", "cost", 1), ("profit_per_hour", "profit", 2))
    series = [line(curve, xs, name, label, colour) for name, label, colour in names]
    if not any_of(series[2].values):
        return
    earns = (done.levels[0].mean("profit_per_hour") or 0) >= 0
    ends = [None, *(each.at for each in done.break_even), None]
    kinds = [("profit", "spare"), ("loss", "overload")]
    regions = [
        Region(*kinds[(number + (not earns)) % 2], begin, end) for number, (begin, end) in enumerate(pairwise(ends))
    ]
    note = "Break-even is read off the straight line between the levels on either side of it."
    heading = f"Revenue, cost and profit{f' ({curve.label})' if curve.label else ''}"
    yield Lines(heading, note, load_axis(curve.unit), [Axis("an hour", currency)], list(xs), series, regions)


def options_chart(found: Money) -> Lines:
    """What each demand costs a month with the cheapest option for it."""
    edges = [0.0, *(step.up_to_per_minute for step in found.steps)]
    xs = [each for pair in pairwise(edges) for each in pair]
    costs = [step.per_month for step in found.steps for _ in range(2)]
    kinds = list(dict.fromkeys(step.name for step in found.steps))
    names = [step.name for step in found.steps for _ in range(2)]
    series = [
        Series(kind, numbers([cost if name == kind else float("nan") for cost, name in zip(costs, names, strict=True)]))
        for kind in kinds
    ]
    series = [Series(each.label, each.values, 0, "both", number) for number, each in enumerate(series)]
    note = (
        f"The cheapest by demand, engines of one kind side by side: {', '.join(several(step) for step in found.steps)}."
    )
    return Lines(
        "Options by demand",
        note,
        Axis("demand", "requests/min"),
        [Axis("a month", found.currency)],
        numbers(xs),
        series,
    )
