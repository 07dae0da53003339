"""Planted faults in one request of a hundred are found, and other requests are not accused."""

from __future__ import annotations

from functools import cache

import pytest

from tests.support.answers.simulated_faults import MEASURED, Rates, rates

SEEDS = range(3)


@cache
def found() -> Rates:
    return rates(SEEDS)


@pytest.mark.lengthy
@pytest.mark.parametrize("kind", ["lost token", "swapped answers", "truncated answer"])
def test_damage_to_tokens_is_found_in_every_run_and_mostly_named(kind: str) -> None:
    count = found().by_kind[kind]
    assert count.runs_found == count.runs == len(SEEDS)
    assert count.named >= 0.7 * count.planted


@pytest.mark.lengthy
def test_wrong_kv_blocks_are_found_in_most_runs() -> None:
    """Not in all: `docs/results/answers/planted_faults.md` tells the rate."""
    count = found().by_kind["wrong KV block"]
    assert 2 * count.runs_found > count.runs


@pytest.mark.lengthy
def test_requests_beside_the_victims_are_not_accused() -> None:
    for count in found().by_kind.values():
        assert count.accused < 0.01 * count.clean


@pytest.mark.lengthy
def test_clean_runs_are_not_accused() -> None:
    assert found().clean.accused < 0.01 * found().clean.clean


def test_the_noise_and_the_wrong_blocks_were_measured() -> None:
    assert len(MEASURED["noise"]) == MEASURED["requests"]
    assert any(move for request in MEASURED["noise"] for move in request)
    assert any(each["needed_shift"] for each in MEASURED["wrong_blocks"])
