"""Cost, revenue, profit and users, in figures that can be worked out in one's head."""

from __future__ import annotations

from typing import Any

import pytest

from engine_probe.analysis.money.curve_costs import MONEY, CurveCosts, curve_costs
from engine_probe.analysis.money.prices import Cost, Power, Prices, Sold, Users
from engine_probe.analysis.money.run_costs import RunCosts, Work
from engine_probe.analysis.run.energy import Energy, GpuEnergy
from tests.support.values import values

NO_GPU = "no GPU was sampled"


def work(load: float = 1, output: float = 1000, energy: Energy | str = NO_GPU, **more: Any) -> Work:
    """1,000 output tokens/s, 3,000 tokens/s in, 10 requests/s of 2 s each, on one card."""
    told = {"input_tokens_per_s": 3 * output, "requests_per_s": output / 100, "latency_s": 2.0, "cards": 1} | more
    return Work(load=load, output_tokens_per_s=output, energy=energy, **told)


def watts(power: float) -> Energy:
    return Energy((GpuEnergy(0, power * 10, 10.0, "energy counter"),), ())


def figures(done: Work, prices: Prices, with_energy: bool = True) -> dict[str, float | None]:
    return {metric.name: metric.value(RunCosts(done, prices, with_energy)) for metric in MONEY}


def test_a_million_tokens_cost_an_hours_cost_over_the_tokens_of_an_hour() -> None:
    """7.20 an hour, 3.6 million output tokens an hour and 10.8 million in."""
    found = figures(work(), Prices("EUR", fixed=[Cost("all", per_hour=7.2)]))
    assert found["cost_per_hour"] == pytest.approx(7.2)
    assert found["cost_per_million_output_tokens"] == pytest.approx(2.0)
    assert found["cost_per_million_tokens"] == pytest.approx(0.5)
    assert found["cost_per_1000_requests"] == pytest.approx(0.2)


def test_revenue_is_the_price_of_tokens_times_tokens() -> None:
    """The thesis's: price per 1k tokens / 1000 x tokens/s x time. 3.6 M at 2 and 10.8 M at 0.5 are 12.6 an hour."""
    prices = Prices("EUR", sold=Sold(2.0, 0.5), fixed=[Cost("all", per_hour=7.2)])
    assert figures(work(), prices)["revenue_per_hour"] == pytest.approx(12.6)
    assert figures(work(), prices)["profit_per_hour"] == pytest.approx(5.4)


def test_every_kind_of_fixed_cost_is_brought_to_an_hour() -> None:
    """1 an hour, 730.5 a month and 8,766 over a year are one an hour each; per card twice."""
    items = [
        Cost("rent", per_hour=1),
        Cost("staff", per_month=730.5),
        Cost("server", price=8766, years=1, per_card=True),
    ]
    assert figures(work(cards=2), Prices("EUR", fixed=items))["cost_per_hour"] == pytest.approx(4.0)


def test_a_month_is_as_long_as_the_list_says() -> None:
    prices = Prices("USD", fixed=[Cost("L4", per_month=521)], hours_per_month=744)
    assert figures(work(), prices)["cost_per_hour"] == pytest.approx(0.70, abs=1e-3)


def test_energy_is_power_with_cooling_at_the_price_of_energy() -> None:
    """(400 W + 100 W) x 1.5 at 0.20 per kWh are 0.15 an hour."""
    prices = Prices("EUR", power=Power(0.20, 1.5, 100))
    found = figures(work(energy=watts(400)), prices)
    assert found["cost_per_hour"] == pytest.approx(0.15)
    assert found["joules_per_output_token"] == pytest.approx(0.4)
    assert found["joules_per_token"] == pytest.approx(0.1)


def test_without_telemetry_there_is_no_energy_and_it_is_said() -> None:
    prices = Prices("EUR", fixed=[Cost("all", per_hour=7.2)], power=Power(0.2))
    done = curve_costs([work(1), work(2, energy=watts(400))], prices)
    assert not done.with_energy
    assert values(done.notes[0]) == ["1", "2"]
    assert [level.mean("cost_per_hour") for level in done.levels] == [7.2, 7.2]  # no step between the two
    assert [level.mean("joules_per_output_token") for level in done.levels] == [None, 0.4]


def test_a_cost_of_energy_alone_is_unknown_without_it() -> None:
    found = figures(work(), Prices("EUR", power=Power(0.2)), with_energy=False)
    assert found["cost_per_hour"] is None
    assert found["cost_per_million_output_tokens"] is None
    assert figures(work(), Prices("EUR", sold=Sold(2.0)))["profit_per_hour"] is None


def test_costs_per_card_need_to_know_the_cards() -> None:
    prices = Prices("EUR", fixed=[Cost("card", per_hour=1, per_card=True)])
    done = curve_costs([work(cards=None)], prices)
    assert done.levels[0].mean("cost_per_hour") is None
    assert "the number of the engine's GPUs is not recorded" in done.notes[0]


def test_no_token_has_no_cost() -> None:
    assert figures(work(output=0), Prices("EUR", fixed=[Cost("all", per_hour=1)]))["cost_per_1000_requests"] is None


@pytest.mark.parametrize(
    ("asked", "latency", "users"),
    [
        (Users(request_every_s=40), 20, 100),  # the published example: 100 users, one request each 40 s, 20 s each
        (Users(think_s=20), 20, 100),
        (Users(request_every_s=10), 20, 50),  # who waits longer than that asks again only then
    ],
)
def test_users_are_not_concurrent_requests(asked: Users, latency: float, users: float) -> None:
    """2.5 requests/s of 20 s each are 50 in flight."""
    found = figures(work(output=250, latency_s=latency), Prices("EUR", users=asked))
    assert found["requests_in_flight"] == 50
    assert found["users"] == users


def earning(*rates: float) -> CurveCosts:
    """Costs 3.6 an hour and sells a million tokens for 1: break-even at 1,000 tokens/s."""
    prices = Prices("EUR", sold=Sold(1.0), fixed=[Cost("all", per_hour=3.6)])
    return curve_costs([work(2**number, rate) for number, rate in enumerate(rates)], prices)


def test_break_even_lies_between_the_levels_where_profit_turns() -> None:
    """1,000 is halfway from 500 (at 2) to 1,500 (at 4); it is lost again halfway from 1,200 (at 8) to 800 (at 16)."""
    found = earning(100, 500, 1500, 1200, 800).break_even
    assert [(each.below, each.above, each.into_profit) for each in found] == [(2, 4, True), (8, 16, False)]
    assert [each.at for each in found] == pytest.approx([3, 12])


def test_one_that_always_earns_has_no_break_even() -> None:
    assert earning(1500, 2000).break_even == ()
    assert earning(500).break_even == ()


def test_the_best_level_is_the_one_of_most_profit() -> None:
    top, low = (earning(100, 500, 1500, 1200).best(*names) for names in (("profit_per_hour",), ("cost_per_hour", True)))
    assert top is not None
    assert top.load == 4
    assert low is not None
    assert earning(100).best("profit_per_hour") is None


def test_repeats_give_an_interval() -> None:
    prices = Prices("EUR", fixed=[Cost("all", per_hour=3.6)])
    name, rates = "cost_per_million_output_tokens", ((1, 1000), (2, 1000), (1, 500), (2, 500))
    in_rounds = [work(load, rate, started_ns=at) for at, (load, rate) in enumerate(rates)]
    found = curve_costs(in_rounds, prices).levels[0].figures[name]
    assert found is not None
    assert (found.mean, found.count) == (1.5, 2)
    assert found.reach == pytest.approx(4.303 * 0.5, abs=1e-2)  # t of two degrees of freedom: both loads
    load_by_load = curve_costs(sorted(in_rounds, key=lambda each: each.load)[:2], prices).levels[0].figures[name]
    assert load_by_load is not None
    assert (load_by_load.mean, load_by_load.reach) == (1.5, None)
