"""Money and energy as curves over the load."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from engine_probe.analysis.money.curve_costs import CurveCosts
from engine_probe.analysis.money.metrics import MONEY
from engine_probe.evaluation.money.costs import Costed, Money
from engine_probe.report.charts.level_means import any_of
from engine_probe.report.charts.model import Axis, Chart, Lines, Mark, Region, Series, load_axis, of_levels
from engine_probe.report.charts.sweep import INTERVALS, regions
from engine_probe.text_format import capitalized

COST = "cost_per_million_output_tokens"
CURVES = (("Cost per million output tokens", COST), ("Energy per output token", "joules_per_output_token"))


def money_charts(found: Money) -> Iterator[Chart]:
    """Yield the charts of curves with at least two levels."""
    for unit in dict.fromkeys(curve.unit for curve in found.curves):
        alike = [curve for curve in found.curves if curve.unit == unit and len(curve.costs.levels) > 1]
        xs = sorted({level.load for curve in alike for level in curve.costs.levels})
        if len(xs) < 2:
            continue
        for curve in alike:
            yield from profit_chart(curve, found.currency)
        for heading, name in CURVES:
            yield from over_load(alike, xs, heading, name, found.currency)


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
    if name == COST and len(alike) == 1 and alike[0].costs.sells:
        series += price_lines(alike[0], xs)
    (metric,) = (metric for metric in MONEY if metric.name == name)
    unit = metric.unit.format(currency)
    intervals = INTERVALS if any(curve.high for curve in series) else ""
    note = f"{capitalized(metric.formula)}.{intervals}"
    yield Lines(heading, note, load_axis(alike[0].unit), [Axis(metric.title, unit)], list(xs), series)


def price_lines(curve: Costed, xs: Sequence[float]) -> Iterator[Series]:
    """Yield the price that is paid, and the break-even price where prompts are paid for, too."""
    sold = curve.costs.prices.sold
    if sold.million_input_tokens:
        yield line(curve, xs, "break_even_price", "break-even price, prompts at theirs", 1)
    yield Series("price", [sold.million_output_tokens for _ in xs], style="dashed", colour=2)


def profit_chart(curve: Costed, currency: str) -> Iterator[Lines]:
    """Yield revenue, cost and profit, over the regions of the curve, with break-even and the highest profit marked."""
    costs = curve.costs
    if not costs.sells:
        return
    xs = [level.load for level in costs.levels]
    names = (("revenue_per_hour", "revenue", 0), ("cost_per_hour", "cost", 1), ("profit_per_hour", "profit", 2))
    series = [line(curve, xs, name, label, colour) for name, label, colour in names]
    if not any_of(series[2].values):
        return
    shaded = regions(curve.curve) if curve.curve else []
    note = "Of whole runs. Break-even is interpolated linearly between the levels on either side of it."
    note += "" if shaded else " Shaded: profit and loss, since too few levels show regions of the curve."
    note += INTERVALS if any(line.high for line in series) else ""
    heading = f"Revenue, cost and profit{f' ({curve.label})' if curve.label else ''}"
    axes = (load_axis(curve.unit), [Axis("an hour", currency)])
    yield Lines(heading, note, *axes, list(xs), series, shaded or profit_and_loss(costs), list(marks(costs)))


def profit_and_loss(costs: CurveCosts) -> list[Region]:
    """Return the stretches of profit and of loss between the break-even points."""
    begins_with_loss = (costs.levels[0].mean("profit_per_hour") or 0) < 0
    ends = [None, *(point.at for point in costs.break_even), None]
    kinds = [("profit", "spare"), ("loss", "overload")]
    return [
        Region(*kinds[(number + begins_with_loss) % 2], begin, end)
        for number, (begin, end) in enumerate(pairwise(ends))
    ]


def marks(costs: CurveCosts) -> Iterator[Mark]:
    for point in costs.break_even:
        yield Mark("break-even" if point.into_profit else "into loss", float(f"{point.at:.3g}"))
    best = costs.best("profit_per_hour")
    if best and (best.mean("profit_per_hour") or 0.0) > 0:
        yield Mark("highest profit", best.load)
