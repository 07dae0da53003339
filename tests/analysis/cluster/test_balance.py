"""Which engine is slower than the others, and how often chance looks like one."""

from __future__ import annotations

import math

import numpy as np
import pytest

from engine_probe.analysis.cluster.balance import balance


def rates(engines: int, repeats: int, noise: float, slow: float = 1.0, seed: int = 0) -> list[list[float]]:
    """Return rates around 100, the last engine's times `slow`; each repeat moves all engines alike."""
    random = np.random.default_rng(seed)
    figures = 100 * np.exp(random.normal(0, 0.1, (repeats, 1)) + random.normal(0, noise, (repeats, engines)))
    figures[:, -1] *= slow
    return figures.tolist()


def test_a_slow_engine_is_found_although_repeats_differ_more() -> None:
    found = balance(rates(12, 3, noise=0.005, slow=0.95))
    assert found is not None
    assert [bias.engine for bias in found.biased] == [11]
    (slow,) = found.biased
    assert slow.low < 0.95 < slow.high < 1
    assert found.means.index(min(found.means)) == 11


def test_engines_that_are_exactly_equal_are_none_of_them_accused() -> None:
    """As predicted ones can be: the mean of equal logarithms is off by a rounding error, which no noise explains."""
    for engines in range(2, 8):
        found = balance([[48.21] * engines] * 3)
        assert found is not None
        assert found.biased == ()


def test_without_noise_the_one_that_differs_is_named() -> None:
    found = balance([[100.0, 101.0, 100.0]] * 2)
    assert found is not None
    assert [bias.engine for bias in found.biased] == [1]


def test_of_two_engines_the_slower_is_named() -> None:
    found = balance([[100.0, 90.0], [102.0, 91.0], [99.0, 90.5]])
    assert found is not None
    (slower,) = found.biased
    assert slower.engine == 1
    # The paired t-test of the logarithms' differences, by hand.
    gaps = np.log(np.array([90 / 100, 91 / 102, 90.5 / 99]))
    assert slower.ratio == pytest.approx(math.exp(gaps.mean()))
    assert slower.high / slower.ratio == pytest.approx(math.exp(4.302652730 * gaps.std(ddof=1) / math.sqrt(3)))


def test_equal_engines_are_rarely_accused() -> None:
    accused = sum(bool(found.biased) for seed in range(400) if (found := balance(rates(6, 4, 0.02, seed=seed))))
    assert accused / 400 < 0.08  # 5 % of the families, and chance


def test_a_single_measurement_has_a_spread_and_no_test() -> None:
    found = balance([[100.0, 110.0, 105.0]])
    assert found is not None
    assert found.spread == pytest.approx(0.1)
    assert found.biased == ()


def test_equal_figures_are_no_division_by_zero() -> None:
    found = balance([[5.0, 5.0], [5.0, 5.0]])
    assert found is not None
    assert found.biased == ()


@pytest.mark.parametrize("repeats", [[[100.0]], [[100.0, 0.0]], [[100.0, math.nan]]])
def test_what_has_no_balance(repeats: list[list[float]]) -> None:
    assert balance(repeats) is None
