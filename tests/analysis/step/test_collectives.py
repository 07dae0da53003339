"""Waiting by arithmetic: two ranks, two collectives; on GPUs from the kernels in a window of operators."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from engine_probe.analysis.step.collectives import RankWait, collective_waits
from tests.support.recordings.small_tables import table

NONE = table("operator_slices", [])
Rows = list[dict[str, Any]]


def facts(tensor: int = 2, pipeline: int = 1, **operators: Any) -> dict[str, Any]:
    parallel = {"tensor_parallel_size": tensor, "pipeline_parallel_size": pipeline}
    ranks = [{"rank": rank, "operators": operators or None} for rank in range(tensor * pipeline)]
    return {"engine": {"arguments": {"parallel_config": parallel}}, "workers": {"ranks": ranks}}


def workers(*forwards: int, steps: int = 1) -> pa.Table:
    rows = [
        {"iteration": step, "rank": rank, "forward_ns": ns} for step in range(steps) for rank, ns in enumerate(forwards)
    ]
    return table("workers", rows)


def times(*durations: list[int], iteration: int = 0) -> Rows:
    return [{"iteration": iteration, "rank": rank, "durations_ns": ns} for rank, ns in enumerate(durations)]


def test_what_a_rank_spends_beyond_the_last_to_begin_it_waited() -> None:
    """Rank 0 waits 40 in the first collective, rank 1 waits 20 in the second."""
    found = collective_waits(facts(), workers(100, 90), table("collectives", times([50, 10], [10, 30])), NONE)
    assert found is not None
    assert found.ranks == (RankWait(0, 100, 20, 40, 20), RankWait(1, 90, 20, 20, 40))
    assert (found.ranks[0].work_ns, found.ranks[1].work_ns) == (40, 50)
    assert (found.straggler.rank, found.caused_share) == (1, pytest.approx(2 / 3))
    assert (found.waiting_share, found.steps, found.collectives) == (pytest.approx(60 / 190), 1, 2)


def test_only_steps_that_all_ranks_saw_alike_count() -> None:
    """The second step lacks rank 1, and the third has another number of collectives on each."""
    rows = [*times([5, 5], [1, 1]), *times([9, 9], iteration=1), *times([7, 7], [7, 7, 7], iteration=2)]
    found = collective_waits(facts(), workers(100, 100, steps=3), table("collectives", rows), NONE)
    assert found is not None
    assert (found.steps, found.ranks[0].waiting_ns) == (1, 8)


def test_stages_of_a_pipeline_do_not_wait_for_each_other_here() -> None:
    rows = times([9], [4], [100], [130])
    found = collective_waits(facts(pipeline=2), workers(200, 200, 200, 200), table("collectives", rows), NONE)
    assert found is not None
    assert [rank.waiting_ns for rank in found.ranks] == [5, 0, 0, 30]


def test_no_collectives_no_waiting() -> None:
    rows = table("collectives", times([5], [1]))
    assert collective_waits(facts(tensor=1), workers(10, 10), rows, NONE) is None
    assert collective_waits(facts(), workers(10, 10), table("collectives", []), NONE) is None


def kernels(rank: int, *spans: tuple[int, int], name: str = "collective") -> Rows:
    return [
        {"rank": rank, "start_ns": begin, "duration_ns": end - begin, "place": "device", "kind": name}
        for begin, end in spans
    ]


def on_gpus(**more: Any) -> tuple[dict[str, Any], pa.Table, pa.Table]:
    """Two forwards of 1,000 on two GPUs; rank 1 comes 200 later to the first collective of each."""
    steps = [
        {"iteration": step, "rank": rank, "device_start_ns": 10_000 * step + late, "device_ns": 1_000 - late}
        for step in (4, 5)
        for rank, late in ((0, 0), (1, 150))
    ]
    slices = []
    for begin in (40_000, 50_000):
        slices += kernels(0, (begin + 100, begin + 350), (begin + 600, begin + 640))
        slices += kernels(1, (begin + 300, begin + 350), (begin + 610, begin + 640))
        slices += kernels(0, (begin + 1_500, begin + 1_900))  # of the logits
        slices += kernels(0, (begin + 400, begin + 500), name="attention")
    return facts(**({"slices_left_out": 0} | more)), table("workers", steps), table("operator_slices", slices)


def test_on_gpus_the_kernels_in_a_window_of_operators_tell() -> None:
    told, steps, slices = on_gpus()
    found = collective_waits(told, steps, table("collectives", []), slices)
    assert found is not None
    assert (found.place, found.steps, found.collectives, found.straggler.rank) == ("device", 2, 2, 1)
    assert found.ranks == (RankWait(0, 1_000, 80, 210, 0), RankWait(1, 850, 80, 0, 210))


def test_slices_that_were_not_all_kept_tell_nothing() -> None:
    told, steps, slices = on_gpus(slices_left_out=1)
    assert collective_waits(told, steps, table("collectives", []), slices) is None
