"""Limits on the cost and the energy of a whole run: a load must be high enough to pay, and low enough for latency."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from engine_probe.analysis.curve.levels import PointFigures
from engine_probe.analysis.curve.slo_capacity import MostLoad, most_load
from engine_probe.analysis.money.prices import Cost, Power, Prices
from engine_probe.analysis.money.run_costs import NO_PRICES, RunCosts
from engine_probe.analysis.money.work import GpuUse, Work
from engine_probe.analysis.run.energy import Energy, GpuEnergy
from engine_probe.analysis.run.goodput import Goodput, WholeLimit, whole_limit
from engine_probe.analysis.run.slo import Slo

SLO = Slo(ttft_ms=200, cost_per_1000_tokens=0.5)
RENT = Prices("EUR", fixed=[Cost("all", per_hour=7.2)])


def costs(prices: Prices = RENT, energy: Energy | str = "no GPU was sampled", cards: int | None = 1) -> RunCosts:
    """1,000 output tokens/s, 3,000 in, and 10 requests/s."""
    return RunCosts(Work(1000.0, 3000.0, 10.0, 2.0, GpuUse(cards, energy), 1000.0, 10.0), prices)


WATTS = Energy((GpuEnergy(0, 4000.0, 10.0, "energy counter"),), ())  # 400 W


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cost_per_1000_tokens", 0.0005),  # 7.20 for 14.4 million tokens an hour
        ("cost_per_1000_output_tokens", 0.002),
        ("joules_per_token", 0.1),
        ("joules_per_output_token", 0.4),
        ("joules_per_request", 40.0),
    ],
)
def test_each_limit_is_about_the_figure_of_its_name(name: str, value: float) -> None:
    found = whole_limit(name, 2 * value, costs(energy=WATTS))
    assert found.value == pytest.approx(value)
    assert found.strain == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("name", "found", "reason"),
    [
        ("cost_per_1000_tokens", costs(NO_PRICES), "no costs are given"),
        ("joules_per_token", costs(), "energy is not known: no GPU was sampled"),
        ("cost_per_1000_tokens", costs(Prices("EUR", power=Power(0.2))), "energy is not known: no GPU was sampled"),
        (
            "cost_per_1000_tokens",
            costs(Prices("EUR", fixed=[Cost("x", per_hour=1, per_card=True)]), cards=None),
            "the number of GPUs is not recorded",
        ),
    ],
)
def test_what_cannot_be_judged_says_why(name: str, found: RunCosts, reason: str) -> None:
    limit = whole_limit(name, 1.0, found)
    assert (limit.value, limit.strain, limit.reason) == (None, None, reason)


@dataclasses.dataclass
class Said:
    """As much of a summary as is asked here."""

    goodput: Goodput | None
    requests_per_s: float = 10.0


def point(load: float, cost: float | None, kept: int = 1000) -> PointFigures:
    """One run: a cost of 1,000 tokens, and how many of 1,000 requests met the latency limits."""
    whole = (WholeLimit("cost_per_1000_tokens", 0.5, cost, "" if cost else "no costs are given"),)
    said: Any = Said(Goodput(SLO, kept, 1000, 0, 10.0, 1000 / max(kept, 1) / 1.1, None, whole))
    nothing: Any = None
    return PointFigures(f"p{load}", load, said, nothing)


def found(*points: PointFigures) -> MostLoad:
    result = most_load(points)
    assert result is not None
    return result


def test_lower_loads_that_are_only_too_dear_do_not_end_the_search_for_the_highest() -> None:
    result = found(point(1, 2.0), point(2, 1.0), point(4, 0.5), point(8, 0.3), point(16, 0.2, kept=100))
    assert (result.least, result.most, result.beyond) == (4, 8, 16)
    assert (result.sure, result.sure_beyond) == (8, 16)


def test_a_load_at_which_tokens_become_dear_again_is_beyond() -> None:
    result = found(point(8, 0.4), point(16, 0.45), point(32, 0.8))
    assert (result.least, result.most, result.beyond) == (None, 16, 32)


def test_no_load_meets_both() -> None:
    result = found(point(1, 2.0), point(2, 1.0), point(4, 0.6, kept=100))
    assert (result.least, result.most) == (None, None)
    assert [level.only_dear for level in result.levels] == [True, True, False]
    assert result.levels[0].whole == (("cost_per_1000_tokens", 2.0),)


def test_a_cost_that_is_not_known_meets_nothing_and_says_why() -> None:
    result = found(point(1, None), point(2, None))
    assert result.most is None
    assert result.notes == ("cost of 1,000 tokens cannot be judged: no costs are given",)


def test_repeats_that_disagree_about_the_cost_leave_it_open() -> None:
    result = found(point(1, 0.3), point(2, 0.45), point(2, 0.52))
    assert [(level.met, level.verdict) for level in result.levels] == [(True, "met"), (True, "open")]


def test_a_run_meets_its_slo_if_requests_and_costs_do() -> None:
    by_cost = [point(1, cost).summary.goodput for cost in (0.5, 0.6, None)]
    assert [goodput.met for goodput in by_cost if goodput] == [True, False, None]
    dear = by_cost[1]
    assert dear is not None
    assert dear.worst_strain == pytest.approx(1.2)
    assert dear.request_strain is not None
    assert dear.request_strain < 1
    assert not math.isnan(dear.request_strain)
