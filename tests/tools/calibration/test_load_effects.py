"""Simulated runs over load have the effect that they are given."""

from __future__ import annotations

import numpy as np
import pytest

from engine_probe.analysis.compare.load_effect import OutcomeFigure, effects
from tools.calibration.load_effects import FIGURES, effect_claims, runs


def test_a_figure_rises_by_its_change_from_the_lowest_to_the_highest_load() -> None:
    made = list(runs(np.random.default_rng(1), "independent", 6, 200, 0.15))
    means = [np.mean([run.values[FIGURES[0]] for run in made if run.load == load]) for load in (1.0, 6.0)]
    assert means[1] / means[0] == pytest.approx(1.15, abs=0.02)


def test_runs_begin_in_the_order_that_the_noise_states() -> None:
    for kind, repeats_first in (("drift, level by level", True), ("drift, interleaved", False)):
        made = sorted(runs(np.random.default_rng(1), kind, 3, 2, 0.0), key=lambda run: run.started)
        expected = [1, 1, 2, 2, 3, 3] if repeats_first else [1, 2, 3, 1, 2, 3]
        assert [run.load for run in made] == expected, kind


@pytest.mark.lengthy
def test_under_independent_noise_effects_are_seldom_told_where_there_are_none() -> None:
    outcomes, told = [OutcomeFigure(name, "ms") for name in FIGURES], 0
    for seed in range(30):
        found = effects(list(runs(np.random.default_rng([5, seed]), "independent", 6, 2, 0.0)), outcomes)
        (claim,) = effect_claims(found, changes=False)
        told += bool(claim.happened)
    assert told <= 3


def test_of_loads_measured_in_their_order_no_effect_of_load_is_claimed() -> None:
    outcomes = [OutcomeFigure(name, "ms") for name in FIGURES]
    for repeats in (1, 3):
        made = list(runs(np.random.default_rng(1), "drift, level by level", 6, repeats, 0.0))
        (claim,) = effect_claims(effects(made, outcomes), changes=False)
        assert claim.happened is None
