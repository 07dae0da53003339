"""What limits a step is read off its row; every share by mental arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

from engine_probe.analysis.step.bottleneck import LIMITS, NAMES, idle_gaps, limits, sentence
from tests.support.small_tables import table

MS = 1_000_000
Make = Callable[..., pa.Table]


WORKERS = table("workers", [])


def facts(chunked: bool = True, asynchronous: bool = False) -> dict[str, Any]:
    """A pool of 100 blocks of 16, batches of 8 requests and 64 tokens."""
    return {
        "kv": {"blocks": 100, "block_size_tokens": 16, "groups": 1, "prefix_caching": True},
        "limits": {"max_num_seqs": 8, "max_num_batched_tokens": 64},
        "model": {"max_model_len": 160},
        "engine": {
            "asynchronous": asynchronous,
            "arguments": {"scheduler_config": {"enable_chunked_prefill": chunked}},
        },
    }


STEPS: dict[str, dict[str, int]] = {
    "KV blocks": {"waiting_requests": 1, "running_requests": 4, "kv_blocks_scheduled": 95},
    "max_num_seqs": {"waiting_requests": 1, "running_requests": 8},
    "token budget": {"waiting_requests": 1, "running_requests": 4, "scheduled_tokens": 64},
    "untold": {"waiting_requests": 1, "running_requests": 4, "kv_blocks_scheduled": 90},
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
    found = limits(facts(), iterations(2, **rows), requests(), WORKERS)
    assert NAMES[found.of_step[1]] == name


def test_a_preemption_is_the_pools_whatever_else_is_full(iterations: Make, requests: Make) -> None:
    steps = iterations(1, preempted_requests=[1], waiting_requests=[1], running_requests=[8], scheduled_tokens=[64])
    assert limits(facts(), steps, requests(), WORKERS).main == "KV blocks"


def test_a_short_request_needs_few_blocks(iterations: Make, requests: Make) -> None:
    """Five blocks are free: too few for 160 tokens, enough for any of these."""
    steps = iterations(1, waiting_requests=[1], running_requests=[4], kv_blocks_scheduled=[95])
    assert limits(facts(), steps, requests(), WORKERS).main == "KV blocks"
    assert limits(facts(), steps, requests({"prompt_tokens": 40, "output_tokens": 40}), WORKERS).main == "untold"


def test_prompts_that_may_not_be_cut_leave_it_untold(iterations: Make, requests: Make) -> None:
    steps = iterations(1, waiting_requests=[1], running_requests=[4], kv_blocks_scheduled=[95], scheduled_tokens=[10])
    assert limits(facts(chunked=False), steps, requests(), WORKERS).main == "untold"


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
    found = limits(facts(), steps, requests(), WORKERS)
    assert found.shares == pytest.approx(dict.fromkeys(NAMES, 0) | {"KV blocks": 0.6, "model": 0.4})
    assert found.idle_share == 0.5
    assert idle_gaps(steps).tolist() == [False] * 4 + [True]
    assert sentence(found) == (
        "Limited by KV blocks in 60% of the busy time: requests waited for KV blocks or were preempted. "
        "The engine had no request for 50% of the whole time."
    )


def test_every_limit_says_its_rule() -> None:
    assert all(limit.rule and limit.meaning for limit in LIMITS)


def test_steps_that_overlap_leave_host_and_model_together(iterations: Make, requests: Make) -> None:
    """Unless the device was timed: 3 ms of work in each 10 ms are the host's fault, 8 are the model's."""
    steps = iterations(2, running_requests=[4, 4])
    assert limits(facts(asynchronous=True), steps, requests(), WORKERS).main == "host or model"
    for device, name in ((3, "host"), (8, "model")):
        timed = [
            {"iteration": number, "rank": rank, "device_ns": device * MS - rank} for number in (0, 1) for rank in (0, 1)
        ]
        assert limits(facts(asynchronous=True), steps, requests(), table("workers", timed)).main == name
        part = table("workers", timed[:2])  # a step that nobody timed
        assert limits(facts(asynchronous=True), steps, requests(), part).main == "host or model"
