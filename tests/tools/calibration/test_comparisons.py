"""Simulated comparisons have the effect that they are given, and what is known to hold of the tests does."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.samples import some_and_all
from tools.calibration.comparisons import (
    PLANNED,
    alarm_claims,
    broken,
    comparison,
    draw_comparison,
    interval_claims,
    simulated_run,
    told,
)
from tools.calibration.simulated.noise import KINDS
from tools.calibration.tally import ALL, Tally


def test_latencies_are_the_inverse_of_throughput() -> None:
    rng = np.random.default_rng(1)
    one, half = (simulated_run(rng, 100.0, factor, 0.0) for factor in (1.0, 0.5))
    assert (one.output_tokens_per_s, half.output_tokens_per_s) == (100.0, 50.0)
    for fast, slow in zip(one.latencies, half.latencies, strict=True):
        assert slow.percentiles_ns[50] == pytest.approx(2 * (fast.percentiles_ns[50] or 0))


def test_a_large_loss_without_much_noise_breaks_a_bound_if_the_drift_is_known() -> None:
    compared = draw_comparison(np.random.default_rng(2), "shared by the occasion", -0.3, 0.01, 3, earlier=4)
    (whole,) = (change for change in [compared.of(compared.whole)] if change)
    assert whole.relative == pytest.approx(-0.3, abs=0.03)
    assert whole.verdict == "not tested"
    assert not any(told(point) for point in compared.points)
    assert broken("-5%", [whole])
    assert not broken("-50%", [whole])
    alone = draw_comparison(np.random.default_rng(2), "shared by the occasion", -0.3, 0.01, 3)
    assert not broken("-5%", [alone.of(alone.whole)])


@pytest.mark.lengthy
def test_two_occasions_differ_by_what_each_shares() -> None:
    """The change over all points scatters by the difference of two occasions, and hardly where none is shared."""
    scatter = {}
    for kind in ("independent", "shared by the occasion"):
        rng = np.random.default_rng(3)
        wholes = [(each := draw_comparison(rng, kind, 0.0, 0.05, 2)).of(each.whole) for _ in range(40)]
        scatter[kind] = float(np.std([whole.relative for whole in wholes if whole]))
    assert scatter["shared by the occasion"] == pytest.approx(0.05 * np.sqrt(2), rel=0.3)
    assert scatter["independent"] < 0.025


@pytest.mark.lengthy
@some_and_all("comparisons", 24, 60)
def test_with_known_drift_the_intervals_and_gates_hold_where_sweeps_differ(comparisons: int) -> None:
    tally = Tally()
    for number in range(comparisons):
        kind = ("independent", "shared by the occasion")[number % 2]
        compared = draw_comparison(np.random.default_rng([4, number]), kind, 0.0, 0.05, 3, earlier=4)
        tally.add_cluster("any", [*alarm_claims(compared), *interval_claims(compared)])
    assert tally["A/A: gate broken over all points together", "any", ALL].share <= 0.07
    assert tally["interval of the change of all points together", "any", ALL].share >= 0.9
    assert tally["interval of a change at a point", "any", ALL].share >= 0.9


@pytest.mark.lengthy
def test_every_kind_of_noise_and_the_planned_power_take_their_turns() -> None:
    turns = (*range(len(KINDS)), len(KINDS), 2 * len(KINDS))  # A/A of every kind, one of the others each
    conditions = {comparison(np.random.default_rng(index), index)[0] for index in turns}
    assert conditions == {*KINDS, PLANNED}
