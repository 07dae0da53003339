"""Money and energy in sentences."""

import math
from collections.abc import Iterator

from engine_probe.analysis.curve.regions import MEANINGS, where
from engine_probe.analysis.money.curve_costs import Crossing, CurveCosts, LevelCosts
from engine_probe.analysis.money.prices import Prices
from engine_probe.analysis.statistics.repeats import Repeated
from engine_probe.evaluation.money.costs import Cards, Costed, Money
from engine_probe.report.sections.money.amounts import amount
from engine_probe.text_format import capitalized, figures
from engine_probe.workload.load import level_words, levels_words


def verdicts(found: Money) -> Iterator[str]:
    yield from across_curves(found)
    for curve in found.curves:
        if len(curve.costs.levels) == 1 and len(found.curves) > 1:
            continue  # a row of the table
        start = f"{curve.label}: " if curve.label else ""
        for sentence in (*curve_verdicts(curve, found.currency), *(f"{note}." for note in curve.costs.notes)):
            yield f"{start}{capitalized(sentence)}"
    for pair in found.cards:
        yield from cards_verdict(pair)


def across_curves(found: Money) -> Iterator[str]:
    """Yield which of several curves over the same load earns most, or has the cheapest tokens."""
    alike = [curve for curve in found.curves if curve.unit == found.curves[0].unit and curve.label]
    if len(alike) < 2:
        return
    sells = any(curve.costs.sells for curve in alike)
    name, sign = ("profit_per_hour", -1.0) if sells else ("cost_per_million_output_tokens", 1.0)
    known = [
        (sign * value, value, curve, level)
        for curve in alike
        for level in curve.costs.levels
        if (value := level.mean(name)) is not None
    ]
    if not known:
        return
    _, value, curve, level = min(known, key=lambda each: each[0])
    where_ = f"with {curve.label} at {level_words(level.load, curve.unit)}"
    if sells:
        hourly = f"{found.currency}/h" if found.currency else "an hour"
        word = "profit is highest" if value >= 0 else "the loss is smallest"
        yield f"Of {len(alike)} curves {word} {where_}: {amount(value, hourly)}."
    else:
        cost = f"{amount(value, found.currency)} per million output tokens"
        yield f"Of {len(alike)} curves tokens are cheapest {where_}: {cost}."


def curve_verdicts(curve: Costed, currency: str) -> Iterator[str]:
    costs, unit = curve.costs, curve.unit
    if len(costs.levels) == 1:
        yield from level_verdicts(costs.levels[0], currency, costs)
        return
    if costs.sells:
        yield from profit_verdicts(curve, currency)
    if low := costs.best("cost_per_million_output_tokens", least=True):
        cost = low.mean("cost_per_million_output_tokens")
        cheapest = f"tokens are cheapest at {level_words(low.load, unit)}"
        yield f"{cheapest}: {amount(cost, currency)} per million output tokens."
    if least := costs.best("joules_per_output_token", least=True):
        yield (
            f"an output token takes the least energy at {level_words(least.load, unit)}: "
            f"{amount(least.mean('joules_per_output_token'), 'J')}, by the GPUs' "
            f"{' and '.join(costs.energy_sources)}."
        )
    top = costs.best("profit_per_hour") or costs.best("cost_per_million_output_tokens", least=True)
    if top and costs.prices.users and (users := top.mean("users")) is not None:
        yield (
            f"{level_words(top.load, unit)}: {figures(top.mean('requests_in_flight') or 0)} requests in flight and "
            f"{users:,.0f} users {habit(costs.prices)} (Little's law)."
        )


def habit(prices: Prices) -> str:
    assert prices.users is not None
    if prices.users.think_s is not None:
        return f"who think for {prices.users.think_s:g} s after each answer"
    return f"who ask every {prices.users.request_every_s:g} s"


def profit_verdicts(curve: Costed, currency: str) -> Iterator[str]:
    costs, unit = curve.costs, curve.unit
    profits = [profit for level in costs.levels if (profit := level.mean("profit_per_hour")) is not None]
    top = costs.best("profit_per_hour")
    if not profits or top is None:
        return
    yield best_verdict(costs, top, unit, currency)
    yield from region_verdict(curve, top)
    for point in costs.break_even:
        what = "break-even" if point.into_profit else "it becomes a loss"
        yield f"{what} at about {figures(point.at)} {unit} ({crossing_range(point)})."
    if not costs.break_even:
        yield "profit at every level measured." if profits[0] >= 0 else "loss at every level measured."
    if uncertain := [level.load for level in costs.levels if includes_zero(level.figures["profit_per_hour"])]:
        yield f"at {levels_words(uncertain, unit)} repeats do not show whether it is a profit or a loss."
    yield from price_verdict(costs, unit, currency)


def best_verdict(costs: CurveCosts, top: LevelCosts, unit: str, currency: str) -> str:
    profit = top.figures["profit_per_hour"]
    assert profit is not None
    word = "profit is highest" if profit.mean >= 0 else "the loss is smallest"
    hourly = f"{currency}/h" if currency else "an hour"
    others = [load for load in costs.as_good if load != top.load]
    alike = f"; at {levels_words(others, unit)} it is not shown to be lower" if others else ""
    between = "" if profit.low is None else f" ({amount(profit.low, '')} to {amount(profit.high, '')})"
    return f"{word} at {level_words(top.load, unit)}: {amount(profit.mean, hourly)}{between}{alike}."


def crossing_range(point: Crossing) -> str:
    """Return where a change into profit or loss lies for sure, if repeats show it, and how it was interpolated."""
    interpolated = f"interpolated between {point.below:g} and {point.above:g}"
    if point.low is None or point.high is None:
        return interpolated
    if math.isinf(point.high):
        return f"{interpolated}; above {figures(point.low)} by the intervals over repeats"
    return f"{figures(point.low)} to {figures(point.high)} by the intervals over repeats"


def region_verdict(curve: Costed, top: LevelCosts) -> Iterator[str]:
    """Yield where on the throughput curve the most is earned: providers are advised to stay near saturation."""
    found = curve.curve.found if curve.curve else None
    kind = found.region(top.load) if found else None
    if found is None or kind in (None, "unclear"):
        return
    at = f"; the saturation point is {where(found.saturation, curve.unit)}" if found.saturation else ""
    region, _, _ = MEANINGS[kind].partition(":")
    yield f"this load is in region {region}{at}."


def price_verdict(costs: CurveCosts, unit: str, currency: str) -> Iterator[str]:
    """Yield the lowest price that any load can hold."""
    low = costs.best("break_even_price", least=True)
    if low is None:
        return
    floor, price = low.mean("break_even_price") or 0.0, costs.prices.sold.million_output_tokens
    prompts = " (prompts at their price)" if costs.prices.sold.million_input_tokens else ""
    yield (
        f"no load pays below {amount(floor, currency)} per million output tokens{prompts}, the break-even price at "
        f"{level_words(low.load, unit)}; the price is {amount(price, currency)}."
    )


def includes_zero(profit: Repeated | None) -> bool:
    """Return whether zero lies in the interval over repeats."""
    return profit is not None and profit.low is not None and profit.high is not None and profit.low < 0 < profit.high


def level_verdicts(level: LevelCosts, currency: str, costs: CurveCosts) -> Iterator[str]:
    if (cost := level.mean("cost_per_million_output_tokens")) is not None:
        tokens, requests = level.mean("cost_per_million_tokens"), level.mean("cost_per_1000_requests")
        yield (
            f"a million output tokens cost {amount(cost, currency)}, a million tokens in and out "
            f"{amount(tokens, currency)}, 1,000 requests {amount(requests, currency)}."
        )
    if level.mean("revenue_per_hour") and (profit := level.mean("profit_per_hour")) is not None:
        yield f"{'profit' if profit >= 0 else 'loss'}: {amount(abs(profit), currency)} an hour."
    if (joules := level.mean("joules_per_output_token")) is not None:
        yield (
            f"an output token took {amount(joules, 'J')}, the GPUs {level.mean('watts'):,.0f} W on average, by "
            f"their {' and '.join(costs.energy_sources)}."
        )
    if (users := level.mean("users")) is not None:
        yield f"this is the load of {users:,.0f} users {habit(costs.prices)} (Little's law)."


def cards_verdict(pair: Cards) -> Iterator[str]:
    names = f"{pair.more.cards} GPUs against {pair.fewer.cards}"
    best, least = (choose(pair.rows, key=lambda row: row.speedup) for choose in (max, min))
    yield (
        f"{names}: throughput × {least.speedup:.2f} at {level_words(least.load, pair.fewer.unit)}, "
        f"× {best.speedup:.2f} at {best.load:g}, for {pair.times:g} times the GPUs."
    )
    priced = [row for row in pair.rows if row.pays is not None]
    if not priced:
        return
    loads = ", ".join(f"{row.load:g}" for row in priced if row.pays)
    where = f"at {loads} {pair.fewer.unit}" if loads else "at no level measured"
    yield f"{names}: tokens are cheaper {where} (it costs {priced[0].cost or 0.0:.2f} times as much)."
