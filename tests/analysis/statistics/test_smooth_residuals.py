"""Residuals whose neighbours deviate alike are told from chance, whose size does not matter."""

from __future__ import annotations

import numpy as np
import pytest

from engine_probe.analysis.statistics.smooth_residuals import smooth_p

LINE = np.column_stack([np.ones(9), np.arange(9.0)])
HUMP = -((np.arange(9.0) - 4) ** 2)


def residuals(values: np.ndarray) -> np.ndarray:
    return values - LINE @ np.linalg.lstsq(LINE, values, rcond=None)[0]


@pytest.mark.lengthy
@pytest.mark.parametrize("noise", [0.01, 1.0, 100.0])
def test_of_independent_residuals_one_in_twenty_is_called_smooth(noise: float) -> None:
    chance = np.random.default_rng(1)
    found = [smooth_p(residuals(noise * chance.standard_normal(9)), LINE) for _ in range(2000)]
    assert 0.04 < np.mean([p is not None and p < 0.05 for p in found]) < 0.06


def test_a_hump_is_told_and_a_saw_is_not() -> None:
    chance = 0.1 * np.random.default_rng(1).standard_normal(9)
    hump, saw = (smooth_p(residuals(values + chance), LINE) for values in (HUMP, np.array([1.0, -1.0] * 4 + [1.0])))
    assert hump is not None
    assert saw is not None
    assert hump < 1e-4
    assert saw > 0.5


def test_what_a_parameter_takes_out_twice_counts_once() -> None:
    """A break between two levels moves no level: its column is zero, or that of another parameter."""
    values = residuals(HUMP + np.random.default_rng(2).standard_normal(9))
    again = np.column_stack([LINE, LINE[:, 1], np.zeros(9)])
    assert smooth_p(values, again) == pytest.approx(smooth_p(values, LINE))


def test_too_few_levels_show_nothing() -> None:
    assert smooth_p(np.array([1.0, -2.0, 1.0, 0.0]), LINE[:4]) is None
    assert smooth_p(np.zeros(9), LINE) is None
