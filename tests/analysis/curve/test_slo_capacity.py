"""The most load that meets an SLO, and which levels would tell it more closely."""

from __future__ import annotations

import dataclasses
import math
import random
from typing import Any

import pytest

from engine_probe.analysis.curve.growth import Boundary
from engine_probe.analysis.curve.levels import PointFigures
from engine_probe.analysis.curve.next_levels import Offer, sharpen_saturation, sharpen_slo, split
from engine_probe.analysis.curve.saturation import Level, saturation
from engine_probe.analysis.curve.slo_capacity import MostLoad, most_load
from engine_probe.analysis.run.goodput import Goodput
from engine_probe.analysis.run.slo import Slo
from engine_probe.analysis.statistics.repeats import repeated

SLO = Slo(ttft_ms=200)


@dataclasses.dataclass
class Said:
    """As much of a summary as is asked here."""

    goodput: Goodput | None
    requests_per_s: float = 10.0


def point(load: float, kept: int, judged: int = 100, strain: float | None = None) -> PointFigures:
    return figures(load, Goodput(SLO, kept, judged, 0, 10.0, strain))


def figures(load: float, goodput: Goodput | None) -> PointFigures:
    summary: Any = Said(goodput)
    limits: Any = None
    return PointFigures(f"p{load}", load, summary, limits)


def found(*points: PointFigures) -> MostLoad:
    result = most_load(points)
    assert result is not None
    return result


def test_it_is_the_last_level_before_the_limits_are_broken() -> None:
    result = found(point(16, 20), point(4, 100), point(8, 99), point(32, 0))
    assert (result.most, result.beyond) == (8, 16)
    assert (result.sure, result.sure_beyond) == (8, 16)
    assert result.best is not None
    assert result.best.goodput == repeated([9.9])


def test_chance_leaves_the_neighbours_open() -> None:
    """18 of 20 is 90 %, but so few requests could as well be of 70 or of 97 %."""
    result = found(point(4, 200, 200), point(8, 18, 20), point(16, 17, 20), point(32, 2, 20))
    assert (result.most, result.beyond) == (8, 16)
    assert (result.sure, result.sure_beyond) == (4, 32)
    assert [level.verdict for level in result.levels] == ["met", "open", "open", "broken"]


def test_repeats_that_disagree_leave_it_open() -> None:
    result = found(point(8, 1000, 1000), point(8, 800, 1000), point(16, 0))
    assert result.levels[0].share == 0.9
    assert result.levels[0].verdict == "open"


def test_between_two_levels_the_strain_tells_where_it_is_one() -> None:
    """A strain in proportion to the load: 0.5 at 8 and 1.5 at 24 is 1 at 16."""
    assert found(point(8, 100, strain=0.5), point(24, 0, strain=1.5)).crossing == pytest.approx(16)


def test_a_level_too_small_for_a_percentile_crosses_nowhere() -> None:
    assert found(point(8, 9, 9), point(16, 0, 9)).crossing is None


def test_limits_that_are_never_broken_or_never_kept() -> None:
    assert (found(point(8, 100)).most, found(point(8, 100)).beyond) == (8, None)
    assert (found(point(8, 0)).most, found(point(8, 0)).beyond) == (None, 8)


def test_limits_kept_again_further_on_are_said() -> None:
    result = found(point(4, 100), point(8, 0), point(16, 100))
    assert result.most == 4
    assert "met again at 16" in result.notes[0]


def test_without_limits_nothing_is_said() -> None:
    assert most_load([figures(4, None)]) is None
    assert most_load([point(4, 0, judged=0)]) is None


@pytest.mark.parametrize(
    ("loads", "levels"),
    [
        ([8, 16], (10, 12, 14)),  # 10 to 12 and 12 to 14 are wider than a tenth: 11 and 13 are offered later
        ([8, 9], ()),
        ([100, 110], ()),
        ([100, 120], (110,)),
        ([1.0, 1.5], (1.12, 1.25, 1.38)),
    ],
)
def test_gaps_are_halved_until_they_are_narrow(loads: list[float], levels: tuple[float, ...]) -> None:
    assert set(levels) <= set(split(loads))
    assert len(split(loads)) <= 4
    assert levels or not split(loads)


def test_the_offer_lies_between_the_neighbours() -> None:
    assert sharpen_slo(found(point(100, 100), point(120, 0))) == Offer(
        "the highest load that meets the limits", 100, 120, (110,)
    )
    assert sharpen_slo(found(point(100, 100))) == Offer("the highest load that meets the limits", 100, None, (200,))
    assert sharpen_slo(found(point(100, 100), point(105, 0))) is None
    assert sharpen_slo(found(point(100, 0))) is None
    assert sharpen_slo(found(point(0, 100))) is None, "a trace has no load beyond its own"


def curve(*pairs: tuple[float, float]) -> list[Level]:
    return [Level(load, rate, int(load), 0.1, False) for load, rate in pairs]


def test_a_knee_on_a_coarse_grid_is_looked_for_between_its_neighbours() -> None:
    levels = curve((1, 10), (2, 20), (4, 40), (8, 80), (16, 100), (32, 100), (64, 100))
    offer = sharpen_saturation(saturation(levels))
    assert offer is not None
    assert offer.high is not None
    assert offer.low <= 10 <= offer.high  # the line reaches 100 at 10
    assert any(8 <= level <= 16 for level in offer.levels)


def test_growth_that_does_not_end_is_looked_for_further_out() -> None:
    levels = curve((1, 10), (2, 20), (4, 40), (8, 60), (16, 100), (32, 180))
    offer = sharpen_saturation(saturation(levels))
    assert offer is not None
    assert (offer.low, offer.high, offer.levels) == (32, None, (64, 128))


def test_growth_that_ended_below_the_lowest_level_is_looked_for_there() -> None:
    offer = sharpen_saturation(saturation(curve(*((load, 100) for load in (8, 16, 24, 32, 40, 48, 56, 64)))))
    assert offer is not None
    assert offer.low == 0
    assert offer.levels[0] == 1
    assert len(offer.levels) <= 4


def test_one_level_offers_nothing() -> None:
    assert sharpen_saturation(saturation(curve((1, 10)))) is None


def test_the_interval_over_repeats_is_students() -> None:
    """9, 10, 11: a deviation of 1, over the root of 3, times 4.303."""
    three = repeated([9, 10, 11])
    assert three is not None
    assert three.mean == 10
    assert three.reach == pytest.approx(4.303 / 3**0.5, abs=1e-3)
    one = repeated([7])
    assert one is not None
    assert (one.mean, one.reach) == (7, None)
    assert repeated([7, None]) is None
    assert repeated([]) is None


@pytest.mark.parametrize("seed", range(200))
def test_a_planted_limit_is_found_within_a_grid_step(seed: int) -> None:
    """Strains in proportion to the load, scattered by a tenth: nine in ten keep the limits at the planted load."""
    chance = random.Random(seed)
    planted, grid = chance.uniform(3, 180), sorted(chance.sample(range(1, 257), 12))

    def at(load: int) -> PointFigures:
        draws = [chance.gauss(0, 0.1) for _ in range(500)]
        strains = sorted(load / planted * math.exp(draw - 0.1 * 1.2816) for draw in draws)  # 1.2816: the normal's p90
        return point(load, sum(strain <= 1 for strain in strains), len(strains), strains[449])

    result = found(*map(at, grid))
    below = max((load for load in grid if load <= planted), default=None)
    above = min((load for load in grid if load > planted), default=None)
    steps = [None, *grid, None]
    near = {steps.index(below) + shift for shift in (-1, 0, 1)} if below is not None else {0, 1}
    assert (steps.index(result.most) if result.most is not None else 0) in near
    if result.sure is not None:
        assert result.sure <= planted * 1.05
    if result.sure_beyond is not None:
        assert result.sure_beyond >= planted * 0.95
    if result.crossing is not None and (result.most, result.beyond) == (below, above):
        assert result.crossing == pytest.approx(planted, rel=0.05)


def test_the_range_that_is_told_is_the_range_that_is_searched() -> None:
    knee = saturation(curve((10, 100), (20, 200), (40, 300), (80, 300), (160, 300)))
    offered = sharpen_saturation(dataclasses.replace(knee, saturation=Boundary(40, 20, 80, 0.9)))
    assert offered is not None
    assert (offered.low, offered.high) == (20, 80)
    assert all(20 < level < 80 for level in offered.levels)
