"""The costs and earnings of one run under a price list.

revenue = price per token x tokens/s x time; cost = fixed + variable + energy + bursts; profit = revenue - cost.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from engine_probe.analysis.money.prices import Prices, Surge, VariableCost
from engine_probe.analysis.money.work import Work

PER_HOUR = 3600.0
MILLION = 1e6
GIB = 2**30
NO_PRICES = Prices(currency="")  # energy needs none

Kind = Literal["fixed", "variable", "energy", "burst"]


@dataclass(frozen=True)
class CostItem:
    name: str
    kind: Kind
    per_hour: float


@dataclass(frozen=True)
class RunCosts:
    """The costs and earnings of one run; a figure is None if a part of it is not known."""

    work: Work
    prices: Prices
    with_energy: bool = True  # whether energy is counted, which takes the energy of all runs of a curve
    load: tuple[float, str] | None = None  # and its unit, on which bursts depend

    @cached_property
    def items(self) -> tuple[CostItem, ...] | None:
        """Return the cost of each item of the price list. None if that of one is not known."""
        parts = list(self._parts())
        known = [CostItem(name, kind, per_hour) for name, kind, per_hour in parts if per_hour is not None]
        return tuple(known) if len(known) == len(parts) else None

    def _parts(self) -> Iterator[tuple[str, Kind, float | None]]:
        prices = self.prices
        for item in prices.fixed:
            count = self.work.gpus.cards if item.per_card else 1
            yield item.name, "fixed", None if count is None else item.hourly(prices.hours_per_month) * count
        for follows in prices.variable:
            if follows.per_kwh is None or self.with_energy:
                yield follows.name, "variable", self._variable_cost(follows)
        if (power := prices.power) is not None and self.with_energy:
            used = self._kilowatts
            yield "energy", "energy", None if used is None else used * power.overhead * power.per_kwh
        for burst in prices.burst:
            if self.load is not None and fits(burst, self.load[1]):
                yield burst.name, "burst", burst.hourly(self.load[0], prices.hours_per_month)

    def _variable_cost(self, item: VariableCost) -> float | None:
        done = self.work
        if item.per_million_output_tokens is not None:
            return item.per_million_output_tokens * done.made_tokens_per_s * PER_HOUR / MILLION
        if item.per_million_input_tokens is not None:
            return item.per_million_input_tokens * done.input_tokens_per_s * PER_HOUR / MILLION
        if item.per_1000_requests is not None:
            return item.per_1000_requests * done.ended_requests_per_s * PER_HOUR / 1000
        if item.per_kwh is not None:
            return None if self._kilowatts is None else item.per_kwh * self._kilowatts
        assert item.per_gib is not None
        bytes_per_s = (
            item.bytes_per_request * done.ended_requests_per_s
            + item.bytes_per_output_token * done.made_tokens_per_s
            + item.bytes_per_input_token * done.input_tokens_per_s
        )
        return item.per_gib * bytes_per_s * PER_HOUR / GIB

    @property
    def _kilowatts(self) -> float | None:
        """Return the power of the GPUs and of the host: as given, or as measured. None if the GPUs' is not known."""
        given = self.prices.power.host_watts if self.prices.power else 0.0
        host = given or self.work.gpus.host_watts or 0.0
        return None if self.work.watts is None else (self.work.watts + host) / 1000

    def of_kinds(self, *kinds: Kind) -> float | None:
        """Return the cost per hour of all items of these kinds."""
        items = self.items
        return None if items is None else sum(item.per_hour for item in items if item.kind in kinds)

    @property
    def cost_per_hour(self) -> float | None:
        return sum(item.per_hour for item in self.items) if self.items else None

    @property
    def revenue_per_hour(self) -> float:
        sold, done = self.prices.sold, self.work
        paid = (
            sold.million_output_tokens * done.output_tokens_per_s + sold.million_input_tokens * done.input_tokens_per_s
        )
        return paid / MILLION * PER_HOUR

    @property
    def profit_per_hour(self) -> float | None:
        return None if self.cost_per_hour is None else self.revenue_per_hour - self.cost_per_hour

    @property
    def break_even_price(self) -> float | None:
        """Return the price per million output tokens at which revenue equals cost, at the given price of prompts.

        None without a cost or output tokens; 0 if the prompts alone pay for it.
        """
        cost, rate = self.cost_per_hour, self.work.output_tokens_per_s
        if cost is None or not rate:
            return None
        prompts = self.prices.sold.million_input_tokens * self.work.input_tokens_per_s / MILLION * PER_HOUR
        return max(0.0, cost - prompts) / (rate * PER_HOUR) * MILLION

    def cost_of(self, per_s: float, many: float) -> float | None:
        """Return the cost of `many` items made at `per_s`."""
        return self.cost_per_hour / (per_s * PER_HOUR) * many if per_s and self.cost_per_hour is not None else None

    def joules_per(self, per_s: float) -> float | None:
        """Return the energy of the GPUs for each item made at `per_s`."""
        watts = self.work.watts
        return watts / per_s if watts is not None and per_s else None


def fits(item: Surge, unit: str) -> bool:
    """Return whether a burst is above a load in this unit."""
    return item.above[1] == unit
