"""A slope is told where a drift from run to run does not explain it."""

import numpy as np
import pytest
from scipy.stats import linregress

from engine_probe.analysis.statistics import slope_in_drift
from engine_probe.analysis.statistics.slope_in_drift import slope_in_drift_p

PLACES = np.tile(np.arange(8.0), 3)


def test_without_a_walk_it_is_the_test_of_a_straight_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slope_in_drift, "WALKS", (0.0,))
    values = 0.02 * PLACES + np.random.default_rng(1).standard_normal(24)
    assert slope_in_drift_p(PLACES, values) == pytest.approx(linregress(PLACES, values).pvalue)


def test_a_walk_over_time_is_told_as_a_slope_in_few_cases() -> None:
    """An ordinary test of a straight line tells one in over a tenth."""
    chance = np.random.default_rng(2)
    walks = [chance.standard_normal(24).cumsum() for _ in range(180)]
    assert np.mean([slope_in_drift_p(PLACES, walk) < 0.05 for walk in walks]) <= 0.07
    assert np.mean([linregress(PLACES, walk).pvalue < 0.05 for walk in walks]) > 0.1


def test_a_slope_is_told_through_a_walk() -> None:
    chance = np.random.default_rng(3)
    rising = [0.1 * chance.standard_normal(24).cumsum() + 0.2 * PLACES for _ in range(50)]
    assert np.mean([slope_in_drift_p(PLACES, each) < 0.05 for each in rising]) > 0.9


def test_two_runs_have_no_slope_and_an_exact_one_is_told() -> None:
    assert slope_in_drift_p(np.array([0.0, 1.0]), np.array([1.0, 2.0])) == 1.0
    assert slope_in_drift_p(PLACES, 1 + PLACES) < 1e-6
    assert slope_in_drift_p(PLACES, np.ones(24)) > 0.05
