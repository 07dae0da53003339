"""Preemption, fragmentation, caching, batches and slow ranks, on tables small enough for the head."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from engine_probe.analysis.step.losses import (
    PreemptedRequest,
    composition,
    kv_fragmentation,
    preemption_cost,
    recomputed_share,
    straggler,
)
from tests.support.recordings.small_tables import table

MS = 1_000_000
Make = Callable[..., pa.Table]
KV: dict[str, Any] = {"blocks": 100, "block_size_tokens": 16, "groups": 1, "prefix_caching": True}


def test_preemptions_are_counted_by_cause(iterations: Make) -> None:
    rows = [{**thrown_out(name, 1, 2, 3), "cause": cause} for name, cause in zip("abc", ("x", "y", "y"), strict=True)]
    assert list(preemption_cost(iterations(1), table("preemptions", rows)).causes.items()) == [("y", 2), ("x", 1)]
    assert not preemption_cost(iterations(1), table("preemptions", [thrown_out("a", 1, 2, 3)])).causes  # version 4


def thrown_out(name: str, at: int, back: int | None, tokens: int) -> dict[str, Any]:
    return {
        "request_id": name,
        "preempted_ns": at * MS,
        "resumed_ns": None if back is None else back * MS,
        "lost_tokens": tokens,
    }


def test_what_preemption_cost_and_whom(iterations: Make) -> None:
    """Half of the second step's 40 tokens had been computed before: half of its 8 ms went into them."""
    rows = [
        thrown_out("a", 10, 30, 15),
        thrown_out("b", 10, 15, 5),
        thrown_out("a", 40, 50, 7),
        thrown_out("c", 60, None, 9),
    ]
    cost = preemption_cost(
        iterations(3, scheduled_tokens=[50, 40, 10], recomputed_tokens=[0, 20, 0]), table("preemptions", rows)
    )
    assert (cost.preemptions, cost.requests, cost.never_resumed) == (4, 3, 1)
    assert (cost.lost_tokens, cost.recomputed_tokens, cost.recomputed_share) == (36, 20, 0.2)
    assert (cost.away_ns, cost.recompute_ns) == (35 * MS, 4 * MS)
    assert cost.worst == (
        PreemptedRequest("a", 2, 30 * MS),
        PreemptedRequest("b", 1, 5 * MS),
        PreemptedRequest("c", 1, 0),
    )


def test_the_recomputed_share_of_several_engines_is_of_all_their_tokens(iterations: Make) -> None:
    one, other = iterations(1, scheduled_tokens=[10], recomputed_tokens=[5]), iterations(1, scheduled_tokens=[90])
    assert recomputed_share(one) == 0.5
    assert recomputed_share(one, other) == 0.05


def test_nobody_was_preempted(iterations: Make) -> None:
    cost = preemption_cost(iterations(1), table("preemptions", []))
    assert (cost.preemptions, cost.away_ns, cost.worst, cost.recomputed_share) == (0, 0, (), 0.0)


def test_half_empty_blocks(iterations: Make) -> None:
    """10 blocks of 16 hold 120 tokens: a quarter of the places is empty."""
    steps = iterations(2, kv_blocks_scheduled=[10, 10], kv_tokens_live=[120, 120])
    assert kv_fragmentation({"kv": KV}, steps) == 0.25
    assert kv_fragmentation({"kv": KV | {"groups": 2}}, steps) is None
    assert kv_fragmentation({"kv": KV}, iterations(2)) is None


def test_a_shared_block_counts_for_each_who_holds_it(iterations: Make) -> None:
    """Two requests of 32 tokens with one block in common: three blocks, four references, 64 tokens."""
    steps = iterations(1, kv_blocks_scheduled=[3], kv_blocks_shared=[1], kv_tokens_live=[64])
    assert kv_fragmentation({"kv": KV}, steps) == 0


def test_rows_that_contradict_each_other_give_no_figure(iterations: Make) -> None:
    assert kv_fragmentation({"kv": KV}, iterations(1, kv_blocks_scheduled=[1], kv_tokens_live=[17])) is None


def test_what_the_batches_were_made_of(iterations: Make) -> None:
    found = composition(
        iterations(
            4,
            scheduled_tokens=[50, 30, 20, 0],
            scheduled_requests=[1, 3, 2, 0],
            prefill_tokens=[50, 20, 0, 0],
            recomputed_tokens=[0, 10, 0, 0],
            decode_tokens=[0, 10, 20, 0],
        ),
        np.array([20, 30, 10, 40]),
    )
    assert found is not None
    assert found.token_shares == pytest.approx({"prefill": 0.6, "recomputed": 0.1, "decode": 0.3, "speculative": 0})
    assert found.steps == {"prefill": 1, "decode": 1, "both": 1}
    assert found.time_shares == pytest.approx({"prefill": 0.2, "decode": 0.1, "both": 0.3})
    assert found.mean_ns == {"prefill": 20, "decode": 10, "both": 30}
    assert found.mean_requests == 2
    assert composition(iterations(1), np.array([10])) is None


def begun(*times: tuple[int, int, int], clock: str = "forward_start_ns") -> list[dict[str, Any]]:
    """Rows of three ranks that begin their forwards at these times of a step."""
    return [
        {"iteration": number, "rank": rank, clock: 100 * number + ns}
        for number, step in enumerate(times)
        for rank, ns in enumerate(step)
    ]


def parallel(stages: int = 1) -> dict[str, Any]:
    return {"engine": {"arguments": {"parallel_config": {"pipeline_parallel_size": stages}}}}


TIMES = ((5, 5, 9), (5, 5, 9), (7, 5, 5), (5, 5, 9))


@pytest.mark.parametrize(("clock", "name"), [("forward_start_ns", "host"), ("device_start_ns", "device")])
def test_the_straggler_begins_its_forward_last(clock: str, name: str) -> None:
    found = straggler(parallel(), table("workers", begun(*TIMES, clock=clock)))
    assert found is not None
    assert (found.rank, found.last_share, found.ranks, found.clock) == (2, 0.75, 3, name)
    assert not found.late  # four steps tell nothing
    assert found.behind_ns == (4 + 4 + 2 + 4) / 4


@pytest.mark.parametrize(("share", "late"), [(0.7, True), (0.36, False)])
def test_a_rank_is_late_only_if_that_is_no_chance(share: float, late: bool) -> None:
    drawn = np.random.default_rng(3)
    last = [2 if drawn.random() < share else int(drawn.integers(2)) for _ in range(300)]
    times = [tuple(9 if rank == which else 5 for rank in range(3)) for which in last]
    found = straggler(parallel(), table("workers", begun(*times)))
    assert found is not None
    assert found.late == late


def test_the_longest_device_time_is_that_of_a_rank_that_waited() -> None:
    """Collectives end together: rank 0 begins first, and its forward takes longest."""
    rows = [
        {"iteration": 0, "rank": rank, "device_start_ns": start, "device_ns": 50 - start}
        for rank, start in enumerate((10, 12, 40))
    ]
    found = straggler(parallel(), table("workers", rows))
    assert found is not None
    assert found.rank == 2


def test_one_rank_is_behind_nobody() -> None:
    assert straggler(parallel(), table("workers", [{"rank": 0, "forward_start_ns": 5}])) is None
    assert straggler(parallel(), table("workers", [])) is None
    torn = [{"iteration": 0, "rank": 0, "forward_start_ns": 1}, {"iteration": 1, "rank": 1, "forward_start_ns": 2}]
    assert straggler(parallel(), table("workers", torn)) is None
    assert straggler({"engine": {"arguments": {}}}, table("workers", begun(*TIMES))) is not None


def test_stages_of_a_pipeline_begin_one_after_the_other_and_recordings_of_version_3_do_not_tell() -> None:
    assert straggler(parallel(stages=3), table("workers", begun(*TIMES))) is None
    old = [{"iteration": 0, "rank": rank, "execute_ns": 5, "device_ns": 5 + rank} for rank in (0, 1)]
    assert straggler(parallel(), table("workers", old)) is None
