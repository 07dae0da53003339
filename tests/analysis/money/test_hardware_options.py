"""One thing to rent or buy against another: bands of rates and prices, a demand, rules, and the cost of a token."""

from __future__ import annotations

import pytest

from engine_probe.analysis.money.hardware_options import (
    CheapestStep,
    Demand,
    Offered,
    cheapest,
    choices,
    cost_ratios,
    judged,
    monthly,
    within,
)
from engine_probe.analysis.money.prices import Option, Power, Prices, Upgrade

L4 = Offered("L4", (521, 521), (15, 20), "published", latency_s=(8, 10))
L40S = Offered("L40S", (1153, 1153), (30, 50), "published", latency_s=(5, 7))
UNKNOWN = Offered("other", (1153, 1153), None, "not told")


def test_what_a_rate_must_be_to_pay() -> None:
    """1,153 against 521 a month for at most 20 a minute: from 44.3 requests a minute on."""
    assert UNKNOWN.must_sustain([L4]) == pytest.approx(44.26, abs=0.01)
    assert L4.must_sustain([UNKNOWN]) is None


def test_a_thousand_requests_at_full_use() -> None:
    """60 to 120 a minute, 1,000 hours: 3.6 to 7.2 million requests for 720."""
    assert Offered("x", (720, 720), (60, 120), "").cost_of_batch(1000) == pytest.approx((0.1, 0.2))
    assert UNKNOWN.cost_of_batch(744) is None


def test_a_million_tokens_of_a_purchase() -> None:
    """8,766 to 17,532 over a year are 1 to 2 an hour, and so for 3.6 million tokens."""
    option = Option("x", price=(8766, 17532), years=1, output_tokens_per_s=1000)
    per_month = monthly(option, Prices("USD", hours_per_month=100))
    assert per_month == pytest.approx((100, 200))
    offered = Offered("x", per_month, (1000, 1000), "", unit="output tokens/s")
    assert offered.cost_of_batch(100) == pytest.approx((1 / 3.6, 2 / 3.6))


def test_energy_of_published_power_is_in_the_cost_if_it_has_a_price() -> None:
    """4,200 W x 1.5 at 0.10 are 0.63 an hour."""
    option = Option("x", per_hour=1, watts=4200)
    assert monthly(option, Prices("USD", power=Power(0.1, 1.5), hours_per_month=100)) == pytest.approx((163, 163))
    assert monthly(option, Prices("USD", hours_per_month=100)) == pytest.approx((100, 100))


def test_demand_says_when_to_upgrade() -> None:
    """A small one to 10; two of them cost more than a large one, which holds 35; then two large ones."""
    found = cheapest([Offered("small", (100, 100), (10, 10), ""), Offered("large", (190, 190), (35, 35), "")])
    assert found[:2] == [CheapestStep(10, "small", 1, 100), CheapestStep(35, "large", 1, 190)]
    assert found[2] in (CheapestStep(40, "small", 4, 400), CheapestStep(70, "large", 2, 380))
    costs = [step.per_month for step in found]
    assert costs == sorted(costs)


def test_the_lower_ends_hold_for_sure_and_the_upper_ends_perhaps() -> None:
    assert cheapest([L4, L40S])[:2] == [CheapestStep(15, "L4", 1, 521), CheapestStep(30, "L4", 2, 1042)]
    assert cheapest([L4, L40S], sure=False)[:2] == [CheapestStep(20, "L4", 1, 521), CheapestStep(40, "L4", 2, 1042)]


def test_what_sustains_nothing_known_is_not_planned_with() -> None:
    assert cheapest([UNKNOWN]) == []
    assert {step.name for step in cheapest([L4, UNKNOWN])} == {"L4"}


def test_the_cheapest_that_holds_a_demand_in_time_comes_first() -> None:
    """25 a minute within 8 s: two L4 may just answer in time, one L40S surely does, and the other is not known."""
    found = choices([L4, L40S, UNKNOWN], Demand(25, latency_s=8))
    assert [(each.option.name, each.count, each.hoped, each.latency) for each in found] == [
        ("L40S", 1, 1, "yes"),
        ("L4", 2, 2, "perhaps"),
        ("other", None, None, "not known"),
    ]
    assert [each.per_month for each in found] == [1153, 1042, None]
    assert [each.option.name for each in choices([L4, L40S], Demand(25))] == ["L4", "L40S"]


def test_of_two_that_cost_the_same_the_stronger_comes_first() -> None:
    stronger = Offered("with batching", (1153, 1153), (50, 100), "")
    assert choices([L40S, stronger], Demand(10))[0].option is stronger


def test_a_demand_that_no_number_of_engines_holds_has_none() -> None:
    (found,) = choices([L4], Demand(15 * 64 + 1))
    assert (found.count, found.hoped) == (None, 49)


@pytest.mark.parametrize(
    ("latency", "limit", "holds"),
    [((8, 10), 10, "yes"), ((8, 10), 9, "perhaps"), ((8, 10), 7, "no"), (None, 9, "not known"), (None, None, "yes")],
)
def test_a_band_of_latency_holds_a_limit_or_may(
    latency: tuple[float, float] | None, limit: float | None, holds: str
) -> None:
    assert within(latency, limit) == holds


RULE = Upgrade("L40S", above_requests_per_minute=20, from_users=5, below_latency_s=5, not_below_requests_per_minute=10)


@pytest.mark.parametrize(
    ("demand", "verdict", "reasons"),
    [
        (Demand(25), "upgrade", 1),
        (Demand(20), "open", 0),  # not more than 20
        (Demand(9), "not needed", 1),
        (Demand(9, users=5), "upgrade", 1),
        (Demand(9, users=4, latency_s=5), "not needed", 1),
        (Demand(9, users=8, latency_s=4), "upgrade", 2),
        (Demand(), "open", 0),
    ],
)
def test_each_condition_of_a_rule_alone_is_enough(demand: Demand, verdict: str, reasons: int) -> None:
    found = judged(RULE, demand)
    assert (found.verdict, len(found.reasons)) == (verdict, reasons)


def test_a_published_ratio_is_held_against_prices_and_rates() -> None:
    """Twice the price for four times the tokens is half the cost; the price may also be three times as much."""
    first = Offered("a", (100, 100), (10, 10), "", unit="output tokens/s", serves="7B")
    other = Offered("b", (200, 300), (40, 40), "", unit="output tokens/s", serves="7B", claimed_ratio=0.5)
    wrong = Offered("c", (200, 300), (40, 40), "", unit="output tokens/s", serves="7B", claimed_ratio=0.4)
    alone = Offered("d", (200, 300), (40, 40), "", unit="output tokens/s", serves="70B")
    found = cost_ratios([first, other, wrong, alone], 730)
    assert [(ratio.option.name, ratio.first.name, ratio.follows) for ratio in found] == [
        ("b", "a", True),
        ("c", "a", False),
    ]
    assert (found[0].low, found[0].high) == pytest.approx((0.5, 0.75))
