"""The phases of a step in a worker: planted times are recovered, and nothing is left behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine_probe.hook.workers import step_rows
from engine_probe.hook.workers.phases import PhaseMarks
from engine_probe.hook.workers.step_rows import attach, detach
from engine_probe.record.reader import read_stream
from tests.support.devices.stand_in_workers import (
    US,
    GraphMode,
    Planted,
    RunnerV1,
    RunnerV2,
    VirtualClock,
    Worker,
    in_graphs,
    run_step,
    scheduled,
)

PLANTED = Planted(preparation=110 * US, forward=520 * US, logits=23 * US, sampling=31 * US, bookkeeping=47 * US)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> VirtualClock:
    clock = VirtualClock()
    clock.install(monkeypatch)
    return clock


def recorded(worker: Worker, folder: Path, steps: int = 3) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Run steps with the hook attached; return their rows and the report of the rank."""
    assert attach(worker, str(folder)) is None
    for _ in range(steps):
        assert run_step(worker) == "tokens"
    report = detach(worker)
    assert report is not None
    return read_stream(folder / f"workers-{worker.rank}.arrows", "workers").to_pylist(), report


def test_the_phases_of_runner_v1_are_the_planted_ones(clock: VirtualClock, tmp_path: Path) -> None:
    rows, report = recorded(Worker(RunnerV1(clock, PLANTED)), tmp_path)
    assert (report["rows"], report["failure"], report["phases_missing"]) == (3, None, None)
    for row in rows:
        assert row["forward_start_ns"] - row["start_ns"] == PLANTED.preparation
        assert row["forward_ns"] == PLANTED.forward
        assert row["start_ns"] + row["execute_ns"] == row["forward_start_ns"] + PLANTED.forward + PLANTED.logits
        assert row["sample_start_ns"] == row["start_ns"] + row["execute_ns"]
        assert row["sample_ns"] == PLANTED.sampling + PLANTED.bookkeeping
        assert row["bookkeep_ns"] == PLANTED.bookkeeping


def test_runner_v2_tells_where_the_forward_begins_and_not_its_bookkeeping(clock: VirtualClock, tmp_path: Path) -> None:
    rows, report = recorded(Worker(RunnerV2(clock, PLANTED)), tmp_path)
    assert report["phases_missing"] is None
    for row in rows:
        assert row["forward_start_ns"] - row["start_ns"] == PLANTED.preparation
        assert row["forward_ns"] == PLANTED.forward
        assert row["execute_ns"] == PLANTED.preparation + PLANTED.forward
        assert row["sample_ns"] == PLANTED.logits + PLANTED.sampling + PLANTED.bookkeeping
        assert row["bookkeep_ns"] is None


def test_a_runner_without_the_seams_is_recorded_without_phases_and_said(clock: VirtualClock, tmp_path: Path) -> None:
    class StrangeRunner:
        def execute_model(self, scheduler_output: Any, intermediate_tensors: Any = None) -> Any:
            clock.spend(7)

        def sample_tokens(self, grammar_output: Any) -> str:
            return "tokens"

    rows, report = recorded(Worker(StrangeRunner()), tmp_path)
    assert "StrangeRunner" in report["phases_missing"]
    assert [row["execute_ns"] for row in rows] == [7, 7, 7]
    unknown = ("forward_start_ns", "forward_ns", "bookkeep_ns", "graph_mode", "computed_tokens")
    assert {row[name] for row in rows for name in unknown} == {None}


@pytest.mark.parametrize("runner", [RunnerV1, RunnerV2])
@pytest.mark.parametrize(("mode", "code"), [(GraphMode.PIECEWISE, 1), (GraphMode.FULL, 2)])
def test_each_step_has_its_graph_mode_and_its_padding(
    clock: VirtualClock, tmp_path: Path, runner: Any, mode: GraphMode, code: int
) -> None:
    worker = Worker(runner(clock, dispatch=in_graphs((1, 2, 4, 8), mode)))
    assert attach(worker, str(tmp_path)) is None
    for tokens in (1, 3, 8, 9):
        run_step(worker, tokens)
    told = detach(worker)
    assert told is not None
    assert told["failure"] is None
    rows = read_stream(tmp_path / "workers-0.arrows", "workers").to_pylist()
    assert [row["scheduled_tokens"] for row in rows] == [1, 3, 8, 9]
    assert [row["computed_tokens"] for row in rows] == [1, 4, 8, 9]
    assert [row["graph_mode"] for row in rows] == [code, code, code, 0]


def test_a_batch_without_tokens_of_ours_changes_no_step(clock: VirtualClock, tmp_path: Path) -> None:
    """An idle data parallel rank runs batches of padding between two steps, also after a step's forward."""
    worker = Worker(RunnerV1(clock, dispatch=in_graphs((4,), GraphMode.FULL)))
    assert attach(worker, str(tmp_path)) is None
    worker.execute_model(scheduled(9))
    worker.model_runner._determine_batch_execution_and_padding(1, 1)
    worker.sample_tokens(None)
    worker.model_runner._determine_batch_execution_and_padding(1, 1)
    detach(worker)
    (row,) = read_stream(tmp_path / "workers-0.arrows", "workers").to_pylist()
    assert (row["graph_mode"], row["computed_tokens"]) == (0, 9)


def test_a_step_that_samples_in_execute_model_has_no_sampling(clock: VirtualClock, tmp_path: Path) -> None:
    worker = Worker(RunnerV1(clock))
    worker.model_runner.execute_model = lambda *args: (worker.model_runner._model_forward(unknown_to_the_probe=1), 1)
    assert attach(worker, str(tmp_path)) is None
    assert worker.execute_model(scheduled(1)) == ("hidden states", 1)
    detach(worker)
    (row,) = read_stream(tmp_path / "workers-0.arrows", "workers").to_pylist()
    assert (row["forward_ns"], row["sample_start_ns"], row["sample_ns"], row["bookkeep_ns"]) == (
        500 * US,
        None,
        0,
        None,
    )


@pytest.mark.parametrize("runner", [RunnerV1, RunnerV2])
def test_everything_is_put_back(clock: VirtualClock, tmp_path: Path, runner: Any) -> None:
    worker = Worker(runner(clock))
    held = [worker, worker.model_runner, getattr(worker.model_runner, "step_timing", worker)]
    before = [dict(vars(each)) for each in held]
    recorded(worker, tmp_path)
    assert [dict(vars(each)) for each in held] == before


def test_an_attachment_that_fails_half_way_leaves_nothing(
    clock: VirtualClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("planted")

    monkeypatch.setattr(PhaseMarks, "__init__", fail)
    worker = Worker(RunnerV1(clock))
    before = dict(vars(worker))
    assert "planted" in (attach(worker, str(tmp_path)) or "")
    assert vars(worker) == before


def test_a_forward_outside_a_step_passes_through(clock: VirtualClock, tmp_path: Path) -> None:
    """vLLM runs forwards of its own, such as dummy runs of idle data-parallel ranks."""
    worker = Worker(RunnerV1(clock))
    assert attach(worker, str(tmp_path)) is None
    assert worker.model_runner._model_forward(unknown_to_the_probe=1) == "hidden states"
    run_step(worker)
    assert worker.model_runner._model_forward(unknown_to_the_probe=1) == "hidden states"
    report = detach(worker)
    assert report is not None
    assert report["rows"] == 1


def test_a_writer_that_does_not_keep_up_ends_the_recording_and_not_the_step(
    clock: VirtualClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step_rows, "MOST_WAITING", 2)
    monkeypatch.setattr(step_rows, "FLUSH_SECONDS", 3_600)
    worker = Worker(RunnerV1(clock))
    assert attach(worker, str(tmp_path)) is None
    assert [run_step(worker) for _ in range(5)] == ["tokens"] * 5
    report = detach(worker)
    assert report is not None
    assert "2 steps are waiting" in report["failure"]


class RayWorker:
    """The order of vLLM's RayWorkerWrapper: Ray calls `execute_model_ray`, and that the runner's methods."""

    def __init__(self, worker: Worker) -> None:
        self.worker, self.rank = worker, worker.rank

    def execute_model(self, scheduler_output: Any) -> Any:
        raise AssertionError("Ray does not call this")

    def execute_model_ray(self, execute_model_input: tuple[Any, Any]) -> Any:
        scheduler_output, grammar_output = execute_model_input
        output = self.worker.model_runner.execute_model(scheduler_output, None)
        return self.worker.model_runner.sample_tokens(grammar_output) if output is None else output


@pytest.mark.parametrize("runner", [RunnerV1, RunnerV2])
def test_rays_workers_have_their_rows_and_phases(runner: Any, clock: VirtualClock, tmp_path: Path) -> None:
    inner = Worker(runner(clock, PLANTED), rank=1)
    worker = RayWorker(inner)
    graph = worker.execute_model_ray  # Ray keeps the method that it calls
    assert attach(worker, str(tmp_path)) is None
    for tokens in (5, 1, 1):
        assert graph((scheduled(tokens), None)) == "tokens"
    report = detach(worker)
    assert report is not None
    assert (report["rank"], report["rows"], report["failure"]) == (1, 3, None)
    rows = read_stream(tmp_path / "workers-1.arrows", "workers").to_pylist()
    assert [row["scheduled_tokens"] for row in rows] == [5, 1, 1]
    assert {row["forward_start_ns"] - row["start_ns"] for row in rows} == {PLANTED.preparation}
    assert vars(inner.model_runner).keys() == vars(runner(clock, PLANTED)).keys()
