"""More GPUs in one engine against fewer."""

from __future__ import annotations

from engine_probe.analysis.money.more_gpus import More, more_cards


def test_a_second_card_pays_where_it_gives_more_than_it_costs() -> None:
    """At 10 twice the cost for 1.5 times the tokens; at 100 for 2.4 times."""
    one, two = {10: 100.0, 50: 400.0, 100: 500.0}, {10: 150.0, 100: 1200.0}
    found = more_cards(one, two, 2, ({10: 1.0, 100: 1.0}, {10: 2.0, 100: 2.0}))
    assert found == [More(10, 1.5, 2.0, None), More(100, 2.4, 2.0, 1.5)]  # two engines at 50 each give 800
    assert [each.pays for each in found] == [False, True]


def test_without_prices_only_the_throughput_is_compared() -> None:
    (found,) = more_cards({10: 100.0}, {10: 150.0}, 2, ({}, {}))
    assert (found.speedup, found.cost, found.pays) == (1.5, None, None)
