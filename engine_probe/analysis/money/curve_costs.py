"""The costs and earnings of an engine over the loads of a curve, each metric declared once, and its break-even."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from engine_probe.analysis.money.prices import Prices
from engine_probe.analysis.money.run_costs import MILLION, RunCosts, Work
from engine_probe.analysis.run.energy import Energy
from engine_probe.analysis.statistics.level_noise import in_rounds, over_levels
from engine_probe.analysis.statistics.repeats import Repeated


def joules_per(costs: RunCosts, per_s: float) -> float | None:
    watts = costs.work.watts
    return watts / per_s if watts is not None and per_s else None


def tokens_per_s(costs: RunCosts) -> float:
    return costs.work.output_tokens_per_s + costs.work.input_tokens_per_s


def users(costs: RunCosts) -> float | None:
    """Return the number of users by Little's law: requests/s x the time from one request of a user to the next.

    A user who asks every T seconds, but waits longer for an answer, asks again only after it.
    """
    asked, latency = costs.prices.users, costs.work.latency_s
    if asked is None or latency is None:
        return None
    cycle = latency + asked.think_s if asked.think_s is not None else max(asked.request_every_s or 0.0, latency)
    return costs.work.requests_per_s * cycle


@dataclass(frozen=True)
class MoneyMetric:
    """A figure of costs or earnings; {} in `unit` stands for the currency."""

    name: str
    title: str
    unit: str
    formula: str
    value: Callable[[RunCosts], float | None]


MONEY = (
    MoneyMetric(
        "cost_per_million_output_tokens",
        "cost per million output tokens",
        "{}",
        "cost per hour / output tokens of answered requests per hour x 1,000,000",
        lambda costs: costs.cost_of(costs.work.output_tokens_per_s, MILLION),
    ),
    MoneyMetric(
        "cost_per_million_tokens",
        "cost per million tokens, input and output",
        "{}",
        "cost per hour / (prompt + output tokens of answered requests per hour) x 1,000,000",
        lambda costs: costs.cost_of(tokens_per_s(costs), MILLION),
    ),
    MoneyMetric(
        "cost_per_1000_requests",
        "cost per 1,000 requests",
        "{}",
        "cost per hour / answered requests per hour x 1,000",
        lambda costs: costs.cost_of(costs.work.requests_per_s, 1000),
    ),
    MoneyMetric(
        "cost_per_hour",
        "cost",
        "{}/h",
        "fixed + (power of the GPUs + host) x overhead x price of energy",
        lambda costs: costs.cost_per_hour,
    ),
    MoneyMetric(
        "revenue_per_hour",
        "revenue",
        "{}/h",
        "price of a token x tokens of answered requests per hour, output and input each",
        lambda costs: costs.revenue_per_hour,
    ),
    MoneyMetric("profit_per_hour", "profit", "{}/h", "revenue - cost", lambda costs: costs.profit_per_hour),
    MoneyMetric(
        "joules_per_output_token",
        "energy per output token",
        "J",
        "mean power of the GPUs / output tokens of answered requests per s",
        lambda costs: joules_per(costs, costs.work.output_tokens_per_s),
    ),
    MoneyMetric(
        "joules_per_token",
        "energy per token, input and output",
        "J",
        "mean power of the GPUs / (prompt + output tokens of answered requests per s)",
        lambda costs: joules_per(costs, tokens_per_s(costs)),
    ),
    MoneyMetric("watts", "power of the GPUs", "W", "energy of the GPUs / time", lambda costs: costs.work.watts),
    MoneyMetric(
        "requests_in_flight",
        "requests in flight",
        "",
        "answered requests per s x mean end-to-end latency (Little's law)",
        lambda costs: None if costs.work.latency_s is None else costs.work.requests_per_s * costs.work.latency_s,
    ),
    MoneyMetric(
        "users",
        "users",
        "",
        "answered requests per s x (latency + think time), or x max(time between requests, latency) (Little's law)",
        users,
    ),
)


@dataclass(frozen=True)
class Level:
    """The metrics of one load over its repeats, by name; None if not known."""

    load: float
    figures: dict[str, Repeated | None]

    def mean(self, name: str) -> float | None:
        found = self.figures[name]
        return None if found is None else found.mean


@dataclass(frozen=True)
class Crossing:
    """A change of sign of the profit, between two neighbouring levels."""

    below: float
    above: float
    at: float  # by linear interpolation
    into_profit: bool


@dataclass(frozen=True)
class CurveCosts:
    """The costs and earnings of a curve under one price list."""

    prices: Prices
    levels: tuple[Level, ...]
    with_energy: bool
    energy_sources: tuple[str, ...]
    break_even: tuple[Crossing, ...]
    notes: tuple[str, ...]

    def best(self, name: str, least: bool = False) -> Level | None:
        """Return the level with the highest (or lowest) value. None with fewer than two known values."""
        means = [(level.mean(name), level) for level in self.levels]
        known = [(value, level) for value, level in means if value is not None]
        if len(known) < 2:
            return None
        return (min if least else max)(known, key=lambda pair: pair[0])[1]


def curve_costs(done: Sequence[Work], prices: Prices) -> CurveCosts:
    """Compute the costs and earnings of the runs of one curve."""
    notes = []
    unknown = [each for each in done if isinstance(each.energy, str)]
    with_energy = prices.power is not None and not unknown
    if prices.power is not None and unknown:
        among = "" if len(unknown) == len(done) else f" of {len(unknown)} of {len(done)} runs"
        notes.append(f"energy is not in the cost: that{among} is not known ({unknown[0].energy})")
    if any(item.per_card for item in prices.fixed) and any(each.cards is None for each in done):
        notes.append("the number of the engine's GPUs is not recorded, and some costs are per GPU: there is no cost")
    if with_energy and prices.power is not None and not prices.power.host_watts:
        notes.append("the energy of the host is not in the cost: it is not recorded (power.host_watts adds it)")
    energy_notes = [note for each in done if isinstance(each.energy, Energy) for note in each.energy.notes]
    ordered = sorted(done, key=lambda each: each.load)
    costs = {
        load: [RunCosts(each, prices, with_energy) for each in same]
        for load, same in groupby(ordered, key=lambda each: each.load)
    }
    apart = in_rounds((each.load, each.started_ns) for each in done)
    figures = {
        each.name: over_levels([(load, list(map(each.value, same))) for load, same in costs.items()], apart)
        for each in MONEY
    }
    levels = [
        Level(load, {name: over_loads[place] for name, over_loads in figures.items()})
        for place, load in enumerate(costs)
    ]
    sources = dict.fromkeys(name for each in done if isinstance(each.energy, Energy) for name in each.energy.sources)
    return CurveCosts(
        prices=prices,
        levels=tuple(levels),
        with_energy=with_energy,
        energy_sources=tuple(sources),
        break_even=crossings(levels),
        notes=tuple(dict.fromkeys([*notes, *energy_notes])),
    )


def crossings(levels: Sequence[Level]) -> tuple[Crossing, ...]:
    profits = [(level.load, profit) for level in levels if (profit := level.mean("profit_per_hour")) is not None]
    return tuple(
        Crossing(low, high, low + (high - low) * before / (before - after), after > before)
        for (low, before), (high, after) in pairwise(profits)
        if (before < 0) != (after < 0)
    )
