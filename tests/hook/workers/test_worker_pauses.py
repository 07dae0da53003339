"""What pauses a worker in a process of its own is recorded with its rank."""

import gc
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from engine_probe.hook.workers.step_rows import attach, detach
from tests.support.devices.stand_in_workers import RunnerV1, VirtualClock, Worker, run_step

ANOTHER_PROCESS = 0  # no process has this number


def collected(worker: Worker, folder: Path, core_process: int) -> list[tuple[Any, ...]]:
    """Return the events of a step with a planted garbage collection of far more than half a millisecond."""
    callbacks = list(gc.callbacks)
    assert attach(worker, str(folder), None, core_process) is None
    cycles: list[Any] = []
    for _ in range(300_000):
        cycles.append([])
        cycles[-1].append(cycles[-1])
    run_step(worker)
    del cycles
    gc.collect(2)
    report = detach(worker)
    assert report is not None
    assert report["failure"] is None
    assert gc.callbacks == callbacks
    return list(report["host_events"])


@pytest.mark.lengthy
def test_a_garbage_collection_in_a_workers_own_process(tmp_path: Path) -> None:
    events = collected(Worker(RunnerV1(VirtualClock()), rank=3), tmp_path, ANOTHER_PROCESS)
    of_full = [event for event in events if event[2] == "garbage collection of rank 3" and event[4] == 2]
    assert len(of_full) >= 1
    for start, duration, _, held, _ in of_full:
        assert start > 0
        assert duration == held >= 500_000


@pytest.mark.lengthy
def test_in_the_engine_cores_process_the_recording_sees_it_already(tmp_path: Path) -> None:
    assert collected(Worker(RunnerV1(VirtualClock())), tmp_path, os.getpid()) == []


def test_the_kernels_counts_of_the_workers_thread_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    monkeypatch.setattr("engine_probe.hook.workers.step_rows.FLUSH_SECONDS", 0.001)
    monkeypatch.setattr(
        "engine_probe.telemetry.core_thread.CoreThread.sample", lambda _, now_ns, thread: read.append(thread)
    )
    worker = Worker(RunnerV1(VirtualClock()))
    assert attach(worker, str(tmp_path), None, ANOTHER_PROCESS) is None
    while not read:
        pass
    detach(worker)
    assert set(read) == {threading.get_native_id()}
