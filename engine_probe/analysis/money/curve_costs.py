"""The costs and earnings of an engine over the loads of a curve, and what holds at which price.

All intervals follow from how the curve's throughput varies, since fixed costs have no noise. That of a profit is the
interval of what the work brings beyond what the work costs, moved by the fixed costs; that of a cost per token divides
the fixed costs by both ends of the throughput's. The range of a break-even is where the band of the profit's intervals
includes zero.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import msgspec

from engine_probe.analysis.money.metrics import ENERGY, MONEY, MoneyMetric
from engine_probe.analysis.money.prices import Prices, Sold
from engine_probe.analysis.money.run_costs import CostItem, RunCosts, fits
from engine_probe.analysis.money.work import Work
from engine_probe.analysis.run.energy import Energy
from engine_probe.analysis.statistics.grouped import grouped
from engine_probe.analysis.statistics.level_noise import level_noise, over_levels
from engine_probe.analysis.statistics.rank_tests import holm
from engine_probe.analysis.statistics.repeats import Repeated
from engine_probe.analysis.statistics.student import SIGNIFICANT

PRICE_STEPS = (0.5, 0.75, 1.0, 1.5, 2.0)  # of the list's prices
HOST_UNKNOWN = "the energy of the host is not in the cost: it is not recorded (power.host_watts adds it)"
HOST_MEASURED = (
    "the energy of the host is that of its CPU packages and memory (RAPL): power.host_watts takes its place, with fans "
    "and losses"
)
PROFIT = "profit_per_hour"

Costs = Sequence[RunCosts]  # of the repeats of one load
Curve = Sequence[tuple[float, Costs]]  # of each load


@dataclass(frozen=True)
class LoadedWork:
    """The work of one run at its load."""

    load: float
    work: Work
    started_ns: int = 0  # by the wall clock; 0 if not known


@dataclass(frozen=True)
class LevelCosts:
    """The metrics of one load over its repeats, by name; None if not known."""

    load: float
    figures: dict[str, Repeated | None]
    items: tuple[CostItem, ...] = ()  # of the cost, as means over the repeats; empty if one is not known

    def mean(self, name: str) -> float | None:
        found = self.figures[name]
        return None if found is None else found.mean


@dataclass(frozen=True)
class Crossing:
    """A change of sign of the profit between two neighbouring levels, and the range in which it surely lies."""

    below: float
    above: float
    at: float  # by linear interpolation
    into_profit: bool
    low: float | None = None  # None without repeats; 0 if it may lie below all levels
    high: float | None = None  # infinite if it may lie above all levels


@dataclass(frozen=True)
class AtPrice:
    """What a curve earns at a multiple of the list's prices, its load and throughput as they are."""

    factor: float
    million_output_tokens: float
    profitable: tuple[float, ...]  # the levels with a profit
    best_load: float
    best_profit: float


@dataclass(frozen=True)
class CurveCosts:
    """The costs and earnings of a curve under one price list."""

    prices: Prices
    levels: tuple[LevelCosts, ...]
    with_energy: bool
    energy_sources: tuple[str, ...]
    break_even: tuple[Crossing, ...]
    as_good: tuple[float, ...]  # the levels whose profit is not significantly below the highest; empty if not known
    at_prices: tuple[AtPrice, ...]  # empty if nothing is sold
    notes: tuple[str, ...]

    @property
    def sells(self) -> bool:
        return any(level.mean("revenue_per_hour") for level in self.levels)

    def best(self, name: str, least: bool = False) -> LevelCosts | None:
        """Return the level with the highest (or lowest) value. None with fewer than two known values."""
        means = [(level.mean(name), level) for level in self.levels]
        known = [(value, level) for value, level in means if value is not None]
        if len(known) < 2:
            return None
        return (min if least else max)(known, key=lambda pair: pair[0])[1]


def curve_costs(done: Sequence[LoadedWork], prices: Prices, unit: str = "", apart: bool = True) -> CurveCosts:
    """Compute the costs and earnings of the runs of one curve, whose loads have this unit.

    `apart` says whether repeats were measured in rounds; without it there are no intervals.
    """
    if any(each.work.gpus.host_watts is None for each in done):
        # The host's power counts only if it is known of all runs.
        gpus = [replace(each.work.gpus, host_watts=None) for each in done]
        done = [replace(each, work=replace(each.work, gpus=of)) for each, of in zip(done, gpus, strict=True)]
    unknown = [each.work.gpus.energy for each in done if isinstance(each.work.gpus.energy, str)]
    with_energy = prices.needs_energy and not unknown
    costs = [
        (load, [RunCosts(each.work, prices, with_energy, (load, unit)) for each in same])
        for load, same in sorted(grouped(done, lambda each: each.load).items())
    ]
    figures = {metric.name: over_loads(costs, metric.value, apart) for metric in MONEY}
    figures |= {metric.name: per_item(costs, metric, figures, apart) for metric in MONEY if metric.per}
    figures[PROFIT] = profits(costs, apart)
    levels = tuple(
        LevelCosts(load, {name: of_levels[place] for name, of_levels in figures.items()}, mean_items(same))
        for place, (load, same) in enumerate(costs)
    )
    energies = [each.work.gpus.energy for each in done if isinstance(each.work.gpus.energy, Energy)]
    return CurveCosts(
        prices=prices,
        levels=levels,
        with_energy=with_energy,
        energy_sources=tuple(dict.fromkeys(name for each in energies for name in each.sources)),
        break_even=crossings(levels),
        as_good=as_good(costs, levels, apart),
        at_prices=at_prices(levels, prices),
        notes=tuple(dict.fromkeys([*notes(done, prices, unit), *(note for each in energies for note in each.notes)])),
    )


def notes(done: Sequence[LoadedWork], prices: Prices, unit: str) -> list[str]:
    """Return what is not in the cost, and why."""
    found = []
    unknown = [each.work.gpus.energy for each in done if isinstance(each.work.gpus.energy, str)]
    if prices.needs_energy and unknown:
        among = "" if len(unknown) == len(done) else f" of {len(unknown)} of {len(done)} runs"
        found.append(f"energy is not in the cost: that{among} is not known ({unknown[0]})")
    if any(item.per_card for item in prices.fixed) and any(each.work.gpus.cards is None for each in done):
        found.append("the number of the engine's GPUs is not recorded, and some costs are per GPU: there is no cost")
    if prices.power and not unknown and not prices.power.host_watts:
        measured = all(each.work.gpus.host_watts is not None for each in done)
        found.append(HOST_MEASURED if measured else HOST_UNKNOWN)
    for item in prices.burst:
        if not fits(item, unit):
            loads = f"loads here are in {unit}" if unit else "a single run has no load"
            found.append(
                f"{item.name} is not in the cost: it is needed above {item.above[0]:g} {item.above[1]}, {loads}"
            )
    return found


def mean_items(same: Costs) -> tuple[CostItem, ...]:
    """Return the mean of each item over the repeats. Empty if one is not known."""
    found = [costs.items for costs in same if costs.items is not None]
    if len(found) < len(same):
        return ()
    return tuple(
        replace(each[0], per_hour=sum(item.per_hour for item in each) / len(each)) for each in zip(*found, strict=True)
    )


def over_loads(costs: Curve, value: Callable[[RunCosts], float | None], apart: bool) -> list[Repeated | None]:
    return over_levels([(load, list(map(value, same))) for load, same in costs], apart)


def per_item(
    costs: Curve, metric: MoneyMetric, figures: Mapping[str, Sequence[Repeated | None]], apart: bool
) -> list[Repeated | None]:
    """Return a figure per token or request, with the interval that the rate of these gives it.

    The part of a cost that has no noise is divided by either end of the rate's interval; variable costs per item do not
    change with the rate. The energy per item has the noise of the power, too.
    """
    per = metric.per
    assert per is not None
    rates = over_loads(costs, lambda each: per(each.work), apart)
    found: list[Repeated | None] = []
    for mean, rate, power, (_, same) in zip(figures[metric.name], rates, figures["watts"], costs, strict=True):
        if mean is None or rate is None or rate.low is None or rate.high is None or rate.low <= 0:
            found.append(mean and Repeated(mean.mean, mean.count))
            continue
        if metric in ENERGY:
            wide = math.hypot(rate.high / rate.mean - 1, (power.reach or 0.0) / power.mean if power else 0.0)
            found.append(Repeated(mean.mean, mean.count, mean.mean / (1 + wide), mean.mean * (1 + wide)))
            continue
        parts = [metric.value(replace(each, prices=without_variable(each.prices))) or 0.0 for each in same]
        standing = sum(parts) / len(parts)
        ends = [mean.mean + standing * (rate.mean / end - 1) for end in (rate.high, rate.low)]
        found.append(Repeated(mean.mean, mean.count, max(0.0, ends[0]), ends[1]))
    return found


def without_variable(prices: Prices) -> Prices:
    """Return a list of the costs that are the same whatever is served, from which nothing is sold."""
    return msgspec.structs.replace(prices, variable=[], power=None, sold=Sold())


def margin(costs: RunCosts) -> float | None:
    """Return what the work brings beyond what the work costs: revenue - variable costs - energy, per hour."""
    cost = costs.of_kinds("variable", "energy")
    return None if cost is None or costs.cost_per_hour is None else costs.revenue_per_hour - cost


def profits(costs: Curve, apart: bool) -> list[Repeated | None]:
    """Return the profit at each load: the margin with its interval, less the costs that have no noise."""
    margins = over_loads(costs, margin, apart)
    standing = [same[0].of_kinds("fixed", "burst") for _, same in costs]
    return [
        None if mean is None or less is None else lowered(mean, less)
        for mean, less in zip(margins, standing, strict=True)
    ]


def lowered(mean: Repeated, less: float) -> Repeated:
    low, high = (None if end is None else end - less for end in (mean.low, mean.high))
    return Repeated(mean.mean - less, mean.count, low, high)


def as_good(costs: Curve, levels: Sequence[LevelCosts], apart: bool) -> tuple[float, ...]:
    """Return the best level and those not significantly below it (one-sided t-tests, corrected by Holm's method)."""
    known = [
        (level.load, profit, [value for each in same if (value := margin(each)) is not None])
        for level, (_, same) in zip(levels, costs, strict=True)
        if (profit := level.mean(PROFIT)) is not None
    ]
    noise = level_noise([load for load, _, _ in known], [margins for _, _, margins in known]) if apart else None
    if noise is None:
        return ()
    best = max(range(len(known)), key=lambda place: known[place][1])
    others = [place for place in range(len(known)) if place != best]
    corrected = holm([noise.lead_p(place, best, known[best][1] - known[place][1]) for place in others])
    alike = {place for place, p in zip(others, corrected, strict=True) if p >= SIGNIFICANT}
    return tuple(load for place, (load, _, _) in enumerate(known) if place == best or place in alike)


def crossings(levels: Sequence[LevelCosts]) -> tuple[Crossing, ...]:
    """Return where the profit changes its sign."""
    known = [(level.load, profit) for level in levels if (profit := level.figures[PROFIT]) is not None]
    return tuple(
        Crossing(low, high, zero((low, before.mean), (high, after.mean)), after.mean > before.mean, *ends(known, place))
        for place, ((low, before), (high, after)) in enumerate(pairwise(known))
        if (before.mean < 0) != (after.mean < 0)
    )


def zero(low: tuple[float, float], high: tuple[float, float]) -> float:
    """Return where a line through two points is zero."""
    return low[0] + (high[0] - low[0]) * low[1] / (low[1] - high[1])


def ends(profits: Sequence[tuple[float, Repeated]], place: int) -> tuple[float | None, float | None]:
    """Return the range around a crossing after a level, in which the profit's interval includes zero."""
    if any(profit.low is None or profit.high is None for _, profit in profits):
        return None, None
    rises = profits[place + 1][1].mean > profits[place][1].mean
    highs = [(load, profit.high or 0.0) for load, profit in profits]
    lows = [(load, profit.low or 0.0) for load, profit in profits]
    before, after = (highs, lows) if rises else (lows, highs)
    left = next((at for at in range(place, -1, -1) if (before[at][1] < 0) == rises), None)
    right = next((at for at in range(place + 1, len(profits)) if (after[at][1] < 0) != rises), None)
    return (
        0.0 if left is None else zero(before[left], before[left + 1]),
        math.inf if right is None else zero(after[right - 1], after[right]),
    )


def at_prices(levels: Sequence[LevelCosts], prices: Prices) -> tuple[AtPrice, ...]:
    """Return what holds at multiples of the list's prices. Empty if nothing is sold or no cost is known."""
    known = [
        (level.load, revenue, cost)
        for level in levels
        if (revenue := level.mean("revenue_per_hour")) and (cost := level.mean("cost_per_hour")) is not None
    ]
    if len(known) < 2:
        return ()
    return tuple(at_price(factor, known, prices.sold.million_output_tokens) for factor in PRICE_STEPS)


def at_price(factor: float, known: Sequence[tuple[float, float, float]], price: float) -> AtPrice:
    earned = [(load, factor * revenue - cost) for load, revenue, cost in known]
    load, profit = max(earned, key=lambda pair: pair[1])
    return AtPrice(factor, factor * price, tuple(load for load, profit in earned if profit > 0), load, profit)
