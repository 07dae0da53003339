"""Percentiles by mental arithmetic; what a sample cannot say it does not say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine_probe.analysis.statistics.sample import Sample


def test_a_percentile_lies_between_the_two_nearest_values() -> None:
    sample = Sample.of(range(101))
    assert sample.percentiles((25, 50, 90, 99)) == [25, 50, 90, 99]
    assert sample.mean() == 50
    assert sample.spread() == 25
    assert Sample.of([4, 1, 2, 3]).percentiles((25, 50)) == [1.75, 2.5]


def test_small_samples_have_a_median_and_no_tail() -> None:
    assert Sample.of([3, 1, 2]).percentiles((50, 90, 99)) == [2, None, None]
    assert Sample.of(range(1, 11)).percentiles((50, 90, 99)) == [5.5, pytest.approx(9.1), None]
    assert Sample.of([]).percentiles((50,)) == [None]
    assert Sample.of([]).mean() is None


def test_weights_count_as_often_as_they_say() -> None:
    assert Sample(np.array([10.0, 20.0]), np.array([99, 1])).percentiles((50, 99)) == [10, pytest.approx(10.1)]
    assert Sample(np.array([20.0, 10.0]), np.array([2, 98])).percentiles((50, 99)) == [10, 20]
    assert Sample(np.array([20.0, 10.0]), np.array([1, 1])).deviation() == 5


@given(st.lists(st.floats(-1e12, 1e12), min_size=1, max_size=200), st.lists(st.floats(0, 100), min_size=1))
def test_it_is_the_percentile_of_numpy_and_so_of_vllm_bench(values: list[float], percents: list[float]) -> None:
    assert Sample.of(values).interpolated(percents).tolist() == np.percentile(values, percents).tolist()


@pytest.mark.lengthy
@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 9)), min_size=1, max_size=40))
def test_a_weighted_sample_equals_the_long_way_round(pairs: list[tuple[int, int]]) -> None:
    values, weights = np.array(pairs).T
    short = Sample(values.astype(float), weights)
    long = Sample.of(np.repeat(values, weights))
    assert short.percentiles((25, 50, 90, 99)) == long.percentiles((25, 50, 90, 99))
    assert short.count == long.count
    assert short.mean() == pytest.approx(long.mean())
    assert short.deviation() == pytest.approx(np.std(long.values))
