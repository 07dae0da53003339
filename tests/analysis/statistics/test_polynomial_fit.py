"""A line and a parabola through values whose truth is known: coefficients, intervals, and how often they err."""

from __future__ import annotations

import numpy as np
import pytest

from engine_probe.analysis.statistics.polynomial_fit import line_or_parabola, polynomial

LENGTHS = [8000.0 * number for number in range(1, 17)]


def times(square: float = 0.0, noise: float = 0.01, seed: int = 0, overhead: float = 20.0) -> list[float]:
    """Return milliseconds: an overhead, 0.05 ms for each token, a square, and noise in proportion."""
    chance = np.random.default_rng(seed)
    return [
        (overhead + 0.05 * length + square * length**2) * float(1 + noise * chance.standard_normal())
        for length in LENGTHS
    ]


def test_without_noise_the_truth_is_found() -> None:
    fit = line_or_parabola(LENGTHS, times(noise=0.0))
    assert fit is not None
    assert not fit.bends
    assert [each.value for each in fit.best.coefficients] == pytest.approx([20.0, 0.05])
    assert fit.best.explained == pytest.approx(1.0)
    assert fit.best.at(1000.0) == pytest.approx(70.0)
    bent = line_or_parabola(LENGTHS, times(square=1e-7, noise=0.0))
    assert bent is not None
    assert bent.bends
    assert [each.value for each in bent.best.coefficients] == pytest.approx([20.0, 0.05, 1e-7])


@pytest.mark.lengthy
def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    found = [polynomial(LENGTHS, times(seed=seed), 1).coefficients for seed in range(400)]
    for power, truth in enumerate((20.0, 0.05)):
        held = sum(each[power].low <= truth <= each[power].high for each in found)
        assert 0.92 < held / len(found) < 0.98


@pytest.mark.lengthy
def test_a_line_is_called_a_parabola_no_more_often_than_it_says_and_a_parabola_is_found() -> None:
    lines = [line_or_parabola(LENGTHS, times(seed=seed)) for seed in range(400)]
    assert 0.03 < sum(fit.bends for fit in lines if fit) / 400 < 0.08
    # At the longest prompt attention is a tenth of the time.
    parabolas = [line_or_parabola(LENGTHS, times(square=0.05 / 9 / 128000, seed=seed)) for seed in range(100)]
    assert sum(fit.bends for fit in parabolas if fit) > 95


@pytest.mark.lengthy
def test_no_overhead_is_shown_where_there_is_none() -> None:
    found = [polynomial(LENGTHS, times(overhead=0.0, seed=seed), 1).coefficients[0] for seed in range(400)]
    assert 0.03 < sum(each.p < 0.05 for each in found) / 400 < 0.08
    shown = [polynomial(LENGTHS, times(overhead=20.0, seed=seed), 1).coefficients[0] for seed in range(100)]
    assert sum(each.low > 0 for each in shown) > 95


def test_repeats_at_a_length_count_by_their_mean() -> None:
    fit = polynomial([1.0, 1.0, 2.0, 2.0, 3.0, 3.0], [1.0, 3.0, 2.0, 4.0, 3.0, 5.0], 1)
    assert fit.at(2.0) == pytest.approx(3.0)
    assert fit.at(1.0) == pytest.approx(2.0)


@pytest.mark.parametrize(("xs", "ys"), [([1, 1, 2], [1, 1, 2]), ([1, 2, 3], [1, 0, 2]), ([1, 2], [1, 2])])
def test_too_little_is_no_fit(xs: list[float], ys: list[float]) -> None:
    assert line_or_parabola(xs, ys) is None


def test_three_lengths_are_no_parabola() -> None:
    fit = line_or_parabola([1, 2, 3, 3], [1, 4, 9, 9.1])
    assert fit is not None
    assert fit.parabola is None
    assert fit.best is fit.line
