"""The frontier of levels whose truth is known: who is on it, who is dominated, and what noise leaves open."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from engine_probe.analysis.pareto import Frontier, Served, ServingCurve, ServingLevel, frontier, serving_curve
from engine_probe.analysis.statistics.repeats import Repeated

UNIT = "concurrent requests"
SECOND = 10**9


def curve(name: str, *levels: tuple[float, float, float], reach: float | None = None) -> ServingCurve:
    """Levels of load, tokens/s per user and per GPU; `reach` is half the width of each interval, relative."""
    return ServingCurve(
        name, UNIT, tuple(ServingLevel(load, around(user, reach), around(gpu, reach), 1) for load, user, gpu in levels)
    )


def around(mean: float, reach: float | None) -> Repeated:
    return Repeated(mean, 1) if reach is None else Repeated(mean, 3, mean * (1 - reach), mean * (1 + reach))


def statuses(found: Frontier) -> dict[tuple[str, float], str]:
    return {(each.curve.name, each.level.load): each.status for each in found.placed}


def test_a_curve_that_trades_one_for_the_other_is_all_frontier() -> None:
    found = frontier([curve("", (1, 100, 100), (8, 60, 480), (32, 30, 960))])
    assert set(statuses(found).values()) == {"frontier"}
    assert [each.level.load for each in found.levels] == [32, 8, 1]
    assert [(each.after, each.to) for each in found.stretches] == [(0, 100)]


def test_a_level_whose_tokens_took_no_time_has_no_place() -> None:
    found = serving_curve("", UNIT, [Served(1, 0, 10.0, 0.0, 1), Served(2, 1, 20.0, 5e6, 1)])
    assert found is not None
    assert [(level.load, level.per_user.mean) for level in found.levels] == [(2, 200)]


def test_more_load_that_gives_less_of_both_is_dominated() -> None:
    found = frontier([curve("", (8, 60, 480), (16, 50, 800), (64, 10, 700))])
    assert statuses(found)["", 64] == "dominated"
    (below,) = found.dominated
    assert below.better is not None
    assert below.better.load == 16


def test_two_settings_share_the_frontier_where_they_cross() -> None:
    small = curve("small", (1, 90, 90), (16, 55, 880), (32, 40, 1200))
    large = curve("large", (1, 150, 75), (8, 110, 440), (32, 60, 1000))
    found = frontier([small, large])
    assert {key for key, status in statuses(found).items() if status == "dominated"} == {("small", 1), ("small", 16)}
    assert [(each.name, each.after, each.to) for each in found.stretches] == [("small", 0, 40), ("large", 40, 150)]


def test_a_stretch_ends_where_another_curve_is_best() -> None:
    found = frontier([curve("a", (1, 100, 100), (8, 60, 480)), curve("b", (4, 80, 300))])
    assert [(each.name, each.after, each.to) for each in found.stretches] == [
        ("a", 0, 60),
        ("b", 60, 80),
        ("a", 80, 100),
    ]


@pytest.mark.parametrize(("reach", "status"), [(None, "dominated"), (0.02, "dominated"), (0.06, "not told apart")])
def test_a_level_whose_interval_overlaps_is_not_called_dominated(reach: float | None, status: str) -> None:
    """Ten per cent below in both."""
    found = frontier([curve("good", (8, 50, 400), reach=reach), curve("bad", (8, 45, 360), reach=reach)])
    assert statuses(found) == {("good", 8): "frontier", ("bad", 8): status}


def test_settings_that_are_not_told_apart_share_one_stretch() -> None:
    one = curve("one", (1, 100, 100), (8, 60, 480), (32, 30, 960), reach=0.05)
    other = curve("other", (1, 99, 101), (8, 61, 478), (32, 29.9, 961), reach=0.05)
    (stretch,) = frontier([one, other]).stretches
    assert {stretch.name, *stretch.rivals} == {"one", "other"}
    exact = frontier([curve("one", (1, 100, 100), (8, 60, 480)), curve("other", (1, 99, 101), (8, 61, 478))])
    assert [stretch.name for stretch in exact.stretches] == ["one", "other", "one"]


def test_equal_levels_are_both_on_the_frontier() -> None:
    found = frontier([curve("a", (8, 50, 400)), curve("b", (8, 50, 400))])
    assert set(statuses(found).values()) == {"frontier"}


def served(tpots_ms: Sequence[float], gpus: int | None = 2, rate: float | None = 800.0) -> list[Served]:
    return [Served(8, place * SECOND, rate, ms * 1e6, gpus) for place, ms in enumerate(tpots_ms)]


def test_a_level_is_the_mean_of_its_repeats_over_its_gpus() -> None:
    points = [
        Served(load, (2 * repeat + (load > 1)) * SECOND, 100.0 * load * (1 + 0.01 * repeat), 20e6 + 1e6 * repeat, 2)
        for repeat in range(3)
        for load in (1, 8)
    ]
    found = serving_curve("tp 2", UNIT, points)
    assert found is not None
    one, eight = found.levels
    assert one.per_user.mean == pytest.approx(1000 / 21)
    assert eight.per_gpu.mean == pytest.approx(404)
    assert one.per_user.low is not None
    assert one.per_user.high is not None
    assert one.per_user.low < 1000 / 21 < one.per_user.high
    assert eight.gpus == 2


@pytest.mark.parametrize(
    "points", [served([20.0], gpus=None), served([20.0], rate=None), [Served(8, 0, 800.0, None, 1)], []]
)
def test_without_gpus_rate_or_second_token_there_is_no_curve(points: list[Served]) -> None:
    assert serving_curve("", UNIT, points) is None


def test_noise_that_could_be_anything_has_no_highest_speed() -> None:
    found = serving_curve("", UNIT, [*served([10.0, 40.0])])
    assert found is not None  # one after the other, so without an interval
    assert not found.levels[0].has_intervals
    wild = [
        Served(load, (3 * repeat + load) * SECOND, 100.0, (10e6, 90e6)[repeat], 1)
        for repeat in (0, 1)
        for load in (1, 2)
    ]
    spread = serving_curve("", UNIT, wild)
    assert spread is not None
    assert spread.levels[0].per_user.high == math.inf


@pytest.mark.lengthy
def test_of_equal_settings_a_level_is_rarely_called_dominated() -> None:
    """Two settings with the same truth, three repeats with 3 % noise: nothing is dominated but by chance."""
    chance, wrong, levels = np.random.default_rng(7), 0, 0
    for _ in range(100):
        curves = []
        for name in ("a", "b"):
            points = []
            for repeat in range(3):
                for place, load in enumerate((1, 4, 8, 16, 32)):
                    step_ms = (10 + 0.5 * load) * (1 + 0.03 * float(chance.standard_normal()))
                    points.append(Served(load, (10 * repeat + place) * SECOND, 1e3 * load / step_ms, step_ms * 1e6, 1))
            curves.append(serving_curve(name, UNIT, points))
        found = frontier([each for each in curves if each is not None])
        wrong += len(found.dominated)
        levels += len(found.placed)
    assert wrong / levels < 0.01
