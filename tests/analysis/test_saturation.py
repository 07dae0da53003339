"""Planted knees are found, and what the levels do not show is not said."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from engine_probe.analysis.saturation import Level, saturation

Curve = Callable[[float], float]


def level(concurrency: int, rate: float, kv: float = 0.5, waited: bool = False, running: int | None = None) -> Level:
    return Level(concurrency, rate, running or concurrency, kv, waited)


def broken_line(knee: float, peak: float, slopes: tuple[float, float, float]) -> Curve:
    """Proportional up to the knee, slower up to the peak, then falling."""
    first, second, third = slopes
    return lambda n: first * min(n, knee) + second * max(0, min(n, peak) - knee) + third * max(0, n - peak)


def test_knee_and_peak_of_a_line_drawn_by_hand() -> None:
    """10 tokens/s per request up to 20, 5 up to 40, then 2 less for each."""
    line = broken_line(20, 40, (10, 5, -2))
    found = saturation([level(n, line(n)) for n in range(10, 90, 10)])
    assert found.equilibrium is not None
    assert found.saturation is not None
    assert (found.equilibrium.load, found.equilibrium.low, found.equilibrium.high) == (20, 20, 20)
    assert (found.saturation.load, found.saturation.low, found.saturation.high) == (40, 40, 40)
    assert [found.region(n) for n in (10, 20, 30, 40, 50)] == ["spare", "spare", "shared", "shared", "overload"]
    assert found.best is not None
    assert (found.best.load, found.best.output_tokens_per_s) == (40, 300)
    assert found.growth is not None
    assert found.growth.slopes == pytest.approx((10, 5, -2))


@pytest.mark.parametrize("seed", range(200))
def test_a_planted_knee_is_found_within_one_step(seed: int) -> None:
    chance = np.random.default_rng(seed)
    grid = [1, *range(10, 10 * int(chance.integers(11, 18)), 10)]
    knee = int(chance.integers(3, len(grid) - 6))
    peak = int(chance.integers(knee + 3, len(grid) - 2))
    first = chance.uniform(5, 500)
    slopes = (first, first * chance.uniform(0.2, 0.5), -first * chance.uniform(0.2, 0.5))
    line = broken_line(grid[knee], grid[peak], slopes)
    found = saturation([level(n, line(n) * chance.normal(1, 0.01)) for n in grid])
    assert found.equilibrium is not None
    assert found.saturation is not None
    assert abs(grid.index(int(found.equilibrium.load)) - knee) <= 1
    assert abs(grid.index(int(found.saturation.load)) - peak) <= 1
    assert found.equilibrium.low <= found.equilibrium.load <= found.equilibrium.high


def test_a_throughput_that_only_grows_has_no_end() -> None:
    found = saturation([level(n, 7.0 * n) for n in (1, 2, 4, 8, 16)])
    assert (found.equilibrium, found.saturation) == (None, None)
    assert found.region(8) == "spare"
    assert found.notes == ("5 levels show no end of proportional growth",)


def test_a_plateau_is_no_fall() -> None:
    found = saturation([level(n, min(n, 8) * 10.0) for n in (1, 2, 4, 8, 16, 32)])
    assert found.saturation is not None
    assert found.saturation.load == 8
    assert found.region(32) == "plateau"


def test_a_break_that_noise_hides_has_a_range() -> None:
    chance = np.random.default_rng(1)
    line = broken_line(40, 100, (10, 6, -3))
    found = saturation([level(n, line(n) * chance.normal(1, 0.05)) for n in range(10, 160, 10)])
    assert found.equilibrium is not None
    assert found.equilibrium.low < found.equilibrium.high


def test_levels_that_jump_about_show_no_knee() -> None:
    found = saturation(
        [level(n, rate) for n, rate in ((1, 220), (2, 800), (4, 1500), (8, 1100), (16, 4600), (32, 2600))]
    )
    assert (found.growth, found.equilibrium, found.saturation) == (None, None, None)
    assert found.best is not None
    assert found.best.load == 16
    assert "off any broken line" in found.notes[0]


def test_one_level_is_a_figure_and_no_curve() -> None:
    found = saturation([level(8, 100.0)])
    assert (found.best, found.growth, found.equilibrium, found.region(8)) == (None, None, None, None)
    assert found.notes == ("one level alone shows neither knee nor peak",)
    assert saturation([]).levels == ()


def test_levels_without_a_throughput_are_left_out_aloud() -> None:
    found = saturation([level(1, 10.0), level(2, math.nan), level(4, 0.0), level(8, 80.0)])
    assert [level.load for level in found.levels] == [1, 8]
    assert found.notes[0] == "2 of 4 levels have no throughput"


def test_levels_that_repeats_cannot_tell_from_the_best() -> None:
    """100 and 110 lie closer than their own repeats do; 50 does not."""
    repeats = {2: (49.0, 51.0, 50.0), 4: (90.0, 110.0, 100.0), 8: (100.0, 120.0, 110.0)}
    found = saturation([Level(n, sum(rates) / 3, n, 0.5, False, rates) for n, rates in repeats.items()])
    assert [level.load for level in found.not_different] == [4]
    assert found.best is not None
    assert found.best.spread == pytest.approx(10 / 110)
    assert saturation([level(1, 10), level(2, 20)]).not_different == ()


def test_the_pool_fills_between_two_levels() -> None:
    """Each request takes a tenth of the pool."""
    found = saturation([level(4, 40, 0.4), level(8, 80, 0.8), level(16, 90, 1.0, waited=True)]).kv
    assert (found.after, found.reached) == (8, 16)
    assert found.derived == pytest.approx((10, 10))
    assert not found.predicted


def test_a_pool_that_was_never_full_is_only_predicted() -> None:
    found = saturation([level(80, 40, 0.4), level(160, 80, 0.8)]).kv
    assert (found.after, found.reached) == (160, None)
    assert found.derived == pytest.approx((200, 200))
    assert found.predicted


def test_a_pool_that_was_full_from_the_start_tells_no_size() -> None:
    found = saturation([level(4, 40, 1.0, waited=True)]).kv
    assert (found.after, found.reached, found.derived) == (None, 4, None)


def test_a_batch_smaller_than_the_level_is_what_fills_the_pool() -> None:
    """Only 50 of 400 requests run at once, in a quarter of the pool."""
    found = saturation([level(400, 40, 0.25, running=50)]).kv
    assert found.derived == pytest.approx((200, 200))
