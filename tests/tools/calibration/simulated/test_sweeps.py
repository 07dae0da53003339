"""Simulated sweeps have the loads, the repeats and the drain that they are given."""

from __future__ import annotations

import numpy as np
import pytest

from tools.calibration.simulated.shapes import draw_shape
from tools.calibration.simulated.sweeps import (
    CONDITIONS,
    MOST_REPEATS,
    SAME_NUMBER,
    drained,
    draw_loads,
    draw_sweep,
)


def test_loads_rise_from_at_least_one_and_are_five_to_fifteen() -> None:
    for seed in range(300):
        loads = draw_loads(np.random.default_rng(seed))
        assert 5 <= len(loads) <= 15
        assert loads[0] >= 1
        assert list(loads) == sorted(set(loads))


@pytest.mark.parametrize("condition", CONDITIONS)
def test_levels_are_the_means_of_their_repeats(condition: str) -> None:
    sweep = draw_sweep(np.random.default_rng(4), "affine step", condition)
    assert 1 <= sweep.repeats <= MOST_REPEATS
    for level in sweep.levels():
        assert len(level.repeated) == sweep.repeats
        assert level.output_tokens_per_s == pytest.approx(np.mean(level.repeated))
    assert (sweep.noisiest in sweep.loads) == (condition == "unequal")


@pytest.mark.lengthy
def test_levels_that_held_their_load_do_not_bend_a_curve_that_does_not_bend() -> None:
    """With the same number of requests at every load, the highest are left out where it is twice theirs."""
    sweeps = [draw_sweep(np.random.default_rng(seed), "linear", SAME_NUMBER) for seed in range(40)]
    for place in (0, -1):
        ratios = [sweep.rates[place].mean() / sweep.shape.at(sweep.loads[place]) for sweep in sweeps]
        assert np.mean(ratios) == pytest.approx(1.0, abs=0.02)


def test_where_no_two_levels_held_their_load_there_are_whole_runs_and_they_drain() -> None:
    rng, shape = np.random.default_rng(1), draw_shape(np.random.default_rng(2), "linear", 64.0)
    loads, rates = drained(rng, shape, {load: 2 * load for load in (1, 8, 64)}, repeats=20)
    assert loads == (1, 8, 64)
    assert rates[2].mean() < 0.8 * shape.at(64)
    held, rates = drained(rng, shape, {1: 8, 8: 64, 64: 64}, repeats=2)
    assert held == (1, 8)
    assert rates[1] == pytest.approx(shape.at(8))
