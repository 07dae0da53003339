"""What a GPU costs and draws, by the options of a price list."""

from __future__ import annotations

from engine_probe.analysis.money.hardware_options import monthly
from engine_probe.analysis.money.prices import Option, Prices
from engine_probe.engine.twin.engine_choice import Offer
from engine_probe.errors import InputError


def offer_of(prices: Prices | None, source: str, names: tuple[str, str]) -> Offer:
    """Return the offer of one GPU: the option of the list that is called so; `names` are the asked and the full one."""
    found = [] if prices is None else [option for option in prices.options if is_named(option, names)]
    if prices is None or not found:
        return Offer()
    costs = {monthly(option, prices)[1] / prices.hours_per_month for option in found}
    if len(costs) > 1:
        raise InputError(f"--money {source}: {found[0].name} has several prices: leave one of its options")
    watts = {option.watts for option in found if option.watts}
    return Offer(costs.pop(), watts.pop() if len(watts) == 1 else None, source)


def is_named(option: Option, names: tuple[str, str]) -> bool:
    asked, whole = (name.lower() for name in names)
    name = option.name.lower()
    return name in (asked, whole) or whole.startswith(f"{name} ")
