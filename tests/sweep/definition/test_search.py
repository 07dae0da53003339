"""The search on curves whose truth is known."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from engine_probe.analysis.run.slo import Slo
from engine_probe.errors import InputError
from engine_probe.sweep.definition.search import Adaptive, Found, Search, find_limit, find_saturation


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
        found, tried = run(find_saturation(1, 1024, 0.1), knee(at, chance.uniform(0.05, 0.8)))
        assert found.best is not None
        assert 0.8 * at - 1 <= found.best <= 1.1 * at + 1  # of a sharp peak both sides may look alike
        assert len(tried) == len(set(tried)) <= 20


def test_it_stops_doubling_soon_after_the_fall() -> None:
    _, tried = run(find_saturation(1, 1_000_000, 0.1), knee(12, 0.3))
    assert max(tried) <= 32


def test_a_curve_that_never_falls_ends_at_the_last() -> None:
    found, tried = run(find_saturation(1, 100, 0.1), float)
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


def noisy(curve: Callable[[int], float], chance: random.Random, share: float) -> Callable[[int], float]:
    return lambda value: curve(value) * (1 + chance.gauss(0, share))


def hits(repeats: int, share: float) -> tuple[int, float]:
    """Of 100 plateaus, how many are found to 15 %, and what a search takes."""
    found, measured = 0, 0
    for seed in range(100):
        chance = random.Random(seed)
        at = chance.randint(4, 500)
        best, tried = run(find_saturation(1, 1024, 0.1, repeats), noisy(knee(at, 0), chance, share))
        assert best.best is not None
        found += abs(best.best - at) <= 0.15 * at + 1
        measured += len(tried)
    return found, measured / 100


@pytest.mark.lengthy
def test_repeats_keep_noise_from_misleading_it() -> None:
    once, few = hits(1, 0.04)
    thrice, more = hits(3, 0.04)
    assert thrice >= 95 > 85 > once
    assert more < 2 * few  # only what decides is measured again


def test_a_noisy_limit_is_found_and_says_whether_it_is_sure() -> None:
    right = 0
    for seed in range(100):
        chance = random.Random(seed)
        limit = chance.randint(4, 90)
        found, _ = run(find_limit(1, 100, 0.05, 5), lambda load, at=limit, c=chance: 1 - load / at * c.gauss(1, 0.05))
        assert found.best is not None
        right += abs(found.best - limit) <= 0.1 * limit + 1
    assert right >= 95


def test_a_search_without_noise_is_sure_after_a_second_look() -> None:
    found, tried = run(find_limit(1, 100, 0.05, 3), lambda value: 50 - value)
    assert (found.best, found.sure) == (50, None) or found.sure
    assert len(tried) - len(set(tried)) <= 2
    once, _ = run(find_saturation(1, 64, 0.1), knee(12, 0))
    assert once.sure is None


def test_one_bad_measurement_does_not_end_the_doubling() -> None:
    spoilt = iter([8.0])

    def curve(value: int) -> float:
        return next(spoilt, 16.0) if value == 16 else min(value, 40)

    found, _ = run(find_saturation(1, 1024, 0.1, 3), curve)
    assert found.best is not None
    assert found.best >= 34


def test_a_peak_between_two_doublings_that_are_alike_is_not_missed() -> None:
    found, _ = run(find_saturation(1, 1024, 0.1), knee(360, 1.0))
    assert found.best is not None
    assert abs(found.best - 360) <= 54
