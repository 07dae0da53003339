"""Points of one curve share what is known of their noise: few repeats at each, many over all."""

from __future__ import annotations

import math

import numpy as np
import pytest

from engine_probe.analysis.compare.changes import METRICS, Change, difference
from engine_probe.analysis.compare.pooled_changes import together, with_common_noise
from engine_probe.analysis.statistics.repeats import Noise, relative_change

RATE = METRICS[0]
SHARE = next(metric for metric in METRICS if metric.name == "recomputed_share")


def change(old: tuple[float, ...], new: tuple[float, ...], metric=RATE) -> Change:
    return Change(metric, old, new, None, difference(old, new)[1])


def test_what_two_repeats_leave_open_seven_points_tell() -> None:
    """Each pair of repeats lies 2 % to each side of its mean; the last point lost 38 %, the others nothing."""
    levels = [(rate * 0.98, rate * 1.02) for rate in (20.0, 40, 80, 120, 170, 230, 180)]
    worse = [*levels[:-1], (180 * 0.62 * 0.98, 180 * 0.62 * 1.02)]
    found = with_common_noise([[change(old, new)] for old, new in zip(levels, worse, strict=True)])
    (last,) = found[-1]
    assert last.relative_interval == pytest.approx((-0.41, -0.34), abs=0.01)
    assert change(levels[-1], worse[-1]).relative_interval == pytest.approx((-0.51, -0.25), abs=0.01)  # by itself
    assert {(one.p, one.verdict) for (one,) in found} == {(None, "not tested")}  # two sweeps are two occasions


def test_the_interval_by_hand() -> None:
    """10 % on each side of seven degrees of freedom, two repeats each: errors 0.1, fourteen together, t 2.1448."""
    low, high = relative_change([100, 100], [150, 150], Noise(0.1, 7), Noise(0.1, 7))
    assert (math.log1p(low), math.log1p(high)) == pytest.approx(
        (math.log(1.5) - 0.21448, math.log(1.5) + 0.21448), abs=1e-4
    )


def test_five_of_a_hundred_intervals_miss_what_did_not_change() -> None:
    chance = np.random.default_rng(3)
    missed = 0
    for _ in range(300):
        old, new = (
            [tuple(rate * chance.normal(1, noise, 2)) for rate in (20.0, 40, 80, 160)] for noise in (0.03, 0.08)
        )
        found = with_common_noise([[change(*both)] for both in zip(old, new, strict=True)])
        intervals = [one.interval for (one,) in found if one.interval]
        missed += sum(not low <= 0 <= high for low, high in intervals)
    assert 0.03 < missed / 1200 < 0.07


@pytest.mark.parametrize(
    "alone",
    [
        [[change((1.0, 2.0), (3.0, 4.0))]],  # one point
        [[change((0.1, 0.2), (0.3, 0.4), SHARE)], [change((0.1, 0.2), (0.3, 0.4), SHARE)]],
        [[change((0.0, 2.0), (3.0, 4.0))], [change((1.0, 2.0), (3.0, 4.0))]],  # what is zero has no relative noise
        [[change((1.0,), (3.0,))], [change((1.0,), (3.0,))]],
        [[change((1.0, 1.0), (3.0, 3.0))], [change((1.0, 1.0), (3.0, 3.0))]],  # equal repeats show no noise
    ],
)
def test_what_has_nothing_in_common_is_judged_by_itself(alone: list[list[Change]]) -> None:
    assert with_common_noise(alone) == alone


def test_all_points_together_need_no_repeats() -> None:
    """Ten per cent more, give or take two: logarithms 0.08, 0.10, 0.12, mean 0.1, error 0.02/√3, t 4.3027."""
    points = [[change((old,), (old * math.exp(moved),))] for old, moved in ((20.0, 0.08), (80.0, 0.1), (40.0, 0.12))]
    (found,) = together(points)
    assert (found.before, found.after) == pytest.approx((40, 40 * math.exp(0.1)))
    assert (found.p, found.verdict) == (None, "not tested")
    reach = 4.30265 * 0.02 / math.sqrt(3)
    assert found.relative_interval == pytest.approx((math.expm1(0.1 - reach), math.expm1(0.1 + reach)), abs=1e-5)


def test_points_that_move_apart_widen_the_interval_and_two_are_too_few() -> None:
    moved = [[change((old,), (old * factor,))] for old, factor in ((20.0, 0.8), (40.0, 1.3), (80.0, 1.0))]
    low, high = together(moved)[0].interval or (1.0, 0.0)
    assert low < 0 < high
    assert together(moved[:2]) == []
    assert together([*moved, []]) == []  # a metric that one of the points lacks is none of all points
    assert together([[change((0.1,), (0.2,), SHARE)]] * 4) == []  # a share is no rate
