"""The power of the best test is right where it is known: a shape that is fitted, and a level off a straight line."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tools.calibration.oracle import least_distance, powers
from tools.calibration.simulated.noise import KINDS, covariance_of_levels, draw_factors
from tools.calibration.simulated.shapes import Shape, capped, linear, logarithmic
from tools.calibration.simulated.sweeps import Sweep

LOADS = (1, 2, 4, 8, 16, 32, 64)
NO_RATES = np.ones((len(LOADS), 3))


def swept(shape: Shape, deviation: float, condition: str = "independent") -> Sweep:
    return Sweep(shape, condition, deviation, LOADS, NO_RATES, 1.0)


def test_a_fitted_shape_is_told_as_often_as_the_test_is_wrong() -> None:
    assert powers(swept(Shape("", capped(linear, 16.0), 64.0), 0.01)) == pytest.approx((0.05, 0.05), abs=0.002)


def test_the_power_falls_with_the_noise_and_where_its_size_is_not_known() -> None:
    shape = Shape("logarithmic", logarithmic(0.5), 64.0)
    found = [powers(swept(shape, deviation)) for deviation in (0.02, 0.2, 2.0)]
    assert found == sorted(found, reverse=True)
    assert all(known > unknown for known, unknown in found[1:])
    assert found[0][0] > 0.99
    assert found[-1][0] < 0.1


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
