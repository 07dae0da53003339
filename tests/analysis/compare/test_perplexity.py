"""Perplexity by hand, and what the same windows say of a difference that the figures alone would hide."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats

from engine_probe.analysis.compare.changes import Change, perplexity_change
from engine_probe.analysis.compare.gates import read_gate
from engine_probe.analysis.compare.perplexity import paired, perplexity


def test_it_is_the_exponential_of_the_mean_over_tokens() -> None:
    """Two windows of 3 and 1 tokens, each token with a probability of a half, a quarter, a quarter and an eighth."""
    half = math.log(2)
    found = perplexity([half + 2 * half + 2 * half, 3 * half], [3, 1])
    assert found is not None
    assert found.value == pytest.approx(2 ** (8 / 4))
    assert (found.windows, found.tokens) == (2, 4)


def test_windows_of_one_length_give_the_error_of_a_plain_mean() -> None:
    sums = [10.0, 12.0, 14.0, 20.0]
    found = perplexity(sums, [5] * 4)
    assert found is not None
    assert found.nats.error == pytest.approx(stats.sem([each / 5 for each in sums]))
    assert found.nats.interval == pytest.approx(stats.t.interval(0.95, 3, np.mean(sums) / 5, found.nats.error))
    assert found.interval == pytest.approx(tuple(map(math.exp, found.nats.interval or ())))


def test_a_single_window_has_no_interval_and_one_that_is_not_finite_no_figure() -> None:
    alone = perplexity([4.0], [4])
    assert alone is not None
    assert alone.value == pytest.approx(math.e)
    assert alone.interval is None
    assert alone.reach is None
    assert perplexity([4.0, None], [4, 4]) is None
    assert perplexity([4.0, math.inf], [4, 4]) is None
    assert paired([4.0, None], [4.0, 4.0], [4, 4]) is None


def test_the_difference_is_judged_by_pairs() -> None:
    """Windows differ by far more than the engines do: only the pairs show half a percent."""
    chance = np.random.default_rng(3)
    tokens = [100] * 40
    before = chance.normal(250, 40, 40)
    after = before + 100 * math.log(1.005) + chance.normal(0, 0.2, 40)
    one, other = perplexity(list(before), tokens), perplexity(list(after), tokens)
    assert one is not None
    assert other is not None
    assert one.interval is not None
    assert one.interval[0] < other.value < one.interval[1]
    change = paired(list(before), list(after), tokens)
    assert change is not None
    assert change.relative == pytest.approx(other.value / one.value - 1)
    low, high = change.interval or (0.0, 0.0)
    assert 0.004 < low < 0.005 < high < 0.006
    assert change.p() == pytest.approx(stats.ttest_rel(after, before).pvalue)
    assert change.p(change.relative) == pytest.approx(1)


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    chance = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        tokens = chance.integers(50, 150, 30)
        sums = tokens * 2.0 + chance.normal(0, 10, 30)
        found = perplexity(list(sums), list(tokens))
        assert found is not None
        low, high = found.nats.interval or (0.0, 0.0)
        held += low <= 2.0 <= high
    assert 0.92 < held / 400 < 0.98


@pytest.mark.parametrize(
    ("bound", "answer"),
    [("perplexity > 1%", "holds"), ("perplexity > 0.2%", "broken"), ("perplexity > 0.5%", "open")],
)
def test_a_gate_is_held_to_the_pairs(bound: str, answer: str) -> None:
    chance = np.random.default_rng(3)
    before = chance.normal(250, 40, 40)
    after = before + 100 * math.log(1.005) + chance.normal(0, 0.4, 40)
    change = change_of(list(before), list(after), [100] * 40)
    judged = read_gate(bound).judge(change)
    assert judged.answer == answer
    assert judged.p is not None


def test_without_a_second_window_the_change_itself_is_held_to_the_bound() -> None:
    change = change_of([100.0], [103.0], [100])
    assert change.relative == pytest.approx(math.expm1(0.03))
    assert change.verdict == "not tested"
    assert read_gate("perplexity > 2%").judge(change).answer == "broken"
    assert read_gate("perplexity > 4%").judge(change).answer == "holds"


def test_the_very_same_figures_hold_at_their_own_bound() -> None:
    change = change_of([100.0, 120.0], [100.0, 120.0], [100, 100])
    assert change.verdict == "not shown to differ"
    assert read_gate("perplexity > 0%").judge(change).answer == "holds"


def change_of(before: Sequence[float], after: Sequence[float], tokens: list[int]) -> Change:
    one, other, pairs = perplexity(before, tokens), perplexity(after, tokens), paired(before, after, tokens)
    assert one is not None
    assert other is not None
    assert pairs is not None
    return perplexity_change(one, other, pairs)
