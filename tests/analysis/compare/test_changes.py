"""A change is real when several occasions on each side say so."""

from __future__ import annotations

import pytest

from engine_probe.analysis.compare.changes import METRICS, Change, difference
from engine_probe.analysis.compare.gates import Judged, read_gate
from engine_probe.analysis.statistics.rank_tests import corrected
from engine_probe.errors import InputError

RATE, LATENCY = METRICS[0], next(metric for metric in METRICS if metric.name == "ttft_p50_ms")


def test_welch_by_hand() -> None:
    """Means 2 and 5, variances 1 and 1, three each: t = 3 / sqrt(2/3) = 3.674 with 4 degrees of freedom."""
    assert difference([1, 2, 3], [4, 5, 6])[0] == pytest.approx(0.0213, abs=1e-4)
    assert difference([1], [2, 2])[0] is None


def test_values_that_do_not_vary_have_the_p_of_a_permutation() -> None:
    """Of the 6 ways to part four values into two and two, 2 part equal ones from equal ones; of 70 with eight."""
    assert difference([1, 1], [1, 1]) == (1, None)
    assert difference([1, 1], [2, 2]) == (pytest.approx(2 / 6), None)
    assert difference([1] * 4, [2] * 4) == (pytest.approx(2 / 70), None)


def test_better_is_more_of_a_rate_and_less_of_a_latency() -> None:
    old, new = (99.0, 101.0), (109.0, 111.0)
    assert Change(RATE, old, new, 0.01).verdict == "better"
    assert Change(LATENCY, old, new, 0.01).verdict == "worse"
    assert Change(RATE, old, new, 0.2).verdict == "not shown to differ"
    untested = Change(RATE, (100.0,), (110.0,), None)
    assert (untested.verdict, untested.direction) == ("not tested", "higher")
    assert Change(LATENCY, (100.0,), (110.0,), None).direction == "higher"


def test_the_more_is_judged_the_stricter() -> None:
    """Holm: 0.01 x 3, 0.02 x 2, 0.03 x 1, but never below the one before."""
    found = corrected([Change(RATE, (1.0,), (2.0,), p) for p in (0.02, None, 0.01, 0.03)])
    assert [each.p for each in found] == [pytest.approx(0.04), None, pytest.approx(0.03), pytest.approx(0.04)]


def judged(text: str, old: tuple[float, ...], new: tuple[float, ...]) -> str:
    return read_gate(text).judge(Change(RATE, old, new, difference(old, new)[0])).answer


def test_one_occasion_on_each_side_leaves_a_bound_open() -> None:
    """However far it moved, and however well its repeats agree: `changes` gives them no p."""
    assert judged("output_tokens_per_s < -5%", (100,), (50,)) == "open"
    repeated = Change(RATE, (100, 101), (50, 51), None, difference((100, 101), (50, 51))[1])
    assert read_gate("output_tokens_per_s<-5%").judge(repeated) == Judged("open", None)


@pytest.mark.parametrize(
    ("new", "answer", "p"),
    [
        # Old 98, 100, 102; moved to the bound 93.1, 95, 96.9: variance 3.61. New with the same variance: the error is
        # sqrt(2 * 3.61 / 3) = 1.551, with 4 degrees of freedom, whose one-sided 5 % point is t = 2.132, or 3.31.
        ((89.1, 91, 92.9), "broken", 0.0308),  # 4 below the bound: t = 2.578
        ((91.1, 93, 94.9), "open", 0.1333),  # 2 below it: t = 1.289
        ((95.1, 97, 98.9), "open", 0.1333),  # 2 above it
        ((97.1, 99, 100.9), "holds", 0.0308),
    ],
)
def test_repeats_are_tested_against_the_bound_itself(new: tuple[float, ...], answer: str, p: float) -> None:
    change = Change(RATE, (98, 100, 102), new, difference((98, 100, 102), new)[0])
    found = read_gate("output_tokens_per_s < -5%").judge(change)
    assert (found.answer, found.p) == (answer, pytest.approx(p, abs=1e-3))


def test_a_gate_is_one_planned_test_whatever_else_is_judged() -> None:
    """A fifth less, three repeats each: among many metrics Holm cannot confirm it, the gate that asked for it can."""
    one = Change(RATE, (98, 100, 105), (76, 81, 84), difference((98, 100, 105), (76, 81, 84))[0])
    noise = [Change(RATE, (1.0, 2.0), (1.0, 2.0), 0.9)] * 60
    among = corrected([one, *noise])[0]
    assert among.verdict == "not shown to differ"
    assert read_gate("output_tokens_per_s < -5%").judge(among).answer == "broken"


def test_a_bound_that_breaks_at_one_of_many_points_is_corrected_for_their_number() -> None:
    """Alone p is 0.0308, which one of four points reaches in 12 % of the cases; a far fall breaks it among many."""
    old, below, same, far = (98.0, 100.0, 102.0), (89.1, 91.0, 92.9), (97.1, 99.0, 100.9), (48.0, 50.0, 52.0)
    points = [Change(RATE, old, new, difference(old, new)[0]) for new in (below, same, far, same)]
    found = read_gate("output_tokens_per_s < -5%").judge_points(points)
    assert [each.answer for each in found] == ["open", "holds", "broken", "holds"]
    assert found[0].p == pytest.approx(3 * 0.0308, abs=1e-3)


def test_from_zero_is_beyond_every_bound_above() -> None:
    assert judged("preemptions > 50%", (0, 0, 0, 0), (3, 3, 3, 3)) == "broken"
    assert judged("preemptions > 50%", (0, 0), (0, 0)) == "holds"
    assert judged("preemptions > 0%", (4, 4), (4, 4)) == "holds"


def test_a_count_that_differs_in_two_of_two_is_open() -> None:
    """Counts that vary are often the same twice: no change is exact because its repeats are."""
    assert judged("preemptions > 50%", (0, 0), (3, 3)) == "open"


ENERGY_PER_TOKEN = next(metric for metric in METRICS if metric.name == "joules_per_token")


@pytest.mark.parametrize(
    ("text", "after", "answer"),
    [
        ("joules_per_token > 0.5", (0.60, 0.62, 0.61), "broken"),
        ("joules_per_token > 0.5", (0.40, 0.42, 0.41), "holds"),
        ("joules_per_token > 0.5", (0.40, 0.62), "open"),
        ("joules_per_token > 0.5", (0.90,), "open"),  # one measurement does not show how it varies
        ("joules_per_token < 1e-3", (0.60, 0.62, 0.61), "holds"),
    ],
)
def test_a_cost_or_an_energy_is_bounded_itself(text: str, after: tuple[float, ...], answer: str) -> None:
    assert read_gate(text).judge(Change(ENERGY_PER_TOKEN, (9.9,), after, None)).answer == answer


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("output_tokens_per_s < 5", "is not a bound: write it as"),  # the percentage was forgotten
        ("joules_per_token > -0.5", "is not a bound: write it as"),
        ("tokens", "is not a bound: write it as"),
        ("output_token_per_s < -5%", "did you mean output_tokens_per_s"),
        ("zzz < 1%", "known are output_tokens_per_s,"),
    ],
)
def test_a_mistyped_gate_is_refused(text: str, why: str) -> None:
    with pytest.raises(InputError, match=why):
        read_gate(text)
