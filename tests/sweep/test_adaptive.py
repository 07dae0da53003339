"""The search on curves whose truth is known."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from engine_probe.analysis.slo import Slo
from engine_probe.errors import InputError
from engine_probe.sweep.adaptive import Adaptive, Found, Search, find_limit, find_peak


def run(search: Search, curve: Callable[[int], float]) -> tuple[Found, list[int]]:
    tried: list[int] = []
    try:
        value = next(search)
        while True:
            tried.append(value)
            value = search.send(curve(value))
    except StopIteration as end:
        return end.value, tried


def knee(at: int, after: float) -> Callable[[int], float]:
    """Grows with every request up to `at`, then falls by `after` of what is beyond."""
    return lambda value: min(value, at) - after * max(0, value - at)


def test_a_planted_knee_is_found_within_the_resolution_over_200_curves() -> None:
    chance = random.Random(0)
    for _ in range(200):
        at = chance.randint(1, 1000)
        found, tried = run(find_peak(1, 1024, 0.1), knee(at, chance.uniform(0.05, 0.8)))
        assert found.best is not None
        low, high = found.above or found.best, found.below or found.best
        assert low <= at <= high or found.best == at
        assert abs(found.best - at) <= 0.1 * at + 1
        assert len(tried) == len(set(tried)) <= 20


def test_it_stops_doubling_soon_after_the_fall() -> None:
    _, tried = run(find_peak(1, 1_000_000, 0.1), knee(12, 0.3))
    assert max(tried) <= 32


def test_a_curve_that_never_falls_ends_at_the_last() -> None:
    found, tried = run(find_peak(1, 100, 0.1), float)
    assert found.best == 100
    assert found.below is None
    assert tried[:8] == [1, 2, 4, 8, 16, 32, 64, 100]


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 50, 99, 100])
def test_the_last_load_that_meets_the_slo_is_bisected(limit: int) -> None:
    found, tried = run(find_limit(1, 100, 0.05), lambda value: limit - value)
    assert found.best is not None
    assert found.best <= limit <= found.best * 1.05 + 1
    assert len(tried) <= 14


def test_nothing_meets_it() -> None:
    found, tried = run(find_limit(4, 100, 0.1), lambda _: -1)
    assert (found.best, found.below, tried) == (None, 4, [4])


def test_everything_meets_it() -> None:
    found, _ = run(find_limit(1, 100, 0.1), lambda _: 0)
    assert (found.best, found.below) == (100, None)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (Adaptive("workload.concurrency", 8, 4), "to = 4 is below from = 8"),
        (Adaptive("workload.concurrency", 1, 4, goal="slo"), "adaptive.slo is missing"),
        (Adaptive("workload.concurrency", 1, 4, goal="slo", slo=Slo()), "ttft_ms, tpot_ms"),
        (Adaptive("workload.concurrency", 1, 4, slo=Slo(ttft_ms=9)), 'slo is for goal = "slo"'),
    ],
)
def test_what_contradicts_itself_is_refused(given: Adaptive, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        given.check()
