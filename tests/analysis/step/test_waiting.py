"""Who refused the next request: every constraint by mental arithmetic, over a queue of known order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import numpy as np
import pyarrow as pa

from engine_probe.analysis.step.bottleneck import waiting_reasons
from engine_probe.analysis.step.waiting import Waiting, waiting
from engine_probe.record.schema import WaitingReason
from tests.support.recordings.small_tables import table

MS = 1_000_000
Make = Callable[..., pa.Table]
FULL_PROMPT = {"enable_chunked_prefill": True, "scheduler_reserve_full_isl": True}


def facts(groups: int = 1, **scheduler: Any) -> dict[str, Any]:
    """A pool of 100 blocks of 16 tokens; a batch of 8 requests and 64 tokens."""
    return {
        "kv": {"blocks": 100, "block_size_tokens": 16, "groups": groups},
        "limits": {"max_num_seqs": 8, "max_num_batched_tokens": 64},
        "model": {"max_model_len": 1600},
        "engine": {"arguments": {"scheduler_config": FULL_PROMPT | scheduler}},
    }


def request(name: str, queued: int, admitted: int, prompt: int, cached: int = 0) -> dict[str, Any]:
    """A request that enters the queue before one step and leaves it in another, of 10 ms each."""
    return {
        "request_id": name,
        "queued_ns": queued * 10 * MS,
        "first_scheduled_ns": admitted * 10 * MS,
        "prompt_tokens": prompt,
        "cached_tokens": cached,
        "output_tokens": 1,
    }


def preemption(at: int, resumed: int, lost: int, recomputed: int) -> dict[str, Any]:
    return {
        "request_id": "preempted",
        "iteration": at,
        "preempted_ns": at * 10 * MS + 1,
        "lost_tokens": lost,
        "resumed_iteration": resumed,
        "recomputed_tokens": recomputed,
    }


def of(steps: pa.Table, requests: pa.Table, *preempted: dict[str, Any], groups: int = 1, **scheduler: Any) -> Waiting:
    return waiting(facts(groups, **scheduler), steps, requests, table("preemptions", list(preempted)))


def test_the_next_prompt_has_to_fit_whole(iterations: Make, requests: Make) -> None:
    """Five blocks are free: too few for a prompt of 96 tokens, enough for one of 80."""
    steps = iterations(2, waiting_requests=[1, 0], running_requests=[4, 5], kv_blocks_scheduled=[95, 100])
    assert of(steps, requests(request("a", 0, 1, 96))).kv_blocks.tolist() == [True, False]
    found = of(steps, requests(request("a", 0, 1, 80)))
    assert (found.kv_blocks.tolist(), found.unknown.tolist()) == ([False, False], [True, False])


def test_a_first_chunk_is_enough_where_vllm_reserves_no_more(iterations: Make, requests: Make) -> None:
    """64 tokens at most enter a step: four blocks."""
    steps = iterations(2, waiting_requests=[1, 0], running_requests=[4, 5], kv_blocks_scheduled=[95, 100])
    found = of(steps, requests(request("a", 0, 1, 96)), scheduler_reserve_full_isl=False)
    assert found.unknown.tolist() == [True, False]


def test_the_watermark_stays_free(iterations: Make, requests: Make) -> None:
    """Ten of 101 blocks are kept free: 14 free blocks hold a prompt of four blocks, and none of five."""
    steps = iterations(2, waiting_requests=[1, 0], running_requests=[4, 5], kv_blocks_scheduled=[86, 100])
    assert of(steps, requests(request("a", 0, 1, 80)), watermark=0.1).kv_blocks[0]
    assert of(steps, requests(request("a", 0, 1, 64)), watermark=0.1).unknown[0]


def test_cached_tokens_may_need_no_block(iterations: Make, requests: Make) -> None:
    """80 of 96 prompt tokens were cached: at least one block was needed, at most six, and five are free."""
    steps = iterations(2, waiting_requests=[1, 0], running_requests=[4, 5], kv_blocks_scheduled=[95, 100])
    cached = requests(request("a", 0, 1, 96, cached=80))
    assert of(steps, cached).kv_blocks[0]  # it waited, and nothing else refused it
    full = iterations(2, waiting_requests=[1, 0], running_requests=[8, 8], kv_blocks_scheduled=[95, 100])
    found = of(full, cached)
    assert (found.max_num_seqs[0], found.kv_blocks[0]) == (True, False)  # the batch did, and the pool need not have


def test_every_group_of_layers_takes_blocks_of_its_own(iterations: Make, requests: Make) -> None:
    steps = iterations(2, waiting_requests=[1, 0], running_requests=[4, 5], kv_blocks_scheduled=[93, 100])
    assert of(steps, requests(request("a", 0, 1, 64))).unknown[0]
    assert of(steps, requests(request("a", 0, 1, 64)), groups=2).kv_blocks[0]


def test_a_preempted_request_stands_first(iterations: Make, requests: Make) -> None:
    """It lost 95 tokens and needs six blocks for these and the token after; five are free, and the other needs one."""
    steps = iterations(3, waiting_requests=[0, 2, 0], running_requests=[4, 4, 6], kv_blocks_scheduled=[99, 95, 100])
    found = of(steps, requests(request("a", 0, 2, 16)), preemption(0, 2, 95, 95))
    assert found.kv_blocks.tolist() == [False, True, False]


def test_one_preempted_later_does_not_stand_in_the_queue_yet(iterations: Make, requests: Make) -> None:
    """In step 1 only the short request waits, which has room: what is preempted in step 2 is not asked."""
    steps = iterations(
        4,
        waiting_requests=[0, 1, 2, 0],
        running_requests=[4, 4, 3, 5],
        kv_blocks_scheduled=[95] * 4,
        preempted_requests=[0, 0, 1, 0],
    )
    found = of(steps, requests(request("a", 1, 3, 16)), preemption(2, 3, 95, 95))
    assert found.unknown.tolist() == [False, True, False, False]
    assert found.kv_blocks.tolist() == [False, False, True, False]


def test_fewer_active_requests_than_the_batch_holds(iterations: Make, requests: Make) -> None:
    steps = iterations(2, waiting_requests=[1, 1], running_requests=[4, 8])
    found = of(steps, requests(request("a", 0, 9, 16)), max_num_active_seqs=4)
    assert found.max_num_active_seqs.tolist() == [True, False]
    assert found.max_num_seqs.tolist() == [False, True]


def test_a_prompt_that_may_not_be_cut_waits_for_its_whole_budget(iterations: Make, requests: Make) -> None:
    steps = iterations(2, waiting_requests=[1, 1], running_requests=[4, 4], scheduled_tokens=[30, 20])
    found = of(steps, requests(request("a", 0, 9, 40)), enable_chunked_prefill=False)
    assert found.token_budget.tolist() == [True, False]


def test_settings_of_a_damaged_file_count_as_absent(iterations: Make, requests: Make) -> None:
    steps = iterations(2, waiting_requests=[1, 0], running_requests=[4, 5], kv_blocks_scheduled=[95, 100])
    for damaged in ({"watermark": "much"}, {"max_num_active_seqs": -1}, {"enable_chunked_prefill": None}):
        assert of(steps, requests(request("a", 0, 1, 96)), **damaged).unknown[0]  # as if a first chunk were enough


def test_a_queue_that_everybody_enters_late_ends_soon(iterations: Make, requests: Make) -> None:
    """Nobody known was in the queue in the first step, however many come later: the longest request is asked."""
    steps = iterations(400, waiting_requests=[1] * 400, running_requests=[4] * 400, kv_blocks_scheduled=[95] * 400)
    late = [request(str(number), 399, 399, 16) for number in range(300)]
    assert of(steps, requests(*late, request("long", 399, 399, 96))).kv_blocks[0]


def test_a_request_that_is_held_back_waits_for_something_else(iterations: Make, requests: Make) -> None:
    steps = iterations(2, deferred_requests=[1, 1], waiting_requests=[0, 1], running_requests=[4, 8])
    found = of(steps, requests())
    assert found.deferral.tolist() == [True, True]
    assert found.max_num_seqs.tolist() == [False, True]


# ---- recorded reasons


def test_a_recorded_reason_is_what_refused(iterations: Make, requests: Make) -> None:
    """Five blocks are free and one is needed, and places are left: only the recording knows of the others."""
    names = ("KV_BLOCKS", "WATERMARK", "DRAFT_SLOTS", "PREFILL_INTERVAL", "PAUSE", "ENCODER", "UNKNOWN", "NOBODY")
    count = len(names)
    steps = iterations(
        count,
        waiting_requests=[1] * count,
        running_requests=[4] * count,
        kv_blocks_scheduled=[95] * count,
        waiting_reason=[WaitingReason[name] for name in names],
    )
    found = of(steps, requests(request("a", 0, count, 16)))
    for place, name in enumerate(names[:-1]):
        met = [flags.name for flags in fields(found) if getattr(found, flags.name)[place]]
        assert met == [name.lower()]
    assert not any(getattr(found, flags.name)[-1] for flags in fields(found))


def test_what_would_have_refused_as_well_is_derived(iterations: Make, requests: Make) -> None:
    """The batch is full, and five blocks are free for a prompt of six: vLLM stopped before it asked for blocks."""
    full = {"waiting_requests": [1], "running_requests": [8], "kv_blocks_scheduled": [95]}
    steps = iterations(1, **full, waiting_reason=[WaitingReason.MAX_NUM_SEQS])
    found = of(steps, requests(request("a", 0, 1, 96)))
    assert (found.max_num_seqs.tolist(), found.kv_blocks.tolist()) == ([True], [True])


def test_a_reset_of_the_prefix_cache_is_no_want_of_blocks(iterations: Make, requests: Make) -> None:
    """All were preempted before the step; in the second, one was for want of blocks."""
    steps = iterations(
        2,
        waiting_requests=[1, 1],
        running_requests=[8, 8],
        preempted_requests=[4, 1],
        waiting_reason=[WaitingReason.MAX_NUM_SEQS, WaitingReason.PREEMPTION],
    )
    found = of(steps, requests(request("a", 0, 2, 16)))
    assert found.kv_blocks.tolist() == [False, True]
    assert found.max_num_seqs.tolist() == [True, False]


def test_the_reasons_that_were_recorded_are_told_with_their_share_of_the_busy_time(iterations: Make) -> None:
    """Three steps of 10, 20 and 70 ms: nobody waited in the first."""
    steps = iterations(3, waiting_reason=[WaitingReason.NOBODY, WaitingReason.MAX_NUM_SEQS, WaitingReason.KV_BLOCKS])
    assert waiting_reasons(steps, np.array([10, 20, 70])) == (
        (WaitingReason.KV_BLOCKS.words, 1, 0.7),
        (WaitingReason.MAX_NUM_SEQS.words, 1, 0.2),
    )
