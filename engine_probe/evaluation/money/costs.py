"""Money and energy of a run or a sweep, computed from its recordings."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from os import PathLike, fspath
from pathlib import Path

from engine_probe.analysis.curve.levels import measured_in_rounds
from engine_probe.analysis.curve.slo_capacity import most_load
from engine_probe.analysis.money.curve_costs import CurveCosts, LoadedWork, curve_costs
from engine_probe.analysis.money.hardware_options import More, Offered, Step, cheapest, more_cards
from engine_probe.analysis.money.prices import Option, Prices
from engine_probe.analysis.money.run_costs import NO_PRICES
from engine_probe.analysis.run.slo import Slo
from engine_probe.analysis.run_analysis import RunAnalysis
from engine_probe.errors import InputError
from engine_probe.evaluation.money.price_list import find_prices, read_prices
from engine_probe.recordings.curve import Curve, curves
from engine_probe.recordings.run import Run, load
from engine_probe.recordings.sweep import Swept, is_sweep, open_sweep
from engine_probe.workload.load import level_words


@dataclass(frozen=True)
class Costed:
    """Holds the costs of one curve."""

    label: str
    unit: str
    costs: CurveCosts
    cards: int | None
    curve: Curve | None = None  # None for a single run


@dataclass(frozen=True)
class Cards:
    """Compares a curve measured with more GPUs with one of fewer."""

    fewer: Costed
    more: Costed
    times: float
    rows: list[More]


@dataclass(frozen=True)
class Money:
    prices: Prices | None
    curves: tuple[Costed, ...]
    cards: tuple[Cards, ...]
    offered: tuple[Offered, ...]
    steps: tuple[Step, ...]

    @property
    def currency(self) -> str:
        return self.prices.currency if self.prices else ""


def costs(swept: Swept, price_list: str | PathLike[str]) -> Money:
    """Compute what a sweep's tokens cost under a price list: the path of a TOML file, or the name of a shipped one."""
    path = find_prices(fspath(price_list))
    return sweep_money(swept, curves(swept.points), read_prices(str(path)), None, path.parent)


def sweep_money(swept: Swept, drawn: Sequence[Curve], prices: Prices | None, slo: Slo | None, at: Path) -> Money:
    """Compute the costs of every curve; `at` is the folder from which a price list names recordings."""
    costs = []
    for curve in drawn:
        work = [LoadedWork(point.load, point.summary.work, point.started_ns) for point in curve.figures]
        if work:
            costs.append(costed(curve, work, measured_in_rounds(curve.figures), prices))
    return money(costs, drawn, prices, slo, at)


def run_money(run: Run, analysis: RunAnalysis, prices: Prices | None, slo: Slo | None, at: Path) -> Money:
    found = curve_costs([LoadedWork(1, analysis.summary.work)], prices or NO_PRICES)
    return money([Costed("", "", found, analysis.summary.gpus.cards)], [], prices, slo, at)


def costed(curve: Curve, work: Sequence[LoadedWork], apart: bool, prices: Prices | None) -> Costed:
    num_gpus = {each.work.gpus.cards for each in work}
    found = curve_costs(work, prices or NO_PRICES, curve.unit, apart)
    return Costed(curve.label, curve.unit, found, num_gpus.pop() if len(num_gpus) == 1 else None, curve)


def money(costs: list[Costed], drawn: Sequence[Curve], prices: Prices | None, slo: Slo | None, at: Path) -> Money:
    offered = [sustained(option, prices, slo, at) for option in prices.options] if prices else []
    return Money(prices, tuple(costs), tuple(gpu_pairs(costs, drawn)), tuple(offered), tuple(cheapest(offered)))


def gpu_pairs(costs: Sequence[Costed], drawn: Sequence[Curve]) -> Iterator[Cards]:
    """Pair curves that differ in their number of GPUs; yield none if two curves have the same number and unit."""
    rates = {
        (curve.label, curve.unit): {level.load: level.output_tokens_per_s for level in curve.found.levels}
        for curve in drawn
    }
    curves = sorted((curve for curve in costs if curve.cards), key=lambda curve: curve.cards or 0)
    sizes = [(curve.cards, curve.unit) for curve in curves]
    if len(set(sizes)) < len(sizes):
        return
    for fewer, more in combinations(curves, 2):
        if fewer.unit != more.unit or not fewer.cards or not more.cards:
            continue
        hourly = [{level.load: level.mean("cost_per_hour") for level in curve.costs.levels} for curve in (fewer, more)]
        times = more.cards / fewer.cards
        rows = more_cards(rates[fewer.label, fewer.unit], rates[more.label, more.unit], times, (hourly[0], hourly[1]))
        if rows:
            yield Cards(fewer, more, times, rows)


def sustained(option: Option, prices: Prices, slo: Slo | None, at: Path) -> Offered:
    """Return the rate that one of an option sustains: from the price list, or the best of its recording."""
    per_month = option.cost.hourly(prices.hours_per_month) * prices.hours_per_month
    if option.recording is None:
        rate, source = option.requests_per_minute, option.source or "from the price list"
        return Offered(option.name, per_month, rate, source if rate else "throughput not given")
    rate, source = measured_rate(at / option.recording, slo)
    return Offered(option.name, per_month, rate, source)


def measured_rate(folder: Path, slo: Slo | None) -> tuple[float | None, str]:
    """Return the best requests per minute of a recording, within the SLO if one is given, and where they are from."""
    if not is_sweep(folder):
        summary = load(folder).summary(slo)
        if summary.goodput is not None and not summary.goodput.met:
            return None, f"{folder} does not meet {summary.goodput.slo.words}"
        return 60 * summary.requests_per_s, f"measured in {folder}"
    measured = [curve for curve in curves(open_sweep(folder, slo).points) if curve.figures]
    if len(measured) != 1:
        raise InputError(f"{folder} holds {len(measured)} curves of loads: an option needs a recording with one")
    (curve,) = measured
    if slo is not None:
        limit = most_load(curve.figures)
        if limit is None or limit.best is None:
            return None, f"no level of {folder} meets {slo.words}"
        level = level_words(limit.best.load, curve.unit)
        return 60 * limit.best.requests_per_s, f"measured in {folder}, at {level}: the highest that meets {slo.words}"
    best = max(curve.figures, key=lambda figures: figures.summary.requests_per_s)
    return 60 * best.summary.requests_per_s, f"measured in {folder}, at {level_words(best.load, curve.unit)}"


def known_energy(costs: Money) -> bool:
    return any(level.mean("watts") is not None for curve in costs.curves for level in curve.costs.levels)


def worth_showing(costs: Money) -> bool:
    """Return whether prices were given or energy was measured."""
    return costs.prices is not None or known_energy(costs)
