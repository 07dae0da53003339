"""Whatever breaks inside the probe: the same tokens, nothing left behind, and a run that says what happened."""

from __future__ import annotations

import errno
import gc
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from engine_probe import IncompleteRecordingWarning, Probe, Run, load
from engine_probe.hook import request_counters, scheduler
from engine_probe.hook.block_counters import BlockCounters
from engine_probe.hook.request_counters import RequestCounters
from engine_probe.hook.request_state import RequestState
from engine_probe.hook.workers import step_rows
from engine_probe.hook.workers.step_rows import WorkerHook
from engine_probe.record import arrow_files, columns, writer
from engine_probe.record.recorder import Recorder
from engine_probe.record.run_folder import RunFolder
from engine_probe.record.writer import TableStream


def generate(llm: Any) -> list[list[int]]:
    """A few more than the pool holds, so that somebody is preempted."""
    from vllm import SamplingParams

    prompts = [{"prompt_token_ids": [10 + (i * 7 + j) % 200 for j in range(40 + i)]} for i in range(24)]
    parameters = SamplingParams(max_tokens=44, ignore_eos=True, temperature=0)
    outputs = llm.generate(prompts, parameters, use_tqdm=False)
    return [list(output.outputs[0].token_ids) for output in outputs]


@pytest.fixture(scope="module")
def tokens(tiny_llm: Any) -> list[list[int]]:
    """Without any probe."""
    return generate(tiny_llm)


@pytest.fixture
def nothing_left(tiny_llm: Any) -> Iterator[None]:
    """Scheduler, block pool and worker hold after the test what they held before, and so does the garbage collector."""

    def held() -> list[set[Any]]:
        core = tiny_llm.llm_engine.engine_core.engine_core
        seams = {"_model_forward", "_bookkeeping_sync"}
        workers = core.model_executor.collective_rpc(
            lambda worker: set(vars(worker)) | (seams & set(vars(worker.model_runner)))
        )
        pool = core.scheduler.kv_cache_manager.block_pool
        return [set(vars(core.scheduler)), set(vars(pool)), set(gc.callbacks), *workers]

    before = held()
    yield
    assert held() == before


@dataclass(frozen=True)
class Plant:
    """A function of ours that fails: where it is looked up, and at which call it begins to."""

    where: Any
    name: str
    call: int = 3
    error: Exception | None = None

    def put(self, monkeypatch: pytest.MonkeyPatch) -> None:
        original: Callable[..., Any] = getattr(self.where, self.name)
        calls = 0

        def failing(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls >= self.call:
                raise self.error or RuntimeError("planted")
            return original(*args, **kwargs)

        monkeypatch.setattr(self.where, self.name, failing)


FULL = OSError(errno.ENOSPC, "planted: no space left on device")

PLANTS = {
    "a request arrives": Plant(request_counters, "RequestState"),
    "attaching": Plant(RequestCounters, "__init__", 1),
    "the note of a step": Plant(RequestCounters, "note_changes"),
    "the very first note": Plant(RequestCounters, "note_changes", 1),
    "who computes a prompt": Plant(RequestCounters, "_note_prefills"),
    "the note of an update": Plant(RequestCounters, "note_update"),
    "a stretch ends": Plant(RequestState, "close_stretch"),
    "somebody is preempted": Plant(RequestState, "preempt", 1),
    "somebody leaves": Plant(RequestCounters, "_note_freed"),
    "counting a request's blocks": Plant(BlockCounters, "held"),
    "counting a request's blocks when it is preempted": Plant(BlockCounters, "held", 1),
    "counting the used blocks": Plant(BlockCounters, "used", 1),
    "the row of a request": Plant(RequestState, "row"),
    "the columns": Plant(columns.Expander, "expand", 1),
    "the columns' types": Plant(writer, "narrow", 1),
    "the disk": Plant(TableStream, "write", 2, FULL),
    "the disk, at once": Plant(TableStream, "write", 1, FULL),
    "the last batch": Plant(writer, "take_until", 1),
    "closing": Plant(RequestCounters, "close", 1),
    "the audit": Plant(BlockCounters, "audit", 1),
    "the closed file": Plant(arrow_files, "finalise", 2, FULL),
    "the end of a stream": Plant(TableStream, "close", 2, FULL),
    "the worker's step": Plant(step_rows, "new_step"),
    "the worker's writing": Plant(WorkerHook, "_drain", 1),
    "the worker's disk": Plant(WorkerHook, "_close_stream", 1, FULL),
}


@pytest.mark.parametrize("plant", PLANTS.values(), ids=PLANTS)
@pytest.mark.usefixtures("nothing_left")
def test_a_failure_ends_the_recording_and_nothing_else(
    tiny_llm: Any, tokens: list[list[int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plant: Plant
) -> None:
    plant.put(monkeypatch)
    run = recorded_in_part(tiny_llm, tokens, tmp_path / "run", "planted")
    assert "Traceback" in run.facts["failure"]
    assert "in failing" in run.facts["failure"]


def recorded_in_part(llm: Any, tokens: list[list[int]], out: Path, reason: str) -> Run:
    """Generate with a probe that fails, and check all that must be so whatever it failed of."""
    with pytest.warns(IncompleteRecordingWarning, match=reason) as warned, Probe(llm, out):
        watched = generate(llm)
    assert watched == tokens
    assert len([warning for warning in warned if warning.category is IncompleteRecordingWarning]) == 1
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("engine_probe")]
    run = load(out)
    assert run.status == "incomplete"
    assert reason in run.notes[0]
    assert run.iterations["iteration"].to_pylist() == list(range(run.iterations.num_rows))
    assert run.requests.num_rows <= len(tokens)
    return run


def put_rows_into(rows: deque[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the next recorder keep its iterations there."""
    make = Recorder.__init__

    def made(recorder: Recorder) -> None:
        make(recorder)
        recorder.iterations = rows

    monkeypatch.setattr(Recorder, "__init__", made)


@pytest.mark.usefixtures("nothing_left")
def test_a_row_that_cannot_be_kept(
    tiny_llm: Any, tokens: list[list[int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(deque[tuple[int, ...]]):
        def append(self, row: tuple[int, ...]) -> None:
            raise MemoryError("planted")

    put_rows_into(Full(), monkeypatch)
    assert recorded_in_part(tiny_llm, tokens, tmp_path / "run", "planted").iterations.num_rows == 0


@pytest.mark.usefixtures("nothing_left")
def test_a_value_that_no_column_holds(
    tiny_llm: Any, tokens: list[list[int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class FarTooMany(deque[tuple[int, ...]]):
        def append(self, row: tuple[int, ...]) -> None:
            super().append((*row[:8], 2**31, *row[9:]))

    put_rows_into(FarTooMany(), monkeypatch)
    recorded_in_part(tiny_llm, tokens, tmp_path / "run", "iterations.output_tokens holds a value beyond int32")


@pytest.mark.usefixtures("nothing_left")
def test_a_request_that_no_row_holds(
    tiny_llm: Any, tokens: list[list[int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is left out and counted; the recording goes on, and its other tables are whole."""
    monkeypatch.setattr(BlockCounters, "held", lambda self, request_id: 2**31)
    with Probe(tiny_llm, tmp_path / "run") as probe:
        assert generate(tiny_llm) == tokens
    run = probe.run
    assert (run.status, run.requests.num_rows) == ("complete", 0)
    assert run.notes == ["values that do not fit into their columns: 24 rows of requests left out"]
    assert run.facts["close"]["requests_in_flight_at_close"] == 0
    assert run.preemptions.num_rows > 0
    assert sum(run.iterations["finished_requests"].to_pylist()) == len(tokens) == 24


@pytest.mark.usefixtures("nothing_left")
def test_a_disk_that_does_not_keep_up(
    tiny_llm: Any, tokens: list[list[int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "FLUSH_SECONDS", 3_600)
    monkeypatch.setattr(scheduler, "MOST_WAITING", 12)
    run = recorded_in_part(tiny_llm, tokens, tmp_path / "run", "12 iterations are waiting for the disk")
    assert run.iterations.num_rows == 12


@pytest.mark.usefixtures("nothing_left")
def test_run_json_cannot_be_written_at_the_end(
    tiny_llm: Any, tokens: list[list[int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Plant(RunFolder, "save", 2, FULL).put(monkeypatch)
    with pytest.warns(IncompleteRecordingWarning, match="planted"), Probe(tiny_llm, tmp_path / "run") as probe:
        watched = generate(tiny_llm)
    assert watched == tokens
    assert "planted" in str(probe.failure)
    run = load(tmp_path / "run")  # nobody could say that it ended; its streams are all there
    assert run.status == "recording"
    assert run.requests.num_rows == 24


def test_afterwards_the_engine_is_recorded_as_ever(tiny_llm: Any, tokens: list[list[int]], tmp_path: Path) -> None:
    with Probe(tiny_llm, tmp_path / "run") as probe:
        assert generate(tiny_llm) == tokens
    assert probe.run.status == "complete"
