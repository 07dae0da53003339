"""The hardware options of a price list: what each sustains, the cheapest by demand, and the rules held against it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engine_probe.analysis.curve.levels import by_load, measured_in_rounds
from engine_probe.analysis.curve.slo_capacity import most_load
from engine_probe.analysis.money.hardware_options import (
    CheapestStep,
    CostRatio,
    Demand,
    Ends,
    HardwareChoice,
    JudgedRule,
    Offered,
    Rate,
    both_ends,
    cheapest,
    choices,
    cost_ratios,
    judged,
    monthly,
    within,
)
from engine_probe.analysis.money.prices import Option, Prices
from engine_probe.analysis.run.slo import Slo
from engine_probe.analysis.run.summary import Summary
from engine_probe.analysis.statistics.grouped import grouped
from engine_probe.analysis.statistics.level_noise import over_levels
from engine_probe.errors import InputError
from engine_probe.recordings.curve import Curve, curves
from engine_probe.recordings.run import load
from engine_probe.recordings.sweep import is_sweep, open_sweep
from engine_probe.workload.load import level_words

NO_DEMAND = Demand()
UNANSWERED = "holds no answered request"


@dataclass(frozen=True)
class CheapestByDemand:
    """The cheapest by demand of the options that serve the same, for sure and by the upper ends of their rates."""

    serves: str
    unit: Rate
    sure: tuple[CheapestStep, ...]
    hoped: tuple[CheapestStep, ...]


@dataclass(frozen=True)
class ComparedHardware:
    """The options of a price list, compared."""

    prices: Prices
    offered: tuple[Offered, ...]
    steps: tuple[CheapestByDemand, ...]
    ratios: tuple[CostRatio, ...]
    demand: Demand
    choices: tuple[HardwareChoice, ...]  # empty without a demand
    rules: tuple[JudgedRule, ...]


def hardware(prices: Prices, slo: Slo | None, at: Path, demand: Demand = NO_DEMAND) -> ComparedHardware:
    """Compare the options of a list; `at` is the folder from which it names recordings."""
    offered = tuple(sustained(option, prices, slo, at) for option in prices.options)
    groups = grouped(offered, lambda option: (option.serves, option.unit))
    steps = (steps_of(serves, unit, alike, demand.latency_s) for (serves, unit), alike in groups.items())
    return ComparedHardware(
        prices=prices,
        offered=offered,
        steps=tuple(steps),
        ratios=tuple(cost_ratios(offered, prices.hours_per_month)),
        demand=demand,
        choices=tuple(choices(offered, demand)) if demand.requests_per_minute is not None else (),
        rules=tuple(judged(rule, demand) for rule in prices.upgrade),
    )


def steps_of(serves: str, unit: Rate, alike: Sequence[Offered], latency_s: float | None) -> CheapestByDemand:
    """Return the cheapest by demand of the options that answer in time, and of those that may."""
    holds = [(option, within(option.latency_s, latency_s)) for option in alike]
    sure = cheapest([option for option, held in holds if held == "yes"])
    hoped = cheapest([option for option, held in holds if held in ("yes", "perhaps")], sure=False)
    return CheapestByDemand(serves, unit, tuple(sure), tuple(hoped))


@dataclass(frozen=True)
class Sustained:
    """The requests per minute of a recording, and where they are from; None if it does not hold the SLO."""

    rate: Ends | None
    how: str
    latency_s: Ends | None = None


def sustained(option: Option, prices: Prices, slo: Slo | None, at: Path) -> Offered:
    """Return an option with its rate: from the price list, or the best of its recording."""
    unit: Rate = "output tokens/s" if option.output_tokens_per_s is not None else "requests/min"
    given = option.output_tokens_per_s if option.output_tokens_per_s is not None else option.requests_per_minute
    if option.recording is not None:
        found = measured_rate(at / option.recording, slo)
    elif given is None:
        found = Sustained(None, option.source or "throughput not given")
    else:
        latency = None if option.latency_s is None else both_ends(option.latency_s)
        found = Sustained(both_ends(given), option.source or "from the price list", latency)
    return Offered(
        name=option.name,
        per_month=monthly(option, prices),
        rate=found.rate,
        how=found.how,
        unit=unit,
        serves=option.serves,
        latency_s=found.latency_s,
        doubt=option.doubt,
        claimed_ratio=option.claimed_cost_ratio,
    )


def measured_rate(folder: Path, slo: Slo | None) -> Sustained:
    """Return the best requests per minute of a recording, within the SLO if one is given."""
    if not is_sweep(folder):
        summary = load(folder).summary(slo)
        if summary.goodput is not None and not summary.goodput.met:
            return Sustained(None, f"{folder} does not meet {summary.goodput.slo.words}")
        if not summary.requests_per_s:
            return Sustained(None, f"{folder} {UNANSWERED}")
        rate = 60 * summary.requests_per_s
        return Sustained((rate, rate), f"measured in {folder}", mean_latency([summary]))
    measured = [curve for curve in curves(open_sweep(folder, slo).points) if curve.figures]
    if len(measured) != 1:
        raise InputError(f"{folder} holds {len(measured)} curves of loads: an option needs a recording with one")
    (curve,) = measured
    if slo is None:
        best = max(curve.figures, key=lambda figures: figures.summary.requests_per_s)
        if not best.summary.requests_per_s:
            return Sustained(None, f"{folder} {UNANSWERED}")
        return of_level(curve, best.load, f"measured in {folder}, at {level_words(best.load, curve.unit)}")
    limit = most_load(curve.figures)
    if limit is None or limit.best is None:
        return Sustained(None, f"no level of {folder} meets {slo.words}")
    level = level_words(limit.best.load, curve.unit)
    how = f"measured in {folder}, at {level}: the highest that meets {slo.words}"
    return of_level(curve, limit.best.load, how)


def of_level(curve: Curve, at: float, how: str) -> Sustained:
    """Return the rate of one level, as the interval of its mean over repeats if there is one."""
    levels = by_load(curve.figures)
    measured = [(same[0].load, [point.summary.requests_per_s for point in same]) for same in levels]
    rates = zip(levels, over_levels(measured, measured_in_rounds(curve.figures)), strict=True)
    same, rate = next((same, rate) for same, rate in rates if same[0].load == at)
    assert rate is not None
    low, high = (rate.mean if end is None else max(end, 0.0) for end in (rate.low, rate.high))
    ends = (60 * (low or rate.mean), 60 * high)
    return Sustained(ends, how, mean_latency([point.summary for point in same]))


def mean_latency(summaries: Sequence[Summary]) -> Ends | None:
    """Return the lowest and the highest mean end-to-end latency of these runs."""
    means = [mean / 1e9 for summary in summaries if (mean := summary.e2el.mean_ns) is not None]
    return (min(means), max(means)) if means else None
