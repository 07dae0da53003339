"""A planted change is found where it is, and without one hardly ever."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from engine_probe.analysis.compare import changes
from engine_probe.analysis.compare.changes import METRICS, Metric
from engine_probe.analysis.compare.trend import FEWEST, Trend, trends

RATE = METRICS[0]
(TTFT,) = (metric for metric in METRICS if metric.name == "ttft_p50_ms")
(PREEMPTIONS,) = (metric for metric in METRICS if metric.name == "preemptions")


def noisy(seed: int, count: int, changes: Sequence[tuple[int, float]] = (), noise: float = 0.01) -> list[float]:
    """A rate of 1,000 with noise in proportion to it; from each place on it is multiplied by a factor."""
    values = 1000 * np.exp(noise * np.random.default_rng(seed).standard_normal(count))
    for at, factor in changes:
        values[at:] *= factor
    return [float(value) for value in values]


def one(values: Sequence[float], metric: Metric = RATE) -> Trend:
    (found,) = trends([(metric, values)])
    return found


def places(found: Trend) -> list[int]:
    return [shift.at for shift in found.shifts]


@pytest.mark.lengthy
@pytest.mark.parametrize(("count", "at"), [(6, 3), (10, 4), (10, 9), (20, 15)])
def test_a_change_of_ten_deviations_is_found_where_it_is(count: int, at: int) -> None:
    found = one(noisy(1, count, [(at, 0.9)]))
    assert places(found) == [at]
    assert found.shifts[0].relative == pytest.approx(-0.1, abs=0.02)
    assert found.is_worse(found.shifts[0])


def test_a_fall_and_a_rise_are_two_changes() -> None:
    found = one(noisy(2, 15, [(5, 0.85), (10, 1.2)]))
    assert places(found) == [5, 10]
    assert [found.is_worse(shift) for shift in found.shifts] == [True, False]


def test_of_two_hundred_sequences_without_a_change_few_show_one() -> None:
    """Five in a hundred may, by the definition of the test."""
    false = sum(bool(one(noisy(seed, 8)).shifts) for seed in range(200))
    assert false <= 18


def test_many_figures_are_corrected_together() -> None:
    """Of twenty without a change, some show one alone and none among all."""
    several = [(RATE, noisy(seed, 8)) for seed in range(60)]
    assert any(one(values).shifts for _, values in several)
    assert not any(found.shifts for found in trends(several))


def test_few_or_equal_occasions_are_not_tested() -> None:
    assert not one(noisy(1, FEWEST - 1, [(2, 0.5)])).tested
    assert not one([5.0] * 8).tested
    assert one([5.0] * 8).intervals == (None,) * 8
    assert one(noisy(1, FEWEST)).tested


def test_counts_are_compared_as_they_are_and_may_be_zero() -> None:
    found = one([0, 1, 0, 1, 0, 9, 8, 9, 10], PREEMPTIONS)
    assert places(found) == [5]
    assert found.shifts[0].before == pytest.approx(0.4)


def test_the_interval_is_that_of_the_scatter_between_changes() -> None:
    quiet, changed = one(noisy(3, 12)), one(noisy(3, 12, [(6, 0.5)]))
    assert places(changed) == [6]
    for same, half in zip(quiet.intervals[6:], changed.intervals[6:], strict=True):
        assert same is not None
        assert half is not None
        assert half[1] / half[0] == pytest.approx(same[1] / same[0], rel=0.05)


def test_a_longer_time_is_worse() -> None:
    found = one(noisy(1, 10, [(5, 1.2)]), TTFT)
    assert found.is_worse(found.shifts[0])


def test_a_single_measurement_is_tested_by_the_scatter_of_those_before() -> None:
    before = [100.0, 101.0, 99.0, 100.5, 99.5]
    like, unlike = changes.tested(before, [100.4]), changes.tested(before, [90.0])
    assert like[0] is not None
    assert unlike[0] is not None
    assert like[0] > 0.5 > 0.001 > unlike[0]
    assert like[1] is not None
    assert unlike[1] is not None
    assert like[1][0] < 0 < like[1][1]
    assert unlike[1][1] < 0


def test_it_is_not_tested_by_too_few_before() -> None:
    assert changes.tested([100.0, 101.0], [90.0]) == (None, None)
    assert changes.tested([100.0] * 4, [90.0]) == (None, None)
