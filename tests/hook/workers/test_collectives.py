"""Collectives of two simulated ranks on a CPU: planted work and waiting are recovered, and nothing is left behind."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from engine_probe.analysis.step.collectives import CollectiveWaits, collective_waits
from engine_probe.hook.workers.collectives import ON_A_GPU
from engine_probe.hook.workers.step_rows import attach, detach
from engine_probe.record.reader import read_table
from tests.support.devices.planted_collectives import Forward, Group, eager, stand_in
from tests.support.devices.stand_in_workers import US, Planted, RunnerV1, VirtualClock, Worker, run_step
from tests.support.recordings.small_tables import table

WITHIN = 0.02
SIZE, COLLECTIVES, STEPS = 2, 5, 60
FACTS: dict[str, Any] = {"engine": {"arguments": {"parallel_config": {"tensor_parallel_size": SIZE}}}}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> VirtualClock:
    clock = VirtualClock()
    clock.install(monkeypatch)
    return clock


def ranks_of(clock: VirtualClock, monkeypatch: pytest.MonkeyPatch, folder: Path) -> list[tuple[Worker, Group]]:
    ranks = []
    for rank in range(SIZE):
        group = Group(clock)
        worker = eager(Worker(RunnerV1(clock, Planted(forward=0)), rank))
        worker.model_runner.sample = lambda group=group: group.all_reduce("logits")  # none of the forward's
        stand_in(monkeypatch, group)
        assert attach(worker, str(folder)) is None
        ranks.append((worker, group))
    return ranks


def run_forwards(clock: VirtualClock, ranks: list[tuple[Worker, Group]], forwards: list[Forward]) -> None:
    for forward in forwards:
        at = clock.ns
        for rank, (worker, group) in enumerate(ranks):
            clock.ns = at  # the ranks run side by side
            worker.model_runner.launch = lambda group=group, rank=rank, forward=forward: group.run(forward, rank)
            assert run_step(worker) == "tokens"


def found_in(folder: Path, ranks: list[tuple[Worker, Group]]) -> CollectiveWaits:
    reports = [detach(worker) for worker, _ in ranks]
    assert [report and report["failure"] for report in reports] == [None] * SIZE
    told = {"status": "complete", "kv": {"blocks": 1}, "workers": {"ranks": reports}}
    no_slices = table("operator_slices", [])
    found = collective_waits(
        FACTS, read_table(folder, "workers", told), read_table(folder, "collectives", told), no_slices
    )
    assert found is not None
    return found


def check(found: CollectiveWaits, forwards: list[Forward]) -> None:
    assert (found.steps, found.collectives, found.place) == (len(forwards), COLLECTIVES, "host")
    waits = sum(forward.waits_ns.sum(axis=0) for forward in forwards) / len(forwards)
    work = sum(forward.work_ns.sum(axis=1) for forward in forwards) / len(forwards)
    for rank in found.ranks:
        assert rank.waiting_ns == pytest.approx(waits[rank.rank], rel=WITHIN)
        assert rank.work_ns == pytest.approx(work[rank.rank], rel=WITHIN)
        assert rank.communicating_ns == pytest.approx(COLLECTIVES * 30 * US, rel=WITHIN)


def test_a_late_rank_is_the_straggler_and_the_other_waits(
    clock: VirtualClock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Rank 1 takes 900 µs before each collective, rank 0 takes 600."""
    forwards = [Forward(np.array([[600 * US] * COLLECTIVES, [900 * US] * COLLECTIVES]), 30 * US)] * STEPS
    ranks = ranks_of(clock, monkeypatch, tmp_path)
    run_forwards(clock, ranks, forwards)
    found = found_in(tmp_path, ranks)
    check(found, forwards)
    assert (found.straggler.rank, found.caused_share) == (1, 1.0)
    assert [rank.late for rank in found.ranks] == [False, True]
    assert found.waiting_share == pytest.approx(COLLECTIVES * 300 / (2 * COLLECTIVES * 930), rel=WITHIN)


def test_ranks_that_come_late_in_turns_both_wait(
    clock: VirtualClock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The sums of a step would cancel: only the time of each collective tells what was waited."""
    drawn = np.random.default_rng(7)
    forwards = [Forward(drawn.integers(300 * US, 900 * US, (SIZE, COLLECTIVES)), 30 * US) for _ in range(STEPS)]
    ranks = ranks_of(clock, monkeypatch, tmp_path)
    run_forwards(clock, ranks, forwards)
    found = found_in(tmp_path, ranks)
    check(found, forwards)
    assert min(rank.waiting_ns for rank in found.ranks) > 100 * US
    assert not any(rank.late for rank in found.ranks)
    caused = np.array([sum(f.waits_ns.sum(axis=1)[f.late == rank].sum() for f in forwards) for rank in range(SIZE)])
    assert [rank.caused_ns for rank in found.ranks] == pytest.approx(caused / STEPS, rel=WITHIN)


def test_what_noting_them_takes_a_rank_is_counted(
    clock: VirtualClock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Every reading of this clock takes 1 µs: a third reading follows each collective."""
    ranks = ranks_of(clock, monkeypatch, tmp_path)

    def read() -> int:
        clock.spend(US)
        return clock.ns

    monkeypatch.setattr("engine_probe.hook.workers.collectives.now", read)
    run_forwards(clock, ranks, [Forward(np.full((SIZE, 3), 50 * US), 10 * US)] * 4)
    reports = [detach(worker) for worker, _ in ranks]
    assert [report and report["collectives_probe_ns"] for report in reports] == [4 * 3 * US] * SIZE


def test_collectives_outside_the_forward_are_not_counted_and_nothing_is_left(
    clock: VirtualClock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ranks = ranks_of(clock, monkeypatch, tmp_path)
    run_forwards(clock, ranks, [Forward(np.full((SIZE, 3), 50 * US), 10 * US)] * 4)
    reports = [detach(worker) for worker, _ in ranks]
    assert [report and report["collectives"] for report in reports] == [4, 4]
    assert [len(group.calls) for _, group in ranks] == [16, 16]
    assert not any("_all_reduce_out_place" in vars(group) for _, group in ranks)


@pytest.mark.parametrize(
    ("device", "mode", "reason"), [("cuda", 0, ON_A_GPU), ("cpu", 3, "the model is compiled (mode 3)")]
)
def test_where_the_host_cannot_time_them_the_reason_is_told(
    device: str, mode: int, reason: str, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("engine_probe.hook.workers.step_rows.device_events", lambda worker: (None, None))
    group = Group(clock)
    stand_in(monkeypatch, group)
    worker = Worker(RunnerV1(clock), device=device)
    worker.vllm_config = SimpleNamespace(compilation_config=SimpleNamespace(mode=mode))
    assert attach(worker, str(tmp_path)) is None
    assert "_all_reduce_out_place" not in vars(group)
    report = detach(worker)
    assert report is not None
    assert report["collectives"] is None
    assert report["collectives_missing"].startswith(reason)
    assert not (tmp_path / "collectives-0.arrows").exists()


def test_a_collective_that_fails_fails_as_without_the_probe(
    clock: VirtualClock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (worker, group), *_ = ranks_of(clock, monkeypatch, tmp_path)
    worker.model_runner.launch = lambda: group._all_reduce_out_place("tensor", unknown=1)
    with pytest.raises(TypeError, match="unknown"):
        run_step(worker)
