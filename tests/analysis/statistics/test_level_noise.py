"""The noise of levels: moderated between them, widened by what repeats share, absent where repeats cannot show it."""

from __future__ import annotations

import numpy as np
import pytest

from engine_probe.analysis.statistics.level_noise import (
    LevelNoise,
    in_rounds,
    level_noise,
    off_curve,
    over_levels,
    prior_freedom,
    smallest_squares,
)
from engine_probe.analysis.statistics.repeats import Repeated, repeated

LOADS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
RATES = (10.0, 20.0, 40.0, 80.0, 80.0, 80.0, 80.0)


def noise_of(scatter: dict[int, float], shifts: tuple[float, ...] = (0.0,) * 7) -> LevelNoise:
    """Two repeats of each level, so far to each side of it."""
    groups = []
    for at, (rate, shift) in enumerate(zip(RATES, shifts, strict=True)):
        mean, apart = rate * (1 + shift), scatter.get(at, 0.01)
        groups.append([mean * (1 - apart), mean * (1 + apart)])
    found = level_noise(LOADS, groups)
    assert found is not None
    return found


def test_noise_is_of_all_levels_together() -> None:
    """9 and 11, 90 and 110, a tenth off their mean: a deviation of the root of 0.04 / 2; t is 4.303."""
    ten, hundred, one = over_levels([(1, [9, 11]), (2, [90, 110]), (4, [7])], apart=True)
    assert ten is not None
    assert hundred is not None
    assert one is not None
    assert ten.reach == pytest.approx(4.303 * 0.02**0.5 * 10 / 2**0.5, abs=1e-2)
    assert hundred.reach == pytest.approx(10 * (ten.reach or 0))
    assert one.reach == pytest.approx(4.303 * 0.02**0.5 * 7, abs=1e-2)


def test_what_is_not_above_zero_or_a_share_has_the_interval_of_its_own_repeats() -> None:
    measured = [(1.0, [0.0, 0.0]), (2.0, [1.0, None]), (4.0, [7.0])]
    assert over_levels(measured, apart=True) == [repeated([0.0, 0.0]), None, repeated([7])]
    share = [(1.0, [0.1, 0.3]), (2.0, [0.5, 0.5])]
    assert over_levels(share, apart=True, in_proportion=False) == [repeated([0.1, 0.3]), repeated([0.5, 0.5])]


def test_repeats_one_after_another_have_a_mean_and_no_interval() -> None:
    measured = [(1.0, [9.0, 11.0]), (2.0, [None, 1.0])]
    assert over_levels(measured, apart=False) == [Repeated(10.0, 2), None]
    assert in_rounds([(1, 0), (2, 1), (1, 2), (2, 3)])
    assert not in_rounds([(1, 0), (1, 1), (2, 2), (2, 3)])
    assert not in_rounds([(1, 0), (1, 1)])  # a single load: nothing lies between
    assert in_rounds([(1, 0), (2, 1)])  # no repeats
    assert in_rounds([(1, 0), (1, 1), (2, 2), (4, 3), (2, 4), (4, 5)])  # in a random order one load follows itself


def test_the_interval_of_a_noisier_level_is_wider_and_that_of_a_quiet_one_not_zero() -> None:
    found = noise_of({2: 0.08, 4: 0.0})
    reaches = [(found.interval(at, 2).reach or 0.0) / RATES[at] for at in range(len(RATES))]
    assert reaches[2] > 1.5 * reaches[0]
    assert 0 < reaches[4] < reaches[0]


def test_levels_that_vary_alike_share_two_degrees_of_freedom_and_others_fewer() -> None:
    assert prior_freedom([0.01] * 6, [2] * 6, 0.01) == 2
    assert 0 < prior_freedom([1e-4, 1e-2, 1e-4, 1.0, 1e-3, 1e-2], [8] * 6, 0.17) < 1


def test_noise_that_all_repeats_of_a_level_share_widens_every_interval() -> None:
    """Levels lie up to 10 % off a curve whose repeats lie 1 % apart."""
    quiet, shared = noise_of({}), noise_of({}, (0.1, -0.08, 0.05, -0.1, 0.09, -0.07, 0.1))
    assert quiet.shared == 0
    assert 0.04 < shared.shared_deviation < 0.2
    assert (shared.interval(6, 2).reach or 0) > 3 * (quiet.interval(6, 2).reach or 0)
    assert quiet.below_p(2, 6) < 0.01 < shared.below_p(3, 6)


def test_a_knee_is_no_noise() -> None:
    assert off_curve((1, 2, 4), (10, 20, 40)) == pytest.approx(0)
    assert off_curve((1, 2, 8), (1 / 3, 2 / 4, 8 / 10)) == pytest.approx(0)  # a step of 2 + n
    assert off_curve((1, 4, 16), (3, 6, 12)) == pytest.approx(0)  # a power of the load
    assert off_curve((4, 8, 16), (40, 80, 80)) > 0.01
    assert noise_of({}).shared == 0


def test_the_mean_of_the_smallest_squares_is_that_of_drawn_values() -> None:
    drawn = np.sort(np.random.default_rng(1).standard_normal((20000, 6)) ** 2, axis=1)
    assert smallest_squares(6, 4) == pytest.approx(float(drawn[:, :4].mean()), rel=0.02)
    assert smallest_squares(6, 6) == pytest.approx(1, rel=0.01)


def test_one_run_of_each_level_shows_no_noise() -> None:
    assert level_noise(LOADS, [[rate] for rate in RATES]) is None
