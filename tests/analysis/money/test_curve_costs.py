"""Cost, revenue, profit and users, in figures that can be worked out in one's head."""

from __future__ import annotations

import math
import random
from typing import Any

import msgspec
import pytest

from engine_probe.analysis.money.curve_costs import HOST_MEASURED, HOST_UNKNOWN, CurveCosts, LoadedWork, curve_costs
from engine_probe.analysis.money.metrics import MONEY
from engine_probe.analysis.money.prices import Cost, Power, Prices, Sold, Surge, Users, VariableCost
from engine_probe.analysis.money.run_costs import RunCosts
from engine_probe.analysis.money.work import GpuUse, Work, together
from engine_probe.analysis.run.energy import Energy, GpuEnergy
from tests.support.values import values

NO_GPU = "no GPU was sampled"


def work(
    output: float = 1000,
    energy: Energy | str = NO_GPU,
    cards: int | None = 1,
    host_watts: float | None = None,
    **more: Any,
) -> Work:
    """1,000 output tokens/s, 3,000 tokens/s in, 10 requests/s of 2 s each, on one GPU; nothing is aborted."""
    told = {"input_tokens_per_s": 3 * output, "requests_per_s": output / 100, "latency_s": 2.0} | more
    told = {"made_tokens_per_s": output, "ended_requests_per_s": told["requests_per_s"]} | told
    return Work(output_tokens_per_s=output, gpus=GpuUse(cards, energy, host_watts), **told)


def at(load: float, output: float = 1000, started_ns: int = 0, **more: Any) -> LoadedWork:
    return LoadedWork(load, work(output, **more), started_ns)


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
    in_thousands = Prices("EUR", sold=Sold(per_1000_output_tokens=0.002, per_1000_input_tokens=0.0005))
    assert figures(work(), in_thousands)["revenue_per_hour"] == pytest.approx(12.6)


def test_the_break_even_price_is_what_output_tokens_must_earn_beside_prompts() -> None:
    """7.20 an hour, of which 10.8 million prompt tokens at 0.5 pay 5.40: 1.80 for 3.6 million output tokens."""
    prices = Prices("EUR", sold=Sold(2.0, 0.5), fixed=[Cost("all", per_hour=7.2)])
    assert figures(work(), prices)["break_even_price"] == pytest.approx(0.5)
    assert figures(work(), Prices("EUR", sold=Sold(2.0, 5.0), fixed=prices.fixed))["break_even_price"] == 0


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


def test_a_purchase_is_written_off_to_what_it_is_still_worth_and_shared() -> None:
    """(9,766 - 1,000) over a year of 8,766 hours are 1 an hour, of which a quarter is this engine's."""
    items = [Cost("server", price=9766, years=1, residual=1000, share=0.25)]
    assert figures(work(), Prices("EUR", fixed=items))["cost_per_hour"] == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("item", "per_hour"),
    [
        (VariableCost("licence", per_million_output_tokens=0.5), 2.25),  # 4.5 million an hour, with aborted ones
        (VariableCost("licence", per_million_input_tokens=0.1), 1.08),
        (VariableCost("gateway", per_1000_requests=0.01), 0.45),  # 45,000 an hour, with aborted ones
        (VariableCost("water", per_kwh=2.0), 1.0),  # 400 W of the GPUs and 100 W of the host
        (VariableCost("egress", per_gib=0.5, bytes_per_request=2**30 / 45000), 0.5),
        (VariableCost("egress", per_gib=0.5, bytes_per_output_token=2**30 / 4.5e6), 0.5),
        (VariableCost("egress", per_gib=0.5, bytes_per_input_token=2**30 / 10.8e6), 0.5),
    ],
)
def test_a_variable_cost_follows_the_work(item: VariableCost, per_hour: float) -> None:
    prices = Prices("EUR", variable=[item], power=Power(0.0, 1.5, 100))
    done = work(energy=watts(400), made_tokens_per_s=1250, ended_requests_per_s=12.5)
    assert figures(done, prices)["cost_per_hour"] == pytest.approx(per_hour)


@pytest.mark.parametrize(("load", "per_hour"), [(64, 1), (65, 3), (128, 3), (129, 5)])
def test_a_burst_costs_above_its_load_and_again_for_each_further_one(load: float, per_hour: float) -> None:
    burst = Surge("server", above_concurrency=64, each=64, per_hour=2)
    prices = Prices("EUR", fixed=[Cost("all", per_hour=1)], burst=[burst])
    (level,) = curve_costs([at(load)], prices, "concurrent requests").levels
    assert level.mean("cost_per_hour") == per_hour
    assert [item.kind for item in level.items] == ["fixed", "burst"]


def test_a_burst_of_another_unit_is_left_out_aloud() -> None:
    prices = Prices("EUR", fixed=[Cost("all", per_hour=1)], burst=[Surge("server", above_users=1, per_hour=2)])
    found = curve_costs([at(8)], prices, "concurrent requests")
    assert found.levels[0].mean("cost_per_hour") == 1
    assert "server is not in the cost: it is needed above 1 users" in found.notes[0]


def test_energy_is_power_with_cooling_at_the_price_of_energy() -> None:
    """(400 W + 100 W) x 1.5 at 0.20 per kWh are 0.15 an hour."""
    prices = Prices("EUR", power=Power(0.20, 1.5, 100))
    found = figures(work(energy=watts(400)), prices)
    assert found["cost_per_hour"] == pytest.approx(0.15)
    assert found["joules_per_output_token"] == pytest.approx(0.4)
    assert found["joules_per_token"] == pytest.approx(0.1)


def test_the_power_of_the_host_is_measured_given_or_left_out_aloud() -> None:
    """400 W of GPUs and 100 W of the host at 2 per kWh are 1 an hour; 200 W that are given take the place of 100."""
    done = [at(load, energy=watts(400), host_watts=100.0) for load in (1, 2)]
    for prices, per_hour in ((Prices("EUR", power=Power(2.0)), 1.0), (Prices("EUR", power=Power(2.0, 1.0, 200)), 1.2)):
        assert curve_costs(done, prices).levels[0].mean("cost_per_hour") == pytest.approx(per_hour)
    assert curve_costs(done, Prices("EUR", power=Power(2.0))).notes == (HOST_MEASURED,)
    some = curve_costs([done[0], at(2, energy=watts(400))], Prices("EUR", power=Power(2.0)))
    assert [level.mean("cost_per_hour") for level in some.levels] == pytest.approx([0.8, 0.8])
    assert some.notes == (HOST_UNKNOWN,)


def test_engines_at_once_are_summed_and_their_machine_counts_once() -> None:
    """1,000 and 500 tokens/s, 10 and 5 requests/s of 2 and 5 s, 400 W each; two engines share a host of 100 W."""
    works = [
        work(1000, watts(400), host_watts=100.0),
        work(500, watts(400), cards=2, host_watts=100.0, latency_s=5.0),
    ]
    both = together(works, ["a", "a"])
    assert (both.output_tokens_per_s, both.requests_per_s, both.latency_s) == (1500, 15, 3)
    assert (both.gpus.cards, both.watts, both.gpus.host_watts) == (3, 800, 100)
    assert together(works, ["a", "b"]).gpus.host_watts == 200
    unknown = together([works[0], work(cards=None)], ["a", "b"]).gpus
    assert (unknown.cards, unknown.energy, unknown.host_watts) == (None, NO_GPU, None)


def test_without_telemetry_there_is_no_energy_and_it_is_said() -> None:
    prices = Prices("EUR", fixed=[Cost("all", per_hour=7.2)], power=Power(0.2))
    done = curve_costs([at(1), at(2, energy=watts(400))], prices)
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
    done = curve_costs([at(1, cards=None)], prices)
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
    return curve_costs([at(2**number, rate) for number, rate in enumerate(rates)], prices)


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
    """1,000 and 900 tokens/s at both loads: 950 ± 23 % (t of two degrees of freedom is 4.303)."""
    prices = Prices("EUR", fixed=[Cost("all", per_hour=3.6)])
    name, runs = "cost_per_million_output_tokens", [at(load, rate) for rate in (1000, 900) for load in (1, 2)]
    found = curve_costs(runs, prices).levels[0].figures[name]
    assert found is not None
    assert (found.mean, found.count) == (pytest.approx(1.0556, abs=1e-4), 2)
    assert found.high == pytest.approx(found.mean / (1 - 4.303 * 50 / 950), abs=1e-3)
    one_after_another = curve_costs(runs, prices, apart=False).levels[0].figures[name]
    assert one_after_another is not None
    assert (one_after_another.mean, one_after_another.reach) == (found.mean, None)


def noisy(loads_and_rates: dict[float, float], deviation: float = 0.02, repeats: int = 8) -> list[LoadedWork]:
    """Repeats in rounds, each a rate that varies by chance about the true one."""
    chance = random.Random(7)
    return [
        at(load, rate * chance.gauss(1, deviation)) for _ in range(repeats) for load, rate in loads_and_rates.items()
    ]


def scaled(load: float) -> float:
    """The universal scalability law: 310 tokens/s alone, 1,664 at 16, 1,291 at 64."""
    return 310 * load / (1 + 0.1 * (load - 1) + 0.002 * load * (load - 1))


RATES = {load: scaled(load) for load in (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)}
EARNING = Prices("EUR", sold=Sold(1.0), fixed=[Cost("all", per_hour=3.6)])


def test_an_interval_of_profit_is_that_of_throughput_also_where_profit_is_near_zero() -> None:
    """937 tokens/s earn 3.37 an hour, of which 3.6 are costs: 2 % of the one is 29 % of the other."""
    found = {level.load: level for level in curve_costs(noisy(RATES), EARNING).levels}
    profit, revenue = (found[4].figures[name] for name in ("profit_per_hour", "revenue_per_hour"))
    assert profit is not None
    assert revenue is not None
    assert profit.mean == pytest.approx(-0.23, abs=0.05)
    assert profit.reach == pytest.approx(revenue.reach)
    cost = found[4].figures["cost_per_million_output_tokens"]
    assert cost is not None
    assert cost.low == pytest.approx(3.6 / (revenue.high or 0.0), rel=1e-3)
    assert cost.high == pytest.approx(3.6 / (revenue.low or 0.0), rel=1e-3)


def test_variable_costs_per_token_have_no_noise_of_throughput() -> None:
    prices = Prices("EUR", variable=[VariableCost("licence", per_million_output_tokens=0.5)])
    cost = curve_costs(noisy(RATES), prices).levels[3].figures["cost_per_million_output_tokens"]
    assert cost is not None
    assert (cost.low, cost.mean, cost.high) == pytest.approx((0.5, 0.5, 0.5))


def test_the_range_of_a_break_even_holds_the_true_one_and_shrinks_with_the_noise() -> None:
    """1,000 tokens/s lie between 937 (at 4) and 1,057 (at 5)."""
    true, wide = 4 + (1000 - scaled(4)) / (scaled(5) - scaled(4)), []
    rates = {load: scaled(load) for load in (1, 2, 3, 4, 5, 6, 8, 10, 12)}
    for deviation in (0.1, 0.01):
        (crossing,) = curve_costs(noisy(rates, deviation), EARNING).break_even
        assert crossing.low is not None
        assert crossing.high is not None
        assert crossing.low < true < crossing.high
        wide.append(crossing.high - crossing.low)
    assert wide[1] < wide[0] / 5


def test_a_break_even_that_noise_leaves_open_has_no_end() -> None:
    """At the highest level the profit is 3 % of the revenue, which varies by 10 %."""
    (crossing,) = curve_costs(noisy({1: 300.0, 2: 600.0, 4: 1030.0}, 0.1, repeats=3), EARNING).break_even
    assert crossing.high == math.inf
    (single,) = earning(500, 1500).break_even
    assert (single.low, single.high) == (None, None)


def test_the_best_level_is_told_from_those_that_are_surely_worse() -> None:
    assert curve_costs(noisy(RATES), EARNING).as_good == (16, 32)
    assert curve_costs(noisy(RATES), EARNING, apart=False).as_good == ()
    dear = msgspec.structs.replace(EARNING, burst=[Surge("staff", above_concurrency=20, per_hour=1.0)])
    assert curve_costs(noisy(RATES), dear, "concurrent requests").as_good == (16,)


def test_what_holds_at_which_price() -> None:
    """At three quarters of the price 1,333 tokens/s are needed, at half of it 2,000 and at twice the price 500."""
    prices = {price.factor: price for price in curve_costs(noisy(RATES, 0.001), EARNING).at_prices}
    assert prices[0.5].profitable == ()
    assert prices[0.75].profitable == (8, 16, 32)
    assert prices[1].profitable == (8, 16, 32, 64)
    assert prices[2].profitable == (2, 4, 8, 16, 32, 64)
    assert (prices[0.5].million_output_tokens, prices[2].best_load) == (0.5, 16)
    assert prices[2].best_profit == pytest.approx(2 * 3.6 * scaled(16) / 1000 - 3.6, rel=0.01)
    assert curve_costs(noisy(RATES), Prices("EUR", fixed=EARNING.fixed)).at_prices == ()
