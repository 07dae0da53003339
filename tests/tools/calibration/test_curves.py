"""What is claimed of a curve is held against its truth: checked on an engine whose truth is plain."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from engine_probe.analysis.curve.growth import Boundary
from engine_probe.analysis.curve.saturation import Saturation, saturation
from engine_probe.analysis.statistics import level_noise
from engine_probe.analysis.statistics.student import quantile
from tools.calibration.claims import TOPICS
from tools.calibration.curves import (
    behind_claims,
    growth_claims,
    in_region,
    interval_claims,
    operating_claims,
    other_shape_claims,
    region_claims,
    told_apart_claims,
)
from tools.calibration.simulated import shapes
from tools.calibration.simulated.shapes import Shape
from tools.calibration.simulated.sweeps import Sweep
from tools.calibration.table import verdict
from tools.calibration.tally import ALL, Tally

GROWS = "still grows at the most that was tried"
LOADS = (1, 2, 4, 8, 16, 32, 64)
TO_16 = Shape("broken line to a plateau", shapes.capped(shapes.linear, 16.0), 64.0)


def swept(shape: Shape, seed: int = 1, deviation: float = 0.0, runs: int = 3) -> Sweep:
    noise = 1 + deviation * np.random.default_rng(seed).standard_normal((len(LOADS), runs))
    rates = shape.rate(np.array(LOADS, dtype=np.float64))[:, None] * noise
    return Sweep(shape, "independent", deviation, LOADS, rates, 1.0)


@pytest.fixture(scope="module")
def found() -> Saturation:
    return saturation(swept(TO_16, deviation=0.01).levels())


def test_a_region_is_true_where_the_sentence_that_explains_it_is() -> None:
    true = {
        load: [name for name in ("A", "B", "B+", "C") if in_region(name, TO_16, load)] for load in (8.0, 18.0, 30.0)
    }
    assert true == {8.0: ["A"], 18.0: ["A", "B+"], 30.0: ["B+"]}  # at 18, 16 / 18 is still 89 % of what one gets alone
    cliff = Shape("cliff", shapes.dropping(shapes.linear, 20.0, 0.3), 64.0)
    assert [name for name in ("A", "B", "B+", "C") if in_region(name, cliff, 40.0)] == ["C"]
    bend = Shape("affine step", shapes.affine_step(10.0, 1.0), 64.0)
    assert [name for name in ("A", "B", "B+", "C") if in_region(name, bend, 40.0)] == ["B"]


def test_a_level_whose_region_is_not_told_is_counted_and_no_claim() -> None:
    """At 16 a request gets 80.3 % of what it gets alone, and no load of one was measured."""
    bend = Shape("affine step", shapes.affine_step(60.0, 1.0), 96.0)
    loads = (8, 16, 24, 32, 48, 64, 96)
    sweep = Sweep(bend, "independent", 0.0, loads, bend.rate(np.array(loads, dtype=np.float64))[:, None], 1.0)
    claims = list(region_claims(saturation(sweep.levels()), bend))
    assert [claim.happened for claim in claims if claim.topic == "region not told"] == [False, True] + [False] * 5
    assert sum(claim.stated is not None for claim in claims) == len(loads) - 1


@pytest.mark.parametrize(
    ("low", "high", "inside"), [(8, 32, True), (16, 16, False), (15.8, 15.9, True), (4, 8, False), (32, 64, False)]
)
def test_an_end_of_growth_is_true_where_its_range_meets_the_end(
    found: Saturation, low: float, high: float, inside: bool
) -> None:
    """A range that is one measured level lies beside the end, which is anywhere between two levels."""
    made = replace(found, saturation=Boundary(16, low, high, 0.9))
    claims = {claim.topic: claim for claim in growth_claims(made, TO_16)}
    assert claims["end of growth in its range"].happened is inside
    sure = claims["end of growth, p % sure"]
    assert (sure.happened, sure.stated) == (inside, 0.9)


def test_what_is_not_said_is_no_claim(found: Saturation) -> None:
    grows = replace(found, saturation=None, notes=("throughput still grows at 64, the highest level",))
    assert {claim.topic: claim.happened for claim in growth_claims(grows, TO_16)}[GROWS] is False  # it does not
    silent = replace(found, saturation=None, equilibrium=None)
    claims = {claim.topic: claim.happened for claim in growth_claims(silent, TO_16)}
    assert claims["end of growth in its range"] is None
    assert claims["end of spare capacity in its range"] is None
    assert claims[GROWS] is None
    assert list(behind_claims(silent, TO_16)) == []


@pytest.mark.lengthy
def test_what_could_be_told_of_another_shape_stands_beside_what_was() -> None:
    other = Shape("logarithmic", shapes.logarithmic(0.5), 64.0)
    for shape, best in ((other, 0.9), (TO_16, None)):
        sweep = swept(shape, deviation=0.01)
        first, *_ = other_shape_claims(saturation(sweep.levels()), sweep)
        assert first.happened is (best is not None)
        assert first.stated is None if best is None else first.stated is not None and first.stated > best


def test_operating_below_the_end_costs(found: Saturation) -> None:
    for load, costly in ((8, True), (15.5, False), (32, False)):
        made = replace(found, saturation=Boundary(load, load, load, 0.9))
        where_told, at_best, operating = operating_claims(made, TO_16)
        assert (where_told.happened, at_best.happened, operating.happened) == (costly, False, False)


def test_levels_that_are_alike_and_levels_that_are_not_are_counted_apart(found: Saturation) -> None:
    topics = [claim.topic for claim in told_apart_claims(found, TO_16)]
    assert topics.count("told apart from the best level, where it is none the worse") == 2  # of 16, 32 and 64
    assert topics.count("5 % or more below the best level, and told apart") == 4


def coverage() -> str:
    tally = Tally()
    for seed in range(200):
        sweep = swept(TO_16, seed, deviation=0.05)
        levels = sweep.levels()
        found = replace(saturation(levels[:1]), levels=tuple(levels))  # intervals need no fit
        tally.add_cluster("independent", interval_claims(found, sweep))
    return verdict(TOPICS["interval of a level"], tally["interval of a level", "independent", ALL])


@pytest.mark.lengthy
def test_a_product_whose_intervals_are_half_as_wide_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    assert coverage() == "holds"
    monkeypatch.setattr(level_noise, "quantile", lambda *asked: quantile(*asked) / 2)
    assert coverage() == "FAILS"
