"""Points of one curve share what is known of their noise: few repeats at each, many over all."""

from __future__ import annotations

import math

import numpy as np
import pytest

from engine_probe.analysis.compare.changes import METRICS, Change, difference
from engine_probe.analysis.compare.gates import read_gate
from engine_probe.analysis.compare.pooled_changes import together, with_common_noise
from engine_probe.analysis.statistics.repeats import BothNoises, Noise

RATE = METRICS[0]
SHARE = next(metric for metric in METRICS if metric.name == "recomputed_share")


def change(old: tuple[float, ...], new: tuple[float, ...], metric=RATE) -> Change:
    return Change(metric, old, new, *difference(old, new))


def test_what_two_repeats_leave_open_seven_points_tell() -> None:
    """Each pair of repeats lies 2 % to each side of its mean; the last point lost 38 %, the others nothing."""
    levels = [(rate * 0.98, rate * 1.02) for rate in (20.0, 40, 80, 120, 170, 230, 180)]
    worse = [*levels[:-1], (180 * 0.62 * 0.98, 180 * 0.62 * 1.02)]
    found = with_common_noise([[change(old, new)] for old, new in zip(levels, worse, strict=True)])
    assert [one.verdict for (one,) in found] == ["not shown to differ"] * 6 + ["worse"]
    (last,) = found[-1]
    assert last.p is not None
    assert last.p < 1e-6
    assert difference(levels[-1], worse[-1])[0] == pytest.approx(0.0079, abs=1e-4)  # by itself: 112 tests would hide it
    assert last.relative_interval == pytest.approx((-0.41, -0.34), abs=0.01)
    bound = read_gate("output_tokens_per_s < -30%")
    assert bound.judge(last).answer == "broken"
    assert bound.judge(found[0][0]).answer == "holds"
    assert read_gate("output_tokens_per_s < -100%").judge(last).answer == "holds"


def test_the_interval_by_hand() -> None:
    """10 % on each side of seven degrees of freedom, two repeats each: errors 0.1, fourteen together, t 2.1448."""
    p, (low, high) = BothNoises(Noise(0.1, 7), Noise(0.1, 7)).difference([100, 100], [150, 150])
    assert (math.log1p(low), math.log1p(high)) == pytest.approx(
        (math.log(1.5) - 0.21448, math.log(1.5) + 0.21448), abs=1e-4
    )
    assert p == pytest.approx(0.00118, abs=1e-5)  # t 4.0547
    assert BothNoises(Noise(0, 7), Noise(0, 7)).difference([2, 2], [2, 2]) == (1.0, (0.0, 0.0))


def test_five_of_a_hundred_unchanged_points_are_told_apart() -> None:
    chance = np.random.default_rng(3)
    rejected = 0
    for _ in range(300):
        old, new = (
            [tuple(rate * chance.normal(1, noise, 2)) for rate in (20.0, 40, 80, 160)] for noise in (0.03, 0.08)
        )
        found = with_common_noise([[change(*both)] for both in zip(old, new, strict=True)])
        rejected += sum(one.p is not None and one.p < 0.05 for (one,) in found)
    assert 0.03 < rejected / 1200 < 0.07


@pytest.mark.parametrize(
    "alone",
    [
        [[change((1.0, 2.0), (3.0, 4.0))]],  # one point
        [[change((0.1, 0.2), (0.3, 0.4), SHARE)], [change((0.1, 0.2), (0.3, 0.4), SHARE)]],
        [[change((0.0, 2.0), (3.0, 4.0))], [change((1.0, 2.0), (3.0, 4.0))]],  # what is zero has no relative noise
        [[change((1.0,), (3.0,))], [change((1.0,), (3.0,))]],
    ],
)
def test_what_has_nothing_in_common_is_judged_by_itself(alone: list[list[Change]]) -> None:
    assert with_common_noise(alone) == alone


def test_all_points_together_need_no_repeats() -> None:
    """Ten per cent more, give or take two: logarithms 0.08, 0.10, 0.12, mean 0.1, error 0.02/√3, t 4.3027."""
    points = [[change((old,), (old * math.exp(moved),))] for old, moved in ((20.0, 0.08), (80.0, 0.1), (40.0, 0.12))]
    (found,) = together(points)
    assert (found.before, found.after) == pytest.approx((40, 40 * math.exp(0.1)))
    assert found.p == pytest.approx(0.0131, abs=1e-4)  # t 8.66
    assert found.verdict == "better"
    reach = 4.30265 * 0.02 / math.sqrt(3)
    assert found.relative_interval == pytest.approx((math.expm1(0.1 - reach), math.expm1(0.1 + reach)), abs=1e-5)


def test_points_that_move_apart_show_nothing_together_and_two_are_too_few() -> None:
    moved = [[change((old,), (old * factor,))] for old, factor in ((20.0, 0.8), (40.0, 1.3), (80.0, 1.0))]
    assert together(moved)[0].verdict == "not shown to differ"
    assert together(moved[:2]) == []
    assert together([[change((0.1,), (0.2,), SHARE)]] * 4) == []  # a share is no rate
