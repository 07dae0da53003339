"""A rate is called settled where it is, and its interval holds the truth as often as it says."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from engine_probe.analysis.statistics.settled_rate import SLOTS, Rate, settled_rate
from tests.support.samples import some_and_all

STEP_NS = 10_000_000
MOST = 60_000  # steps

Amounts = npt.NDArray[np.int64]
Making = Callable[[np.random.Generator], Amounts]


def watched(amounts: Amounts, steps: int) -> Rate | None:
    ends = np.arange(1, steps + 1) * STEP_NS
    return settled_rate(0, ends, amounts[:steps])


def until_known(amounts: Amounts, within: float) -> Rate | None:
    """Looked at as a sweep does: each time a good deal later."""
    steps = 400
    while steps < len(amounts):
        if (rate := watched(amounts, steps)) and rate.relative <= within:
            return rate
        steps = int(steps * 1.25)
    return None


def independent(chance: np.random.Generator) -> Amounts:
    return chance.poisson(50, MOST)


def warming(chance: np.random.Generator) -> Amounts:
    amounts = independent(chance)
    amounts[:300] = amounts[:300] * np.linspace(0, 1, 300)
    return amounts


def following(chance: np.random.Generator) -> Amounts:
    """Each step nine tenths like the one before."""
    noise, amounts, last = chance.normal(0, 10 * np.sqrt(1 - 0.9**2), MOST), np.empty(MOST), 0.0
    for step in range(MOST):
        last = amounts[step] = 0.9 * last + noise[step]
    return np.round(np.maximum(0, 50 + amounts)).astype(np.int64)


def in_waves(chance: np.random.Generator) -> Amounts:
    """All prompts of a closed loop at once, then all answers."""
    return np.where(np.arange(MOST) % 64 < 8, 0, independent(chance))


@pytest.mark.lengthy
@some_and_all("runs", 30, 60)
@pytest.mark.parametrize(
    ("making", "truth", "within"),
    [(independent, 5000, 0.01), (warming, 5000, 0.02), (following, 5000, 0.03), (in_waves, 5000 * 56 / 64, 0.03)],
)
def test_the_interval_holds_the_truth_as_often_as_it_says(
    making: Making, truth: float, within: float, runs: int
) -> None:
    found = [until_known(making(np.random.default_rng(seed)), within) for seed in range(runs)]
    known = [rate for rate in found if rate is not None]
    assert len(known) >= runs * 29 / 30
    held = sum(abs(rate.per_second - truth) <= rate.half_width for rate in known) / len(known)
    assert held >= 0.9
    assert all(abs(rate.per_second / truth - 1) < 2 * within for rate in known)


def test_the_beginning_is_cut_off() -> None:
    rate = watched(warming(np.random.default_rng(0)), 2000)
    assert rate is not None
    assert 150 * STEP_NS <= rate.from_ns <= 500 * STEP_NS


def test_what_falls_to_the_end_is_not_settled() -> None:
    chance = np.random.default_rng(0)
    assert watched(chance.poisson(np.linspace(50, 25, 5000)), 5000) is None
    level = watched(chance.poisson(50, 5000), 5000)
    assert level is not None
    assert level.relative < 0.02


@pytest.mark.parametrize("share", [0.2, 0.4], ids=lambda share: f"time constant {share:.0%} of the run")
def test_a_warm_up_that_goes_on_is_told_and_the_interval_reaches_where_it_leads(share: float) -> None:
    moments = np.arange(5000) / 5000
    means = 2.5 * (1 - 0.4 * np.exp(-moments / share))
    drawn = [watched(20 * np.random.default_rng(seed).poisson(means), 5000) for seed in range(40)]
    found = [rate for rate in drawn if rate is not None]
    assert len(found) >= 10
    assert np.mean([rate.warming_up for rate in found]) >= 0.7
    assert np.mean([abs(rate.per_second - 5000) <= rate.half_width for rate in found]) >= 0.9


def test_a_warm_up_that_is_over_is_not_told() -> None:
    found = [watched(warming(np.random.default_rng(seed)), 5000) for seed in range(40)]
    assert sum(rate is None or rate.warming_up for rate in found) <= 2


def test_few_steps_say_nothing() -> None:
    assert watched(np.full(MOST, 5), 2 * SLOTS - 1) is None


def test_what_never_changes_is_known_exactly() -> None:
    rate = watched(np.full(MOST, 5), 640)
    assert rate is not None
    assert (rate.from_ns, round(rate.per_second, 6), round(rate.half_width, 6)) == (0, 500, 0)


def test_nothing_at_all_is_no_settled_rate_to_rely_on() -> None:
    rate = watched(np.zeros(MOST, dtype=np.int64), 640)
    assert rate is not None
    assert rate.relative == float("inf")
