"""What the prefix cache found is counted at admission, and a loss is told only where the pool was full."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

from engine_probe.analysis.run.prefix_cache import CacheLoss, PrefixCache, cache_levels, cache_loss, prefix_cache

Make = Callable[..., pa.Table]
FACTS: dict[str, Any] = {"kv": {"blocks": 10, "prefix_caching": True}}


def admitted(prompt: int, found: int, **more: Any) -> dict[str, Any]:
    seen = {"queued_ns": 1, "first_scheduled_ns": 2, "finish_reason": "length"}
    return {"prompt_tokens": prompt, "cached_tokens": found, **seen, **more}


def test_a_second_turn_finds_the_first(iterations: Make, requests: Make) -> None:
    """30 tokens, then those 30 and 20 more; at most 9 of 10 blocks are in use or hold a prefix."""
    steps = iterations(2, scheduled_tokens=[30, 20], kv_blocks_scheduled=[4, 6], kv_blocks_cached_free=[0, 3])
    found = prefix_cache(FACTS, steps, requests(admitted(30, 0), admitted(50, 30)))
    assert found == PrefixCache(80, 30, 50, 0.9)
    assert found.share == 0.375


def test_who_was_never_admitted_or_came_before_the_probe_does_not_count(iterations: Make, requests: Make) -> None:
    told = requests(admitted(40, 10), admitted(40, 0, first_scheduled_ns=None), admitted(40, 0, queued_ns=None))
    found = prefix_cache(FACTS, iterations(1), told)
    assert found is not None
    assert found.share == 0.25


def test_without_a_cache_or_a_request_there_is_no_figure(iterations: Make, requests: Make) -> None:
    off = {"kv": {"blocks": 10, "prefix_caching": False}}
    assert prefix_cache(off, iterations(1), requests(admitted(40, 10))) is None
    assert prefix_cache(FACTS, iterations(1), requests()) is None


def test_tokens_of_connectors_are_not_the_prefix_caches(iterations: Make, requests: Make) -> None:
    """Of 80 prompt tokens 30 were not computed, 20 of them supplied by a connector."""
    rows = requests(admitted(30, 0, connector_tokens=0), admitted(50, 30, connector_tokens=20))
    found = prefix_cache(FACTS, iterations(1), rows)
    assert found is not None
    assert (found.found_tokens, found.connector_tokens, found.share) == (10, 20, 0.125)
    off = {"kv": {"blocks": 10, "prefix_caching": False}}
    assert prefix_cache(off, iterations(1), rows) == found


def loss(shares: dict[float, list[float]], held: float = 1.0) -> CacheLoss | None:
    """Each run schedules 2,000 tokens for prompts of 1,000."""
    runs = {n: [PrefixCache(1000, round(1000 * each), 2000, held) for each in same] for n, same in shares.items()}
    return cache_loss(cache_levels(runs))


def test_what_a_full_pool_can_no_longer_keep_is_computed_again() -> None:
    """From 60 % to 20 % of 1,000 prompt tokens: 400 of the 2,000 scheduled."""
    found = loss({8: [0.6, 0.6], 16: [0.6, 0.6], 32: [0.4, 0.4], 48: [0.2, 0.2]})
    assert found is not None
    assert (found.kept.load, found.first.load, found.last.load) == (16, 32, 48)
    assert found.computed_again == pytest.approx(0.2)


def test_a_share_that_falls_little_by_little_is_told_by_its_ends() -> None:
    found = loss({8: [0.6], 16: [0.57], 24: [0.54], 32: [0.3]})
    assert found is not None
    assert (found.kept.load, found.first.load) == (16, 24)


@pytest.mark.parametrize(
    ("shares", "held"),
    [
        ({8: [0.6], 16: [0.2]}, 0.8),  # the pool had room: something else is to blame
        ({8: [0.6], 16: [0.58]}, 1.0),  # hardly less
        ({8: [0.6, 0.3], 16: [0.4, 0.2]}, 1.0),  # repeats overlap
        ({8: [0.2], 16: [0.6]}, 1.0),  # it rises
        ({8: [0.6], 16: [0.3], 32: [0.6]}, 1.0),  # and comes back
        ({8: [0.6]}, 1.0),
    ],
)
def test_where_that_is_not_shown_nothing_is_said(shares: dict[float, list[float]], held: float) -> None:
    assert loss(shares, held) is None


def test_a_run_without_a_cache_among_others_leaves_no_levels() -> None:
    assert cache_levels({8: [PrefixCache(10, 5, 20, 1)], 16: [None]}) == ()
