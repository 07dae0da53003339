"""Tests on engines whose truth is known: an effect is found, none is made up, too little is called so."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest

from engine_probe.analysis.compare.load_effect import OutcomeFigure, RunSeen, effects, slope_p, values_by_load
from engine_probe.analysis.statistics.rank_tests import cliffs_delta, holm, rho, trend_p

SLOW = OutcomeFigure("latency", "ms")
FAILED = OutcomeFigure("failures", "", share=True)


def runs(values: dict[float, list[float]], outcome: OutcomeFigure = SLOW, requests: int = 100) -> list[RunSeen]:
    """Measured in rounds, each in an order that chance gave."""
    chance, started = np.random.default_rng(3), 0.0
    made = []
    for repeat in range(max(map(len, values.values()))):
        for load in chance.permutation([load for load, several in values.items() if len(several) > repeat]).tolist():
            value = {outcome.name: values[load][repeat]}
            made.append(RunSeen(f"r{len(made)}", load, started, value, {}, {outcome.name: requests}))
            started += 1
    return made


def test_five_runs_in_order_are_one_of_sixty_orders() -> None:
    """Of 120 orders one rises and one falls throughout."""
    assert trend_p(np.arange(5.0), np.array([1.0, 2, 3, 4, 5])) == pytest.approx(2 / 120)
    assert rho([1, 2, 4, 8], [1, 2, 3, 9]) == pytest.approx(1)
    assert rho([1, 2, 4, 8], [5, 5, 5, 5]) == 0


def test_cliffs_delta_by_hand() -> None:
    """Of 6 pairs 4 are above, 1 below, 1 level."""
    assert cliffs_delta(np.array([1.0, 3.0]), np.array([2.0, 3.0, 4.0])) == pytest.approx(0.5)


def test_the_more_is_tested_the_stricter() -> None:
    assert holm([0.02, 0.01, 0.03]) == pytest.approx([0.04, 0.03, 0.04])


def test_a_latency_that_rises_is_told_with_its_size() -> None:
    found = effects(runs({1: [10, 11], 4: [20, 22], 16: [41, 40], 64: [90, 95]}), [SLOW])
    (trend,) = found.tested
    assert trend.verdict == "rises"
    assert trend.size > 0.95
    assert (trend.lowest, trend.highest) == (10.5, 92.5)


def test_a_latency_that_peaks_in_the_middle_has_no_trend() -> None:
    """Noise that all runs of a load share looks the same."""
    found = effects(runs({1: [10, 11, 10.5, 10.6], 4: [30, 31, 32, 33], 16: [10.2, 10.8, 10.4, 10.7]}), [SLOW])
    assert [each.verdict for each in found.tested] == ["cannot tell"]


def test_the_slope_of_means_by_hand() -> None:
    """Means 1, 2, 4: slope 1.5 a load, residuals 1/6, -1/3, 1/6; its error is the root of 1/12, with one degree."""
    p = 1 - 2 / math.pi * math.atan(1.5 / math.sqrt(1 / 12))
    assert slope_p([[math.exp(1)], [math.exp(2)], [math.exp(4)]]) == pytest.approx(p)
    assert slope_p([[0, 0], [1, 1], [3, 3]]) == pytest.approx(p)  # zero has no logarithm
    assert slope_p([[1, 1], [2, 2]]) == 1.0


def test_a_trend_that_a_drift_of_the_machine_explains_is_not_told() -> None:
    """Loads are measured in rising order, three times, while the machine slows down by 1 % with each run.

    Without the drift every load would be as fast, but the means rise with hardly an error.
    """
    loads = [1, 2, 4, 8, 16, 32] * 3
    drifting = [RunSeen(f"r{at}", load, at, {"latency": 100 * 1.01**at}) for at, load in enumerate(loads)]
    assert slope_p(list(values_by_load(drifting, "latency").values())) < 0.01
    (found,) = effects(drifting, [SLOW]).tested
    assert not found.rejected


def test_repeats_that_agree_show_that_nothing_differs() -> None:
    found = effects(runs({1: [100, 101, 99], 4: [100, 99, 101], 16: [99.5, 100.5, 100]}), [SLOW])
    assert {each.verdict for each in found.tested} == {"not different"}
    low, high = found.tested[0].furthest or (1, 1)
    assert -0.03 < low < 0 < high < 0.03


def test_repeats_that_scatter_show_nothing_and_are_unstable() -> None:
    found = effects(runs({1: [100, 140], 4: [90, 130], 16: [120, 95]}), [SLOW])
    assert {each.verdict for each in found.tested} == {"cannot tell"}
    assert [each.load for each in found.unstable] == [1, 4, 16]
    assert found.unstable[0].range == pytest.approx(40 / 120)


def test_without_repeats_a_trend_can_be_told_and_equality_cannot() -> None:
    found = effects(runs({1: [10], 2: [11], 4: [14], 8: [20], 16: [33], 32: [60]}), [SLOW])
    assert [each.verdict for each in found.tested] == ["rises"]
    (level,) = effects(runs({1: [10], 2: [10], 4: [10], 8: [10], 16: [10], 32: [10]}), [SLOW]).tested
    assert level.verdict == "cannot tell"


def test_three_runs_cannot_tell_anything_and_say_so() -> None:
    found = effects(runs({1: [10], 2: [20], 4: [40]}), [SLOW])
    assert found.tested[0].verdict == "cannot tell"
    assert any("too few for any trend" in note for note in found.notes)


@pytest.mark.parametrize(("requests", "verdict"), [(10, "cannot tell"), (200, "not different")])
def test_no_failure_among_few_is_no_proof_of_none(requests: int, verdict: str) -> None:
    """1 - 0.05 ** (1 / n): 26 % of 10 requests, 1.5 % of 200."""
    found = effects(runs({1: [0], 8: [0], 32: [0]}, FAILED, requests), [FAILED])
    assert found.tested[0].verdict == verdict
    assert found.tested[0].bound == pytest.approx(1 - 0.05 ** (1 / requests))


def test_failures_that_rise_with_load() -> None:
    found = effects(runs({1: [0, 0], 3: [0.2, 0.3], 8: [0.5, 0.55], 32: [0.75, 0.8]}, FAILED), [FAILED])
    assert found.tested[0].verdict == "rises"


def test_loads_measured_in_their_order_are_named() -> None:
    ordered = [RunSeen("", load, load, {SLOW.name: load}) for load in (1.0, 2, 4, 8, 16)]
    found = effects(ordered, [SLOW])
    assert "cannot be told from a drift of the machine" in found.notes[-1]
    assert [effect.in_order for effect in found.tested] == [True]
    assert not effects(runs({1: [10, 11], 4: [20, 22], 16: [41, 40]}), [SLOW]).tested[0].in_order


def test_noise_that_all_runs_of_a_load_share_is_no_effect_of_load() -> None:
    """Runs of a load differ by 0.1 %, loads by 5 % in no order."""
    means = [10.5, 10.0, 10.5, 10.0, 10.7, 10.1, 10.6, 10.2]
    shared = {1.0 + at: [mean, mean * 1.001] for at, mean in enumerate(means)}
    found = effects(runs(shared), [SLOW])
    assert [(each.verdict, each.by) for each in found.tested] == [("cannot tell", "loads")]
    rising = {load: [value * 2**load for value in values] for load, values in shared.items()}
    assert [each.verdict for each in effects(runs(rising), [SLOW]).tested] == ["rises"]


def test_runs_of_a_load_one_after_another_are_one_observation() -> None:
    """Loads in a random order, three runs each; the values are equal to the loads, so nothing lies off the slope."""
    made = [
        RunSeen("", load, 3.0 * at + n, {SLOW.name: load}) for at, load in enumerate((4.0, 1, 8, 2)) for n in range(3)
    ]
    (trend,) = effects(made, [SLOW]).tested
    assert trend.by == "loads"
    assert trend.furthest is None


def test_one_load_is_no_question() -> None:
    assert effects(runs({4: [1, 2, 3]}), [SLOW]).tested == ()


@pytest.mark.lengthy
def test_where_nothing_is_an_effect_is_claimed_in_one_of_twenty_sweeps() -> None:
    """All requests of a run share its luck: tests on requests would find something nearly every time."""
    claimed = 0
    for seed in range(100):
        chance = np.random.default_rng(seed)
        values = {load: list(100 * chance.lognormal(0, 0.2, 3)) for load in (1.0, 4, 16, 64)}
        claimed += any(effect.rejected for effect in effects(runs(values), [SLOW]).tested)
    assert claimed <= 10


def test_the_lowest_load_is_the_first_whatever_the_order() -> None:
    values = {64.0: [90.0, 91], 1.0: [10.0, 11]}
    trend = effects(runs(values), [SLOW]).tested[0]
    assert all(before < after for before, after in pairwise([trend.lowest, trend.highest]))
