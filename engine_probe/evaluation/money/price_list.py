"""Prices, from a TOML price list or from options of the command line."""

import math
import re
from pathlib import Path

import msgspec

from engine_probe.analysis.money.prices import SECTIONS, Cost, Prices, Sold
from engine_probe.analysis.run.slo import COSTS, Slo
from engine_probe.errors import InputError
from engine_probe.files.config_file import convert
from engine_probe.files.safe_read import read_toml

SHIPPED = Path(__file__).parent / "shipped"
STARTER = Path(__file__).parent / "starter.toml"  # what `prices --init` writes
UNNAMED = ""  # currency of prices that were given without one
AMOUNT = re.compile(r"\s*(\d*\.?\d+)\s*([^\s\d.]*)\s*")
CURRENCY = re.compile(r"[A-Za-z]{3}|[^\w\s]|")  # a code of ISO 4217, a sign, or nothing


def read_prices(name: str) -> Prices:
    """Read a price list by its path or the name of a shipped example."""
    path = find_prices(name)
    try:
        prices = convert(read_toml(path), Prices, SECTIONS, "a price list")
        prices.check()
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    return prices


def find_prices(name: str) -> Path:
    for path in (Path(name), SHIPPED / f"{name}.toml"):
        if path.is_file():
            return path
    raise InputError(
        f"there is no price list {name!r}: give the path of a TOML file (shipped: {', '.join(shipped_names())})"
    )


def shipped_names() -> list[str]:
    return sorted(path.stem for path in SHIPPED.glob("*.toml"))


def prices_of(name: str | None, cost_per_hour: str | None, price_per_million: str | None) -> Prices | None:
    """Combine a price list with the options, which win; None if neither is given."""
    if name is None and cost_per_hour is None and price_per_million is None:
        return None
    cost = amount("--cost-per-hour", cost_per_hour)
    price = amount("--price-per-million", price_per_million)
    prices = read_prices(name) if name is not None else None
    currencies = dict.fromkeys(currency for _, currency in (cost, price) if currency)
    if prices is not None:
        currencies |= {prices.currency: None}
    if len(currencies) > 1:
        raise InputError(
            f"prices are in {' and '.join(currencies)}: put all into one currency, no exchange rate is known"
        )
    prices = prices or Prices(currency=next(iter(currencies), UNNAMED))
    if cost[0] is not None:
        prices = msgspec.structs.replace(prices, fixed=[Cost("--cost-per-hour", per_hour=cost[0])], power=None)
    if price[0] is not None:
        prices = msgspec.structs.replace(prices, sold=Sold(per_million_output_tokens=price[0]))
    return prices


def judged_with(slo: Slo | None, prices: Prices | None) -> Slo | None:
    """Return the SLO of `--goodput` with the prices that its limits on costs need."""
    if slo is None or not slo.limits_costs:
        return slo
    if prices is None:
        name = next(name for name in slo.whole_limits if name in COSTS)
        limit = slo.whole_limits[name]
        raise InputError(f"--goodput {name}:{limit:g} needs prices: give --money FILE, or --cost-per-hour")
    return msgspec.structs.replace(slo, prices=prices)


def with_prices_read(slo: Slo, place: str) -> Slo:
    """Return the SLO of a sweep file with the prices that it names, read and checked."""
    if slo.prices is None:
        for name in slo.whole_limits:
            if name in COSTS:
                raise InputError(f"{place}.{name} needs prices: set {place}.prices to a price list")
        return slo
    if not slo.limits_costs:
        raise InputError(f"{place}.prices is for limits on costs, and there is none: leave it out, or add one")
    try:
        if isinstance(slo.prices, str):
            return msgspec.structs.replace(slo, prices=read_prices(slo.prices))
        slo.prices.check()
    except InputError as error:
        raise InputError(f"{place}.prices: {error}") from error
    return slo


def amount(option: str, text: str | None) -> tuple[float | None, str]:
    """Parse an amount and its currency, such as `2.5` or `2.5EUR`."""
    if text is None:
        return None, UNNAMED
    match = AMOUNT.fullmatch(text)
    if match is None or math.isinf(float(match[1])):
        raise InputError(f"{option} {text}: give a sum that is not negative, as 2.5 or 2.5EUR")
    if not CURRENCY.fullmatch(match[2]):
        raise InputError(
            f"{option} {text}: {match[2]} is not a currency: give a code of three letters, as 2.5EUR, or 2.5€"
        )
    return float(match[1]), match[2].upper()
