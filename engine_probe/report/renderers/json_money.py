"""The costs of a report as JSON: of each curve and its levels, of numbers of cards, and the hardware options."""

from typing import Any

from engine_probe.evaluation.money.costs import Money, worth_showing
from engine_probe.evaluation.money.options import Hardware


def accounted(money: Money) -> dict[str, Any] | None:
    if not worth_showing(money):
        return None
    return {
        "currency": money.currency,
        "prices": money.prices,
        "curves": [
            {
                "label": curve.label,
                "unit": curve.unit,
                "cards": curve.cards,
                "levels": curve.costs.levels,
                "energy_in_cost": curve.costs.with_energy,
                "energy_from": curve.costs.energy_sources,
                "break_even": curve.costs.break_even,
                "notes": curve.costs.notes,
            }
            for curve in money.curves
        ],
        "cards": [{"fewer": pair.fewer.cards, "more": pair.more.cards, "levels": pair.rows} for pair in money.cards],
        **compared_options(money.hardware),
    }


def compared_options(found: Hardware | None) -> dict[str, Any]:
    """Return the hardware options, the cheapest by demand, and what a token costs on one against another."""
    if found is None:
        return {"options": [], "cheapest_by_demand": []}
    return {
        "options": found.offered,
        "cheapest_by_demand": found.steps,
        "demand": found.demand,
        "choices": [
            {
                "option": choice.option.name,
                "engines": choice.count,
                "engines_by_the_upper_end": choice.hoped,
                "in_time": choice.latency,
                "per_month": choice.per_month,
            }
            for choice in found.choices
        ],
        "rules": found.rules,
        "cost_ratios": [
            {
                "option": ratio.option.name,
                "serves": ratio.option.serves,
                "against": ratio.first.name,
                "low": ratio.low,
                "high": ratio.high,
                "published": ratio.option.claimed_ratio,
                "published_follows": ratio.follows,
            }
            for ratio in found.ratios
        ],
    }
