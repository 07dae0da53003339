"""Earlier sweeps of one engine show how far two of them differ where nothing changed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pytest

from engine_probe.analysis.compare.changes import METRICS, Change, Moments
from engine_probe.analysis.compare.drift import apart, drift_between, with_drift
from engine_probe.analysis.compare.gates import read_gate
from engine_probe.analysis.compare.pooled_changes import together

RATE = METRICS[0]
COUNT = next(metric for metric in METRICS if metric.name == "preemptions")
EARLIER = ((98.0, 100.0, 102.0),)
STEADY, TO_AND_FRO = (100.0, 90.0, 81.0, 72.9, 65.6, 59.0), (100.0, 59.0, 81.0, 65.6, 90.0, 72.9)


def moments(earlier: Sequence[Sequence[float]]) -> Moments:
    """Return moments of earlier occasions, one engine after the other, and then the two that are compared."""
    count = iter(range(sum(map(len, earlier)) + 2))
    return Moments(tuple(tuple(float(next(count)) for _ in engine) for engine in earlier), next(count), next(count))


def test_the_interval_by_hand() -> None:
    """Two earlier ones differ by 2 % and so do two that follow: with one degree of freedom t is 12.706."""
    earlier = ((100.0, 102.0),)
    p, (low, high) = apart(RATE, earlier, moments(earlier), 200.0, 180.0) or (1.0, (0.0, 0.0))
    reach = 12.7062 * math.log(1.02)
    ends = (200 * math.expm1(math.log(0.9) - reach), 200 * math.expm1(math.log(0.9) + reach))
    assert (low, high) == pytest.approx(ends, rel=1e-4)
    assert p == pytest.approx(2 / math.pi * math.atan(math.log(1.02) / -math.log(0.9)), abs=1e-6)  # Cauchy's


def test_counts_have_the_deviation_of_counts() -> None:
    """They have no logarithm: 2 and 4 differ by 2."""
    earlier = ((2, 4),)
    _, (low, high) = apart(COUNT, earlier, moments(earlier), 3.0, 5.0) or (1.0, (0.0, 0.0))
    assert (low, high) == pytest.approx((2 - 12.7062 * 2, 2 + 12.7062 * 2), rel=1e-4)


@pytest.mark.parametrize("earlier", [STEADY, TO_AND_FRO])
def test_the_drift_counts_for_what_lies_between_the_two(earlier: tuple[float, ...]) -> None:
    """Six of them cannot exclude that it goes on."""
    places = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)
    near, far = (drift_between(RATE, [earlier], Moments((places,), *two)) for two in ((7.0, 8.0), (0.0, 7.0)))
    assert near
    assert far
    assert far.reach() > 1.5 * near.reach()


def test_a_steady_drift_is_less_of_a_change_from_one_to_the_next_than_what_goes_to_and_fro() -> None:
    found = [drift_between(RATE, [values], moments([values])) for values in (STEADY, TO_AND_FRO)]
    steady, to_and_fro = (each.reach() for each in found if each)
    assert steady < 0.7 * to_and_fro


def test_a_machine_that_slows_to_a_third_breaks_no_bound() -> None:
    """Of eight sweeps the last were slowest (docs/results/sweeps/a_a_sweeps.md): all pairs by the other six."""
    rates = (1.0, 0.897, 0.546, 0.696, 0.62, 0.545, 0.333, 0.438)
    broken = 0
    for one, other in combinations(range(8), 2):
        rest = [at for at in range(8) if at not in (one, other)]
        when = Moments((tuple(map(float, rest)),), float(one), float(other))
        change = Change(RATE, (rates[one],), (rates[other],), None)
        changed = with_drift(change, [[rates[at] for at in rest]], when)
        broken += read_gate("output_tokens_per_s < -5%").judge(changed).answer == "broken"
    assert broken == 0


def test_sweeps_of_the_same_moment_have_a_drift() -> None:
    when = Moments(((5.0, 5.0, 5.0),), 5.0, 5.0)
    assert drift_between(RATE, EARLIER, when) == drift_between(RATE, EARLIER, moments(EARLIER))


@pytest.mark.parametrize("earlier", [(), ((100.0,),), ((100.0, 100.0, 100.0),), ((0.0, 1.0),)])
def test_what_shows_no_drift_leaves_the_change_as_it_is(earlier: tuple[tuple[float, ...], ...]) -> None:
    change = Change(RATE, (100.0,), (90.0,), None, (-11.0, -9.0))
    assert with_drift(change, earlier, moments(earlier)) == change


def test_a_change_has_an_interval_and_no_verdict() -> None:
    change = with_drift(Change(RATE, (100.0,), (50.0,), None), EARLIER, moments(EARLIER))
    assert (change.p, change.verdict, change.is_within_drift) == (None, "not tested", False)
    assert with_drift(Change(RATE, (100.0,), (97.0,), None), EARLIER, moments(EARLIER)).is_within_drift


@pytest.mark.parametrize(("after", "answer"), [(70.0, "broken"), (93.0, "open"), (120.0, "holds")])
def test_a_bound_is_judged_by_the_drift(after: float, answer: str) -> None:
    change = with_drift(Change(RATE, (100.0,), (after,), None), EARLIER, moments(EARLIER))
    assert read_gate("output_tokens_per_s < -5%").judge(change).answer == answer
    assert read_gate("output_tokens_per_s < -100%").judge(change).answer == "open"  # nothing is known at zero


def test_all_points_together_have_the_drift_of_whole_sweeps() -> None:
    """Points that moved alike in every earlier sweep are one number of each, not many."""
    two = (1.0, 1.02)
    points = [
        [with_drift(Change(RATE, (rate,), (rate,), None), [[rate * each for each in two]], moments([two]))]
        for rate in (10.0, 20.0, 40.0, 80.0)
    ]
    (whole,) = together(points)
    low, high = whole.relative_interval or (0.0, 0.0)
    reach = 12.7062 * math.log(1.02)
    assert (low, high) == pytest.approx((math.expm1(-reach), math.expm1(reach)), rel=1e-4)


@pytest.mark.parametrize("walks", [False, True])
def test_the_interval_covers_what_did_not_change(walks: bool) -> None:
    """The two lie before and after the others, which by their scatter alone cover 86 % where occasions walk."""
    rng = np.random.default_rng(6)
    when, covered = Moments(((1.0, 2.0, 3.0, 4.0, 5.0, 6.0),), 0.0, 7.0), 0
    for _ in range(400):
        steps = 0.05 * rng.standard_normal(8)
        before, *earlier, after = (100 * np.exp(np.cumsum(steps) if walks else steps)).tolist()
        _, (low, high) = apart(RATE, [earlier], when, before, after) or (0.0, (0.0, 0.0))
        covered += low <= 0 <= high
    assert covered / 400 > 0.92
