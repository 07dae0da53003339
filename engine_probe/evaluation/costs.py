"""Money and energy of a run or a sweep, worked out of its recordings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine_probe.analysis.curve.slo_capacity import most_load
from engine_probe.analysis.money.curve_costs import CurveCosts, curve_costs
from engine_probe.analysis.money.hardware_options import More, Offered, Step, cheapest, more_cards
from engine_probe.analysis.money.prices import Option, Prices
from engine_probe.analysis.money.run_costs import Work, work
from engine_probe.analysis.run.energy import energy
from engine_probe.analysis.run.slo import Slo
from engine_probe.analysis.run_analysis import RunAnalysis
from engine_probe.errors import InputError
from engine_probe.recordings.curve import Curve, curves
from engine_probe.recordings.run import Run, load
from engine_probe.recordings.sweep import Swept, is_sweep, open_sweep

NOTHING = Prices(currency="")  # energy needs no price


@dataclass(frozen=True)
class Costed:
    """One curve's accounts."""

    label: str
    unit: str
    costs: CurveCosts
    cards: int | None


@dataclass(frozen=True)
class Cards:
    """A curve of more cards against one of fewer."""

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


def sweep_money(swept: Swept, drawn: Sequence[Curve], prices: Prices | None, slo: Slo | None, at: Path) -> Money:
    """`at`: the folder from which a price list names recordings."""
    found = []
    for curve in drawn:
        mine = [point for point in swept.points if point.label == curve.label and point.run and point.analysis]
        done = [worked(point.load, point.run, point.analysis) for point in mine if point.run and point.analysis]
        if done:
            found.append(costed(curve.label, curve.unit, done, prices))
    return money(found, drawn, prices, slo, at)


def run_money(run: Run, found: RunAnalysis, prices: Prices | None, slo: Slo | None, at: Path) -> Money:
    return money([costed("", "", [worked(1, run, found)], prices)], [], prices, slo, at)


def costed(label: str, unit: str, done: Sequence[Work], prices: Prices | None) -> Costed:
    sizes = {each.cards for each in done}
    return Costed(label, unit, curve_costs(done, prices or NOTHING), sizes.pop() if len(sizes) == 1 else None)


def money(found: list[Costed], drawn: Sequence[Curve], prices: Prices | None, slo: Slo | None, at: Path) -> Money:
    offered = [sustained(option, prices, slo, at) for option in prices.options] if prices else []
    return Money(prices, tuple(found), tuple(card_pairs(found, drawn)), tuple(offered), tuple(cheapest(offered)))


def worked(load_: float, run: Run, found: RunAnalysis) -> Work:
    """What is damaged in the telemetry costs the energy alone."""
    try:
        taken = energy(run.facts, run.iterations, run.telemetry)
    except InputError as error:
        taken = str(error)
    return work(load_, found.summary, run.facts, taken)


def card_pairs(found: Sequence[Costed], drawn: Sequence[Curve]) -> Iterator[Cards]:
    """Curves of one unit that differ in how many cards they had; only where no other two could be meant."""
    rates = {
        (curve.label, curve.unit): {level.load: level.output_tokens_per_s for level in curve.found.levels}
        for curve in drawn
    }
    known = sorted((each for each in found if each.cards), key=lambda each: each.cards or 0)
    sizes = [(each.cards, each.unit) for each in known]
    if len(set(sizes)) < len(sizes):
        return
    for fewer, more in ((a, b) for a in known for b in known if (a.cards or 0) < (b.cards or 0) and a.unit == b.unit):
        assert fewer.cards is not None
        assert more.cards is not None
        costs = tuple(
            {level.load: level.mean("cost_per_hour") for level in each.costs.levels} for each in (fewer, more)
        )
        times = more.cards / fewer.cards
        rows = more_cards(rates[fewer.label, fewer.unit], rates[more.label, more.unit], times, (costs[0], costs[1]))
        if rows:
            yield Cards(fewer, more, times, rows)


def sustained(option: Option, prices: Prices, slo: Slo | None, at: Path) -> Offered:
    """What one of it holds: as told, or the best of its recording; within limits where they are named."""
    per_month = option.cost.hourly(prices.hours_per_month) * prices.hours_per_month
    if option.recording is None:
        rate, how = option.requests_per_minute, option.source or "told by the price list"
        return Offered(option.name, per_month, rate, how if rate else "what it sustains is not told")
    rate, how = measured_rate(at / option.recording, slo)
    return Offered(option.name, per_month, rate, how)


def measured_rate(folder: Path, slo: Slo | None) -> tuple[float | None, str]:
    """Requests per minute, and from what."""
    if not is_sweep(folder):
        summary = load(folder).summary(slo)
        if summary.goodput is not None and not summary.goodput.met:
            return None, f"{folder} does not keep {slo} ms"
        return 60 * summary.requests_per_s, f"measured in {folder}"
    found = [curve for curve in curves(open_sweep(folder, slo).points) if curve.figures]
    if len(found) != 1:
        raise InputError(f"{folder} holds {len(found)} curves of loads: an option needs a recording with one")
    if slo is not None:
        limit = most_load(found[0].figures)
        if limit is None or limit.best is None:
            return None, f"no level of {folder} keeps {slo} ms"
        return 60 * limit.best.requests_per_s, f"measured in {folder}: {limit.most:g} {found[0].unit} keep {slo} ms"
    best = max(found[0].figures, key=lambda each: each.summary.requests_per_s)
    return 60 * best.summary.requests_per_s, f"measured in {folder}, at {best.load:g} {found[0].unit}"


def known_energy(found: Money) -> bool:
    return any(level.mean("watts") is not None for curve in found.curves for level in curve.costs.levels)


def worth_showing(found: Money) -> bool:
    """Prices were named, or energy was measured."""
    return found.prices is not None or known_energy(found)
