"""Earlier sweeps of one engine show how far two of them differ where nothing changed."""

from __future__ import annotations

import math

import numpy as np
import pytest

from engine_probe.analysis.compare.changes import METRICS, Change
from engine_probe.analysis.compare.drift import apart, with_drift
from engine_probe.analysis.compare.gates import read_gate
from engine_probe.analysis.compare.pooled_changes import together

RATE = METRICS[0]
COUNT = next(metric for metric in METRICS if metric.name == "preemptions")
EARLIER = ((98.0, 100.0, 102.0),)  # a relative deviation of 2 %, two degrees of freedom


def test_the_interval_by_hand() -> None:
    """The difference of two sweeps has the error 0.02 √2, and t is 4.3027 with two degrees of freedom."""
    p, (low, high) = apart(RATE, EARLIER, 200.0, 180.0) or (1.0, (0.0, 0.0))
    reach = 4.30265 * 0.02 * math.sqrt(2)
    ends = (200 * math.expm1(math.log(0.9) - reach), 200 * math.expm1(math.log(0.9) + reach))
    assert (low, high) == pytest.approx(ends, rel=1e-4)
    assert p == pytest.approx(0.0651, abs=1e-4)  # t 3.725


def test_counts_have_the_deviation_of_counts() -> None:
    """2, 4 and 0, 2: variance 2 with two degrees of freedom, so the error is 2."""
    _, (low, high) = apart(COUNT, ((2, 4), (0, 2)), 3.0, 5.0) or (1.0, (0.0, 0.0))
    assert (low, high) == pytest.approx((2 - 4.30265 * 2, 2 + 4.30265 * 2), rel=1e-4)


@pytest.mark.parametrize("earlier", [(), ((100.0,),), ((100.0, 100.0, 100.0),), ((0.0, 1.0),)])
def test_what_shows_no_drift_leaves_the_change_as_it_is(earlier: tuple[tuple[float, ...], ...]) -> None:
    change = Change(RATE, (100.0,), (90.0,), None, (-11.0, -9.0))
    assert with_drift(change, earlier) == change


def test_a_change_has_an_interval_and_no_verdict() -> None:
    change = with_drift(Change(RATE, (100.0,), (50.0,), None), EARLIER)
    assert (change.p, change.verdict, change.is_within_drift) == (None, "not tested", False)
    assert with_drift(Change(RATE, (100.0,), (97.0,), None), EARLIER).is_within_drift


@pytest.mark.parametrize(("after", "answer"), [(70.0, "broken"), (93.0, "open"), (120.0, "holds")])
def test_a_bound_is_judged_by_the_drift(after: float, answer: str) -> None:
    change = with_drift(Change(RATE, (100.0,), (after,), None), EARLIER)
    assert read_gate("output_tokens_per_s < -5%").judge(change).answer == answer
    assert read_gate("output_tokens_per_s < -100%").judge(change).answer == "open"  # nothing is known at zero


def test_all_points_together_have_the_drift_of_whole_sweeps() -> None:
    """Points that moved alike in every earlier sweep are one number of each, not many."""
    points = [
        [with_drift(Change(RATE, (rate,), (rate,), None), [[rate * each / 100 for each in EARLIER[0]]])]
        for rate in (10.0, 20.0, 40.0, 80.0)
    ]
    (whole,) = together(points)
    low, high = whole.relative_interval or (0.0, 0.0)
    reach = 4.30265 * 0.02 * math.sqrt(2)
    assert (low, high) == pytest.approx((math.expm1(-reach), math.expm1(reach)), rel=1e-2)


def test_the_interval_covers_what_did_not_change() -> None:
    rng = np.random.default_rng(6)
    covered = 0
    for _ in range(400):
        *earlier, before, after = (100 * rng.normal(1, 0.05, 6)).tolist()
        _, (low, high) = apart(RATE, [earlier], before, after) or (0.0, (0.0, 0.0))
        covered += low <= 0 <= high
    assert 0.92 < covered / 400 < 0.98
