"""The power of the best test is right where it is known: a shape that is fitted, and a level off a straight line."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import t

from tools.calibration.claims import TOPICS
from tools.calibration.oracle import least_distance, powers, powers_for_change
from tools.calibration.simulated.noise import KINDS, covariance_of_levels, draw_factors
from tools.calibration.simulated.shapes import Shape, capped, linear, logarithmic
from tools.calibration.simulated.sweeps import Sweep

LOADS = (1, 2, 4, 8, 16, 32, 64)
NO_RATES = np.ones((len(LOADS), 3))


def swept(shape: Shape, deviation: float, condition: str = "independent") -> Sweep:
    return Sweep(shape, condition, deviation, LOADS, NO_RATES, 1.0)


def test_a_fitted_shape_is_told_as_often_as_the_test_is_wrong() -> None:
    assert powers(swept(Shape("", capped(linear, 16.0), 64.0), 0.01)) == pytest.approx((0.05, 0.05), abs=0.002)


@pytest.mark.lengthy
def test_the_power_falls_with_the_noise_and_where_its_size_is_not_known() -> None:
    shape = Shape("logarithmic", logarithmic(0.5), 64.0)
    found = [powers(swept(shape, deviation)) for deviation in (0.02, 0.2, 2.0)]
    assert found == sorted(found, reverse=True)
    assert all(known > unknown for known, unknown in found[1:])
    assert found[0][0] > 0.99
    assert found[-1][0] < 0.1


@pytest.mark.lengthy
def test_the_distance_is_in_units_of_the_noise_of_a_mean() -> None:
    shape = Shape("logarithmic", logarithmic(0.5), 64.0)
    one, half = (least_distance(swept(shape, deviation)) for deviation in (0.02, 0.01))
    more = least_distance(replace(swept(shape, 0.02), rates=np.ones((len(LOADS), 12))))
    assert half == pytest.approx(4 * one, rel=0.01)
    assert more == pytest.approx(4 * one, rel=0.01)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("heavy tails", "unequal")])
def test_the_covariance_is_that_of_the_simulated_noise(kind: str) -> None:
    chance, drawn = np.random.default_rng(1), []
    for _ in range(4000):
        factors = draw_factors(chance, kind, 0.02, 4, 3)
        drawn.append((factors.runs / factors.occasion).mean(axis=1) - 1)
    known = covariance_of_levels(kind, 0.02, 4, 3, None)
    assert np.cov(np.array(drawn).T) == pytest.approx(known, abs=0.1 * known.max())


def test_a_change_is_told_as_often_as_by_student_s_t_of_simulated_runs() -> None:
    chance, points, repeats, cases = np.random.default_rng(4), 5, 3, 4000
    runs = 0.02 * chance.standard_normal((cases, 2, points, repeats))
    means, freedom = runs[:, :, 0].mean(axis=-1), 2 * points * (repeats - 1)
    errors = np.sqrt(runs.var(axis=-1, ddof=1).mean(axis=(1, 2)) * 2 / repeats)
    told = np.abs(means[:, 1] + np.log(0.95) - means[:, 0]) / errors > t.ppf(0.975, freedom)
    known, unknown = powers_for_change(-0.05, 0.02, repeats, points)
    assert unknown == pytest.approx(told.mean(), abs=3 * np.sqrt(0.85 * 0.15 / cases))
    assert known > unknown


def test_the_best_power_where_the_noise_is_known_is_the_one_that_the_table_names() -> None:
    """The z-test: log(1 / 0.95) is 3.14 times 0.02 sqrt(2 / 3), 1.18 past 1.96; 88.1 % of chance lies below that."""
    known, _ = powers_for_change(-0.05, 0.02, 3, 9)
    assert known == pytest.approx(0.881, abs=0.0005)
    assert f"{100 * known:.1f} %" in TOPICS["-5 %: interval within the sweeps below zero at a point"].definition
    assert powers_for_change(0.0, 0.02, 3, 9) == pytest.approx((0.05, 0.05))
