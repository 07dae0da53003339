"""Simulated sweeps have the loads, the repeats and the drain that they are given."""

from __future__ import annotations

import numpy as np
import pytest

from tools.calibration.simulated.sweeps import (
    CONDITIONS,
    IN_PROPORTION,
    MOST_REPEATS,
    SAME_NUMBER,
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


def test_the_same_number_of_requests_bends_a_curve_that_does_not_bend() -> None:
    """At low loads the drain is a small part of the run; in proportion to load it is about as large at every load."""
    losses = {}
    for condition in (IN_PROPORTION, SAME_NUMBER):
        sweeps = [draw_sweep(np.random.default_rng(seed), "linear", condition) for seed in range(40)]
        ratios = [
            [sweep.rates[place].mean() / sweep.shape.at(sweep.loads[place]) for place in (1, -1)] for sweep in sweeps
        ]
        losses[condition] = 1 - np.mean(ratios, axis=0)
    assert losses[SAME_NUMBER][0] < 0.1
    assert losses[SAME_NUMBER][1] > losses[SAME_NUMBER][0] + 0.1
    assert losses[IN_PROPORTION][0] > losses[SAME_NUMBER][0]
