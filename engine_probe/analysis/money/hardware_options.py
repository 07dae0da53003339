"""Hardware to rent or buy, compared by what it costs at a demand, and rules when to go over to another.

Published rates and prices are often bands. What the lower end of a rate holds is held for sure, what only the upper end
holds perhaps.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from engine_probe.analysis.money.prices import HOURS_PER_YEAR, Option, Prices, Upgrade
from engine_probe.analysis.money.run_costs import MILLION, PER_HOUR

MOST_ENGINES = 64  # of one option, side by side

Ends = tuple[float, float]  # the low and the high end of a figure
Holds = Literal["yes", "perhaps", "no", "not known"]
Rate = Literal["requests/min", "output tokens/s"]
PER_HOUR_OF: dict[Rate, float] = {"requests/min": 60.0, "output tokens/s": PER_HOUR}
BATCH: dict[Rate, float] = {"requests/min": 1000.0, "output tokens/s": MILLION}  # whose cost is compared


@dataclass(frozen=True)
class Offered:
    """An option with what one of it costs and sustains."""

    name: str
    per_month: Ends
    rate: Ends | None
    how: str  # how the rate is known, or why it is not
    unit: Rate = "requests/min"
    serves: str = ""
    latency_s: Ends | None = None
    doubt: str = ""
    claimed_ratio: float | None = None

    def cost_of_batch(self, hours_per_month: float) -> Ends | None:
        """Return the cost of 1,000 requests, or of a million tokens, at full use."""
        if self.rate is None:
            return None
        many = BATCH[self.unit]
        cheap, dear = (
            many * cost / (rate * PER_HOUR_OF[self.unit] * hours_per_month)
            for cost, rate in zip(self.per_month, reversed(self.rate), strict=True)
        )
        return cheap, dear

    def must_sustain(self, others: Sequence["Offered"]) -> float | None:
        """Return the rate above which it is surely cheaper per request than the best of the others."""
        prices = [other.per_month[0] / other.rate[1] for other in others if other.rate and other.unit == self.unit]
        return self.per_month[1] / min(prices) if prices and min(prices) > 0 else None


@dataclass(frozen=True)
class Demand:
    """What is asked of the hardware."""

    requests_per_minute: float | None = None
    users: float | None = None
    latency_s: float | None = None  # an answer may take so long


@dataclass(frozen=True)
class HardwareChoice:
    """The number of engines on one option that meets a demand. None if its rate is not known, or it takes too many."""

    option: Offered
    count: int | None  # that surely hold it
    hoped: int | None  # that hold it if the option reaches the upper end of its rate
    latency: Holds

    @property
    def per_month(self) -> float | None:
        return None if self.count is None else self.count * self.option.per_month[1]

    @property
    def hoped_per_month(self) -> float | None:
        return None if self.hoped is None else self.hoped * self.option.per_month[0]


@dataclass(frozen=True)
class JudgedRule:
    """A rule held against a demand."""

    rule: Upgrade
    verdict: Literal["upgrade", "not needed", "open"]
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class CheapestStep:
    """The number of engines on one option that is cheapest up to a demand."""

    up_to: float
    name: str
    count: int
    per_month: float

    @property
    def words(self) -> str:
        return self.name if self.count == 1 else f"{self.count} × {self.name}"


def monthly(option: Option, prices: Prices) -> Ends:
    """Return what one of it costs in a month, with its energy if that has a price."""
    hours = prices.hours_per_month
    power = prices.power
    energy = option.watts / 1000 * power.overhead * power.per_kwh * hours if power else 0.0
    if option.price is not None:
        assert option.years is not None
        low, high = (price / (option.years * HOURS_PER_YEAR) * hours for price in both_ends(option.price))
        return low + energy, high + energy
    rent = option.per_month if option.per_month is not None else (option.per_hour or 0.0) * hours
    return rent + energy, rent + energy


def both_ends(band: float | tuple[float, ...]) -> Ends:
    return (band[0], band[1]) if isinstance(band, tuple) else (band, band)


def choices(offered: Sequence[Offered], demand: Demand) -> list[HardwareChoice]:
    """Return a choice for each option that is rated in requests, the cheapest that surely holds the demand first."""
    wanted = demand.requests_per_minute
    found = [
        HardwareChoice(
            option,
            needed(wanted, option.rate[0]) if option.rate and wanted is not None else None,
            needed(wanted, option.rate[1]) if option.rate and wanted is not None else None,
            within(option.latency_s, demand.latency_s),
        )
        for option in offered
        if option.unit == "requests/min"
    ]
    order: tuple[Holds, ...] = ("yes", "perhaps", "not known", "no")

    def first(each: HardwareChoice) -> tuple[int, float, float]:
        strength = each.option.rate[0] if each.option.rate else 0.0
        return order.index(each.latency), each.per_month or math.inf, -strength

    return sorted(found, key=first)


def needed(wanted: float, rate: float) -> int | None:
    count = max(1, math.ceil(wanted / rate - 1e-9))
    return count if count <= MOST_ENGINES else None


def within(latency: Ends | None, limit: float | None) -> Holds:
    if limit is None:
        return "yes"
    if latency is None:
        return "not known"
    return "yes" if latency[1] <= limit else "no" if latency[0] > limit else "perhaps"


def judged(rule: Upgrade, demand: Demand) -> JudgedRule:
    """Hold a rule against a demand: any of its conditions is enough."""
    rate, users, latency = demand.requests_per_minute, demand.users, demand.latency_s
    reasons = []
    if rate is not None and rule.above_requests_per_minute is not None and rate > rule.above_requests_per_minute:
        reasons.append(f"{rate:g} requests/min are more than {rule.above_requests_per_minute:g}")
    if users is not None and rule.from_users is not None and users >= rule.from_users:
        reasons.append(f"{users:g} users are {rule.from_users:g} or more")
    if latency is not None and rule.below_latency_s is not None and latency < rule.below_latency_s:
        reasons.append(f"answers within {latency:g} s are asked for, less than {rule.below_latency_s:g} s")
    if reasons:
        return JudgedRule(rule, "upgrade", tuple(reasons))
    least = rule.not_below_requests_per_minute
    if rate is not None and least is not None and rate < least:
        return JudgedRule(rule, "not needed", (f"{rate:g} requests/min are less than {least:g}",))
    return JudgedRule(rule, "open", ())


def cheapest(offered: Sequence[Offered], sure: bool = True) -> list[CheapestStep]:
    """Return the cheapest choice by demand, of engines on one option, up to twice the strongest engine's rate.

    With the lower ends of rates it surely holds the demand, with the upper ends (`sure` false) perhaps.
    """
    end = 0 if sure else 1
    rated = [(option, option.rate[end], option.per_month[1 - end]) for option in offered if option.rate]
    if not rated:
        return []
    most = 2 * max(rate for _, rate, _ in rated)
    steps = [
        CheapestStep(rate * count, option.name, count, cost * count)
        for option, rate, cost in rated
        for count in range(1, MOST_ENGINES + 1)
    ]
    kept: list[CheapestStep] = []
    for step in sorted(steps, key=lambda step: (step.per_month, -step.up_to)):
        if not kept or (step.up_to > kept[-1].up_to and kept[-1].up_to < most):
            kept.append(step)
    return kept


@dataclass(frozen=True)
class CostRatio:
    """The cost per token or request of an option against the first that serves the same."""

    option: Offered
    first: Offered
    low: float
    high: float

    @property
    def follows(self) -> bool | None:
        """Return whether the published ratio follows from prices and rates. None if none is published."""
        claimed = self.option.claimed_ratio
        return None if claimed is None else self.low * 0.95 <= claimed <= self.high * 1.05  # printed with a digit


def cost_ratios(offered: Sequence[Offered], hours_per_month: float) -> list[CostRatio]:
    """Return how the cost of each option compares with that of the first that serves the same in the same unit."""
    found: list[CostRatio] = []
    first: dict[tuple[str, Rate], Offered] = {}
    for option in offered:
        base = first.setdefault((option.serves, option.unit), option)
        costs, least = option.cost_of_batch(hours_per_month), base.cost_of_batch(hours_per_month)
        if option is not base and costs and least and least[0]:
            found.append(CostRatio(option, base, costs[0] / least[1], costs[1] / least[0]))
    return found
