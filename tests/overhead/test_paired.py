"""Paired differences recover a planted cost, and their intervals say what they cannot tell."""

import math

import numpy as np
import pytest

from engine_probe.overhead.paired import MET, MISSED, UNTOLD, ColdCaches, PairedEstimate, estimate, ratio


def noisy(cost: float, pairs: int = 1000, between: float = 50.0, seed: int = 3) -> np.ndarray:
    """Differences with a planted cost, whose subjects differ by `between`, which changes sides half-way."""
    random = np.random.default_rng(seed)
    drift = np.repeat(random.normal(0, 2, (2, pairs // 10)), 10, axis=1)
    return cost + np.array([[between], [-between]]) + drift + random.standard_t(2, (2, pairs))


def test_a_difference_between_the_subjects_cancels() -> None:
    found = estimate(noisy(6.0))
    assert found.median == pytest.approx(6.0, abs=0.5)
    assert found.half_width < 0.6


@pytest.mark.lengthy
def test_intervals_contain_the_planted_cost_as_often_as_they_say() -> None:
    """Neighbours share the drift: intervals that took them for independent would hold it in about half of the runs."""
    runs = [estimate(noisy(6.0, pairs=400, seed=seed)) for seed in range(100)]
    assert sum(run.low <= 6.0 <= run.high for run in runs) >= 88


def test_a_ratio_comes_from_the_same_pairs() -> None:
    shared = np.random.default_rng(1).normal(0, 1, (2, 1000))
    found = ratio(10 * (6 + shared), 6 + shared)
    assert (found.median, found.low, found.high) == pytest.approx((10, 10, 10))
    assert ratio(noisy(60.0), noisy(0.0)).high == math.inf


def test_a_verdict_needs_the_whole_interval() -> None:
    found = PairedEstimate(6.0, 4.0, 8.0)
    assert [found.at_most(limit) for limit in (8.0, 5.0, 3.9)] == [MET, UNTOLD, MISSED]
    assert [found.at_least(limit) for limit in (4.0, 5.0, 8.1)] == [MET, UNTOLD, MISSED]


def test_making_caches_cold_writes_memory() -> None:
    chill = ColdCaches()
    chill()
    chill()
    assert set(chill._memory) == {2.0}
