"""More cards against fewer, and one thing to rent against another."""

from __future__ import annotations

import pytest

from engine_probe.analysis.money.hardware_options import More, Offered, Step, cheapest, more_cards

L4 = Offered("L4", 521, 17.98, "published")
L40S = Offered("L40S", 1153, None, "not told")


def test_a_second_card_pays_where_it_gives_more_than_it_costs() -> None:
    """At 10 twice the cost for 1.5 times the tokens; at 100 for 2.4 times."""
    one, two = {10: 100.0, 50: 400.0, 100: 500.0}, {10: 150.0, 100: 1200.0}
    found = more_cards(one, two, 2, ({10: 1.0, 100: 1.0}, {10: 2.0, 100: 2.0}))
    assert found == [More(10, 1.5, 2.0, None), More(100, 2.4, 2.0, 1.5)]  # two engines at 50 each give 800
    assert [each.pays for each in found] == [False, True]


def test_without_prices_only_the_throughput_is_compared() -> None:
    (found,) = more_cards({10: 100.0}, {10: 150.0}, 2, ({}, {}))
    assert (found.speedup, found.cost, found.pays) == (1.5, None, None)


def test_the_published_question_has_an_answer_in_requests() -> None:
    """1,153 against 521 a month: from 39.8 requests a minute on the L40S is the cheaper one."""
    assert L40S.must_sustain([L4]) == pytest.approx(39.8, abs=0.01)
    assert L4.must_sustain([L40S]) is None


def test_a_thousand_requests_at_full_use() -> None:
    """60 a minute, 1,000 hours: 3.6 million requests for 720."""
    assert Offered("x", 720, 60, "").per_1000_requests(1000) == pytest.approx(0.2)
    assert L40S.per_1000_requests(744) is None


def test_demand_says_when_to_upgrade() -> None:
    """A small one to 10; two of them cost more than a large one, which holds 35; then one of each kind side by side."""
    found = cheapest([Offered("small", 100, 10, ""), Offered("large", 190, 35, "")])
    assert found[:2] == [Step(10, "small", 1, 100), Step(35, "large", 1, 190)]
    assert found[2] == Step(40, "small", 4, 400) or found[2] == Step(70, "large", 2, 380)
    costs = [step.per_month for step in found]
    assert costs == sorted(costs)


def test_what_sustains_nothing_known_is_not_planned_with() -> None:
    assert cheapest([L40S]) == []
    assert {step.name for step in cheapest([L4, L40S])} == {"L4"}
