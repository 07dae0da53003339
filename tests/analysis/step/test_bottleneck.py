"""What limits a step is read off its row; every share by mental arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

from engine_probe.analysis.step.bottleneck import LIMITS, NAMES, idle_gaps, limits, sentence
from tests.support.recordings.small_tables import table
from tests.support.values import values

MS = 1_000_000
Make = Callable[..., pa.Table]


WORKERS = table("workers", [])
NO_PREEMPTIONS = table("preemptions", [])


def facts(chunked: bool = True, asynchronous: bool = False) -> dict[str, Any]:
    """A pool of 100 blocks of 16, batches of 8 requests and 64 tokens."""
    return {
        "kv": {"blocks": 100, "block_size_tokens": 16, "groups": 1, "prefix_caching": True},
        "limits": {"max_num_seqs": 8, "max_num_batched_tokens": 64},
        "model": {"max_model_len": 160},
        "engine": {
            "asynchronous": asynchronous,
            "arguments": {"scheduler_config": {"enable_chunked_prefill": chunked, "scheduler_reserve_full_isl": True}},
        },
    }


STEPS: dict[str, dict[str, int]] = {
    "KV blocks": {"waiting_requests": 1, "running_requests": 4, "kv_blocks_scheduled": 95},
    "max_num_seqs": {"waiting_requests": 1, "running_requests": 8},
    "token budget": {"waiting_requests": 1, "running_requests": 4, "scheduled_tokens": 64},
    "deferral": {"deferred_requests": 1, "running_requests": 4},
    "unknown": {"waiting_requests": 1, "running_requests": 4, "kv_blocks_scheduled": 90},
    "host": {"running_requests": 4, "start_ns": 20 * MS},
    "model": {"running_requests": 4, "start_ns": 15 * MS},
}


@pytest.mark.parametrize("name", STEPS)
def test_a_step_of_each_kind(name: str, iterations: Make, requests: Make) -> None:
    """The longest request takes 160 tokens, ten blocks; a step is 1 ms schedule, 8 execute, 1 update.

    The step before ends at 10 ms. Of one that begins 5 ms later execution is the longer part, 8 of 15 ms; of one
    that begins 10 ms later the shorter, 8 of 20.
    """
    rows = {column: [int(column == "running_requests"), value] for column, value in STEPS[name].items()}
    found = limits(facts(), iterations(2, **rows), requests(), NO_PREEMPTIONS, WORKERS)
    assert found.sets[found.of_step[1]] == (name,)


def test_a_step_that_preempts_lacks_blocks_whatever_else_is_full(iterations: Make, requests: Make) -> None:
    steps = iterations(1, preempted_requests=[1], waiting_requests=[1], running_requests=[8], scheduled_tokens=[64])
    assert limits(facts(), steps, requests(), NO_PREEMPTIONS, WORKERS).main == "KV blocks"


def test_a_full_batch_over_a_full_pool_is_both(iterations: Make, requests: Make) -> None:
    """Raising max_num_seqs alone would admit nobody, and neither would more blocks."""
    steps = iterations(1, waiting_requests=[1], running_requests=[8], kv_blocks_scheduled=[95])
    found = limits(facts(), steps, requests(), NO_PREEMPTIONS, WORKERS)
    assert found.main == "KV blocks + max_num_seqs"
    assert found.bound("KV blocks") == found.bound("max_num_seqs") == 1
    assert sentence(found).endswith("Raising only one of these limits would have admitted no request.")


def test_what_requests_waited_for_is_said_beside_the_pace(iterations: Make, requests: Make) -> None:
    """Three of five steps wait for nothing, two for blocks."""
    steps = iterations(
        5, waiting_requests=[1, 1, 0, 0, 0], running_requests=[4] * 5, kv_blocks_scheduled=[95, 95, 0, 0, 0]
    )
    found = limits(facts(), steps, requests(), NO_PREEMPTIONS, WORKERS)
    assert found.main == "model"
    pace, waited = sentence(found).split(". ")
    assert (values(pace), values(waited)) == (["60%"], ["40%"])
    assert "model" in pace
    assert "KV blocks" in waited


def test_raising_is_no_help_against_what_is_no_setting(iterations: Make, requests: Make) -> None:
    steps = iterations(1, waiting_requests=[1], deferred_requests=[1], running_requests=[8])
    found = limits(facts(), steps, requests(), NO_PREEMPTIONS, WORKERS)
    assert found.main == "max_num_seqs + deferral"
    assert "Raising" not in sentence(found)


def test_tokens_computed_again_are_charged_to_the_pool(iterations: Make, requests: Make) -> None:
    """A step spends its budget of 64 tokens, 48 of them a second time: a quarter of it is the budget's."""
    steps = iterations(1, waiting_requests=[1], running_requests=[4], scheduled_tokens=[64], recomputed_tokens=[48])
    found = limits(facts(), steps, requests(), NO_PREEMPTIONS, WORKERS)
    assert (found.shares["KV blocks"], found.shares["token budget"]) == (0.75, 0.25)
    assert found.main == "KV blocks"


def test_the_limit_met_longest_is_the_main_one_though_mostly_with_different_others(
    iterations: Make, requests: Make
) -> None:
    """KV blocks alone in two steps, with the budget in two, the budget alone in one: four of five are the pool's."""
    steps = iterations(
        5,
        waiting_requests=[1] * 5,
        running_requests=[4] * 5,
        kv_blocks_scheduled=[95, 95, 95, 95, 0],
        scheduled_tokens=[8, 8, 64, 64, 64],
    )
    found = limits(facts(), steps, requests(), NO_PREEMPTIONS, WORKERS)
    assert found.main == "KV blocks"
    assert found.bound("KV blocks") == pytest.approx(0.8)
    assert found.bound("token budget") == pytest.approx(0.6)
    assert found.shares["KV blocks + token budget"] == pytest.approx(0.4)


def test_shares_are_of_the_busy_time(iterations: Make, requests: Make) -> None:
    """Three steps of 10 ms wait for blocks, one does not; then 60 ms without a request, and another step."""
    steps = iterations(
        5,
        waiting_requests=[1, 1, 1, 0, 0],
        running_requests=[4, 4, 4, 4, 4],
        kv_blocks_scheduled=[100] * 5,
        finished_requests=[0, 0, 0, 4, 4],
        gap_ns=[0, 0, 0, 0, 50 * MS],
        start_ns=[0, 10 * MS, 20 * MS, 30 * MS, 90 * MS],
    )
    found = limits(facts(), steps, requests(), NO_PREEMPTIONS, WORKERS)
    assert found.shares == pytest.approx(dict.fromkeys(NAMES, 0) | {"KV blocks": 0.6, "model": 0.4})
    assert found.idle_share == 0.5
    assert idle_gaps(steps).tolist() == [False] * 4 + [True]
    assert sentence(found).startswith("Requests waited for KV blocks")
    assert (values(sentence(found))[0], values(sentence(found))[-1]) == ("60%", "50%")


def test_every_limit_says_its_rule() -> None:
    assert all(limit.rule and limit.meaning for limit in LIMITS)


def test_steps_that_overlap_leave_host_and_model_together(iterations: Make, requests: Make) -> None:
    """Unless the device was timed: 3 ms of work in each 10 ms are the host's fault, 8 are the model's."""
    steps = iterations(2, running_requests=[4, 4])
    assert limits(facts(asynchronous=True), steps, requests(), NO_PREEMPTIONS, WORKERS).main == "host or model"
    for device, name in ((3, "host"), (8, "model")):
        timed = [
            {"iteration": number, "rank": rank, "device_start_ns": 1, "device_ns": device * MS - rank}
            for number in (0, 1)
            for rank in (0, 1)
        ]
        assert limits(facts(asynchronous=True), steps, requests(), NO_PREEMPTIONS, table("workers", timed)).main == name
        part = table("workers", timed[:2])  # a step that nobody timed
        assert limits(facts(asynchronous=True), steps, requests(), NO_PREEMPTIONS, part).main == "host or model"
