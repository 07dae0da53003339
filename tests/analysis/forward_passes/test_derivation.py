"""Forward passes derived from a recording by hand; `tests/vllm/probe/test_exactness.py` has those of real engines."""

from typing import Any

import pyarrow as pa

from engine_probe.analysis.forward_passes.derivation import forward_passes
from tests.support.recordings.small_tables import table

STEP = 1000  # ns from the begin of one step to the next: 100 of schedule(), 600 until the output, 50 of the update


def steps(*rows: dict[str, int]) -> pa.Table:
    times = {"schedule_ns": 100, "execute_ns": 600, "update_ns": 50}
    return table("iterations", [{"iteration": i, "start_ns": i * STEP, **times, **row} for i, row in enumerate(rows)])


def request(name: str, prompt: int, first: int, tokens_at: list[int], **more: Any) -> dict[str, Any]:
    """A request that runs from step `first` on and gets a token in each of these."""
    breaks = [i for i in range(1, len(tokens_at)) if tokens_at[i] != tokens_at[i - 1] + 1]
    starts = [tokens_at[i] for i in (0, *breaks)]
    ends = [*breaks, len(tokens_at)]
    return {
        "request_id": name,
        "queued_ns": 0,
        "first_scheduled_ns": first * STEP,
        "finished_ns": tokens_at[-1] * STEP + 750,
        "prompt_tokens": prompt,
        "output_tokens": len(tokens_at),
        "run_starts": starts,
        "run_lengths": [end - begin for begin, end in zip((0, *breaks), ends, strict=True)],
        **more,
    }


def rows(iterations: pa.Table, requests: list[dict[str, Any]], preemptions: list[dict[str, Any]] = ()) -> list[Any]:
    return forward_passes(iterations, table("requests", requests), table("preemptions", list(preemptions))).to_pylist()


def test_chunks_of_two_prompts_and_their_decodes() -> None:
    """a (100 tokens, 20 cached) takes 64 in step 0 and 16 in step 1, where b (60) takes 48, and 12 in step 2."""
    iterations = steps(
        {"scheduled_requests": 1, "scheduled_tokens": 64, "prefill_tokens": 64, "running_requests": 1,
         "waiting_requests": 1, "arrived_requests": 2},
        {"scheduled_requests": 2, "scheduled_tokens": 64, "prefill_tokens": 64, "running_requests": 2},
        {"scheduled_requests": 2, "scheduled_tokens": 13, "prefill_tokens": 12, "running_requests": 2},
        {"scheduled_requests": 2, "scheduled_tokens": 2, "running_requests": 2},
    )  # fmt: skip
    found = rows(iterations, [request("a", 100, 0, [1, 2, 3], cached_tokens=20), request("b", 60, 1, [2, 3])])
    assert [row["scheduled_num_prefill_requests"] for row in found] == [1, 2, 1, 0]
    assert [row["scheduled_sum_prefill_tokens"] for row in found] == [64, 64, 12, 0]
    assert [row["scheduled_sum_prefill_kv_tokens"] for row in found] == [20, 84, 48, 0]
    assert [row["scheduled_var_prefill_length"] for row in found] == [0, 400, 0, 0]
    assert [row["scheduled_num_decode_requests"] for row in found] == [0, 0, 1, 2]
    assert [row["scheduled_sum_decode_kv_tokens"] for row in found] == [0, 0, 100, 101 + 60]
    assert found[3]["scheduled_var_decode_kv_tokens"] == 20.5**2
    assert [row["queued_num_prefill_requests"] for row in found] == [1, 0, 0, 0]
    assert [row["queued_sum_prefill_tokens"] for row in found] == [60, 0, 0, 0]
    assert [row["wall_time"] for row in found] == [600e-9, 1000e-9, 1000e-9, 1000e-9]


def test_a_preempted_request_is_queued_without_kv_and_resumed_as_a_decode() -> None:
    """b is preempted in step 2 with 31 tokens in the cache, of which 16 are found again in step 4."""
    iterations = steps(
        {"scheduled_requests": 2, "scheduled_tokens": 70, "prefill_tokens": 70, "running_requests": 2,
         "arrived_requests": 2},
        {"scheduled_requests": 2, "scheduled_tokens": 2, "running_requests": 2},
        {"scheduled_requests": 1, "scheduled_tokens": 1, "running_requests": 1, "waiting_requests": 1},
        {"scheduled_requests": 1, "scheduled_tokens": 1, "running_requests": 1, "waiting_requests": 1},
        {"scheduled_requests": 1, "scheduled_tokens": 16, "prefill_tokens": 16, "running_requests": 1},
    )  # fmt: skip
    event = {
        "request_id": "b", "iteration": 2, "preempted_ns": 2 * STEP + 50, "lost_tokens": 31, "recomputed_tokens": 15,
        "resumed_iteration": 4, "resumed_ns": 4 * STEP,
    }  # fmt: skip
    found = rows(iterations, [request("a", 40, 0, [0, 1, 2, 3]), request("b", 30, 0, [0, 1, 4])], [event])
    assert [row["queued_num_decode_requests"] for row in found] == [0, 0, 1, 1, 0]
    assert [row["queued_sum_decode_kv_tokens"] for row in found] == [0] * 5
    assert [row["scheduled_num_decode_requests"] for row in found] == [0, 2, 1, 1, 1]
    assert [row["scheduled_sum_decode_kv_tokens"] for row in found] == [0, 70, 41, 42, 16]


def test_what_does_not_add_up_is_null() -> None:
    """A request that was aborted before its first token has no row of tokens: who computed what is not known."""
    iterations = steps(
        {"scheduled_requests": 2, "scheduled_tokens": 50, "prefill_tokens": 50, "running_requests": 2,
         "arrived_requests": 2},
        {"scheduled_requests": 1, "scheduled_tokens": 1, "running_requests": 1},
    )  # fmt: skip
    aborted = {"request_id": "b", "queued_ns": 0, "first_scheduled_ns": 0, "finished_ns": 800, "prompt_tokens": 90}
    first, second = rows(iterations, [request("a", 40, 0, [0, 1]), aborted])
    assert first["scheduled_num_prefill_requests"] is first["queued_num_prefill_requests"] is None
    assert second["scheduled_sum_decode_kv_tokens"] == 40


def test_steps_with_deferred_requests_are_unknown_beside_a_connector() -> None:
    iterations = steps(
        {"scheduled_requests": 1, "scheduled_tokens": 40, "prefill_tokens": 40, "running_requests": 1,
         "deferred_requests": 1, "arrived_requests": 2},
    )  # fmt: skip
    waiting = {"request_id": "b", "queued_ns": 0, "finished_ns": 10**9, "prompt_tokens": 90}
    tables = iterations, table("requests", [request("a", 40, 0, [0]), waiting]), table("preemptions", [])
    assert forward_passes(*tables)["queued_sum_prefill_tokens"].to_pylist() == [90]
    assert forward_passes(*tables, deferred_have_kv=True)["queued_sum_prefill_tokens"].to_pylist() == [None]


def test_time_without_work_is_in_no_wall_time() -> None:
    """Between steps 0 and 1 nothing was in flight; step 2 computed no token, so that step 3 begins anew."""
    one = {"scheduled_requests": 1, "scheduled_tokens": 1, "running_requests": 1}
    iterations = steps(one | {"arrived_requests": 1}, one | {"arrived_requests": 1}, {"running_requests": 1}, one, one)
    assert [row["wall_time"] for row in rows(iterations, [])] == [600e-9, 600e-9, 600e-9, 1000e-9]
