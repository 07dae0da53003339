"""Money and energy of a run or a sweep, computed from its recordings."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from os import PathLike, fspath
from pathlib import Path

from engine_probe.analysis.curve.levels import measured_in_rounds
from engine_probe.analysis.money.curve_costs import CurveCosts, LoadedWork, curve_costs
from engine_probe.analysis.money.hardware_options import Demand
from engine_probe.analysis.money.more_gpus import More, more_cards
from engine_probe.analysis.money.prices import Prices
from engine_probe.analysis.money.run_costs import NO_PRICES
from engine_probe.analysis.money.work import Work, together
from engine_probe.analysis.run.slo import Slo
from engine_probe.analysis.run_analysis import RunAnalysis
from engine_probe.analysis.statistics.level_noise import in_rounds
from engine_probe.evaluation.money.compared_options import ComparedHardware, hardware
from engine_probe.evaluation.money.price_list import find_prices, read_prices
from engine_probe.recordings.cluster import Cluster
from engine_probe.recordings.curve import Curve, curves, points_by_curve
from engine_probe.recordings.sweep import Swept


@dataclass(frozen=True)
class Costed:
    """Holds the costs of one curve."""

    label: str
    unit: str
    costs: CurveCosts
    cards: int | None
    curve: Curve | None = None  # None for a single run, and for several engines at once


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
    hardware: ComparedHardware | None  # None if the price list has no options

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
            apart = measured_in_rounds(curve.figures)
            costs.append(costed(curve.label, curve.unit, work, apart, prices, curve))
    return money([*costs, *cluster_costs(swept, prices)], drawn, prices, slo, at)


def cluster_costs(swept: Swept, prices: Prices | None) -> Iterator[Costed]:
    """Yield the costs of points that several engines measured at once, over the load of each engine."""
    points = [point for point in swept.clusters if point.cluster and len(point.cluster.engines) > 1]
    for label, alike in points_by_curve(points).items():
        work = [
            LoadedWork(point.load, cluster_work(point.cluster), started_ns(point.cluster))
            for point in alike
            if point.cluster
        ]
        apart = in_rounds((each.load, each.started_ns) for each in work)
        yield costed(label, f"{alike[0].unit} per engine", work, apart, prices)


def cluster_work(cluster: Cluster) -> Work:
    hosts = [str(engine.run.facts["process"]["host"]) for engine in cluster.engines]
    return together([engine.analysis.summary.work for engine in cluster.engines], hosts)


def started_ns(cluster: Cluster) -> int:
    return int(cluster.engines[0].run.facts["clock"]["wall_ns"])


def run_money(analysis: RunAnalysis, prices: Prices | None, slo: Slo | None, at: Path) -> Money:
    found = curve_costs([LoadedWork(1, analysis.summary.work)], prices or NO_PRICES)
    return money([Costed("", "", found, analysis.summary.gpus.cards)], [], prices, slo, at)


def costed(
    label: str, unit: str, work: Sequence[LoadedWork], apart: bool, prices: Prices | None, curve: Curve | None = None
) -> Costed:
    num_gpus = {each.work.gpus.cards for each in work}
    found = curve_costs(work, prices or NO_PRICES, unit, apart)
    return Costed(label, unit, found, num_gpus.pop() if len(num_gpus) == 1 else None, curve)


def money(costs: list[Costed], drawn: Sequence[Curve], prices: Prices | None, slo: Slo | None, at: Path) -> Money:
    options = hardware(prices, slo, at, demand_of(slo)) if prices and prices.options else None
    return Money(prices, tuple(costs), tuple(gpu_pairs(costs, drawn)), options)


def demand_of(slo: Slo | None) -> Demand:
    """Return the demand that an SLO makes on hardware: how long an answer may take."""
    return Demand(latency_s=None if slo is None or slo.e2el_ms is None else slo.e2el_ms / 1000)


def gpu_pairs(costs: Sequence[Costed], drawn: Sequence[Curve]) -> Iterator[Cards]:
    """Pair curves that differ in their number of GPUs; yield none if two curves have the same number and unit."""
    rates = {
        (curve.label, curve.unit): {level.load: level.output_tokens_per_s for level in curve.found.levels}
        for curve in drawn
    }
    of_one = (curve for curve in costs if curve.cards and curve.curve)
    curves = sorted(of_one, key=lambda curve: curve.cards or 0)
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


def worth_showing(costs: Money) -> bool:
    """Return whether prices were given or energy was measured."""
    levels = (level for curve in costs.curves for level in curve.costs.levels)
    return costs.prices is not None or any(level.mean("watts") is not None for level in levels)
