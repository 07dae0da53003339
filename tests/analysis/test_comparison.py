"""A change is real when repeats say so."""

from __future__ import annotations

import pytest

from engine_probe.analysis.comparison import METRICS, Change, corrected, welch
from engine_probe.analysis.gate import read_gate
from engine_probe.errors import InputError

RATE, LATENCY = METRICS[0], next(metric for metric in METRICS if metric.name == "ttft_p50_ms")


def test_welch_by_hand() -> None:
    """Means 2 and 5, variances 1 and 1, three each: t = 3 / sqrt(2/3) = 3.674 with 4 degrees of freedom."""
    assert welch([1, 2, 3], [4, 5, 6]) == pytest.approx(0.0213, abs=1e-4)
    assert welch([1, 1], [1, 1]) == 1
    assert welch([1, 1], [2, 2]) == 0
    assert welch([1], [2, 2]) is None


def test_better_is_more_of_a_rate_and_less_of_a_latency() -> None:
    assert Change(RATE, 100, 110, (3, 3), 0.01).verdict == "better"
    assert Change(LATENCY, 100, 110, (3, 3), 0.01).verdict == "worse"
    assert Change(RATE, 100, 110, (3, 3), 0.2).verdict == "not different"
    assert Change(RATE, 100, 110, (1, 1), None).verdict == "no repeats"


def test_the_more_is_judged_the_stricter() -> None:
    """Holm: 0.01 x 3, 0.02 x 2, 0.03 x 1, but never below the one before."""
    found = corrected([Change(RATE, 1, 2, (3, 3), p) for p in (0.02, None, 0.01, 0.03)])
    assert [each.p for each in found] == [pytest.approx(0.04), None, pytest.approx(0.03), pytest.approx(0.04)]


@pytest.mark.parametrize(
    ("text", "after", "p", "broken"),
    [
        ("output_tokens_per_s < -5%", 94, None, True),
        ("output_tokens_per_s < -5%", 96, None, False),
        ("output_tokens_per_s<-5%", 94, 0.01, True),
        ("output_tokens_per_s < -5%", 94, 0.3, False),
        ("output_tokens_per_s > 10%", 111, None, True),
    ],
)
def test_a_gate_is_broken_by_a_change_beyond_it(text: str, after: float, p: float | None, broken: bool) -> None:
    repeats = (3, 3) if p is not None else (1, 1)
    assert read_gate(text).broken_by(Change(RATE, 100, after, repeats, p)) == broken


def test_from_zero_is_beyond_every_bound_above() -> None:
    assert read_gate("preemptions > 50%").broken_by(Change(RATE, 0, 1, (1, 1), None))
    assert not read_gate("preemptions > 50%").broken_by(Change(RATE, 0, 0, (1, 1), None))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("tokens", "is no bound: write it as"),
        ("output_token_per_s < -5%", "did you mean output_tokens_per_s"),
        ("zzz < 1%", "known are output_tokens_per_s,"),
    ],
)
def test_a_mistyped_gate_is_refused(text: str, why: str) -> None:
    with pytest.raises(InputError, match=why):
        read_gate(text)
