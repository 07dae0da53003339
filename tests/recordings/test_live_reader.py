"""A stream read while it grows: every whole batch once, never half of one."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine_probe.record.run_folder import RunFolder
from engine_probe.record.schema import SCHEMAS
from engine_probe.record.writer import TableStream
from engine_probe.recordings.live_reader import Follower, LiveReader
from tests.support.recordings.run_folders import facts
from tests.support.recordings.small_tables import table


def row(number: int) -> list[list[object]]:
    return [[f"r{number}"], [number], [5], [1], [2], [9], [8], [None], [None], [0], [None]]


def test_what_is_new_comes_once(tmp_path: Path) -> None:
    follower = Follower(tmp_path / "preemptions.arrows")
    assert follower.new_batches() == []
    stream = TableStream(tmp_path, "preemptions")
    stream.write(row(1))
    stream.write(row(2))
    assert [batch["iteration"].to_pylist() for batch in follower.new_batches()] == [[1], [2]]
    assert follower.new_batches() == []
    stream.write(row(3))
    assert [batch["iteration"].to_pylist() for batch in follower.new_batches()] == [[3]]
    stream.close()
    assert follower.new_batches() == []


def test_a_batch_half_written_waits_for_its_other_half(tmp_path: Path) -> None:
    stream = TableStream(tmp_path, "preemptions")
    stream.write(row(1))
    stream.write(row(2))
    stream.close()
    whole = stream.path.read_bytes()
    growing = tmp_path / "growing.arrows"
    follower = Follower(growing)
    seen: list[int] = []
    for size in range(0, len(whole) + 1, 7):
        growing.write_bytes(whole[:size])
        seen += [number for batch in follower.new_batches() for number in batch["iteration"].to_pylist()]
    assert seen == [1, 2]


def test_deferred_requests_are_among_those_that_wait(tmp_path: Path) -> None:
    RunFolder.create(tmp_path / "run", facts())
    stream = TableStream(tmp_path / "run", "iterations")
    levels = {"running_requests": 4, "waiting_requests": 2, "deferred_requests": 3}
    stream.write([[levels.get(field.name, 1)] for field in SCHEMAS["iterations"]])
    now = LiveReader(tmp_path / "run").progress()
    stream.close()
    assert now is not None
    assert (now.running, now.waiting, now.idle) == (4, 5, False)


def test_requests_that_only_hold_the_load_are_in_no_median(tmp_path: Path) -> None:
    """As in the summary."""
    folder = RunFolder.create(tmp_path / "run", facts() | {"workload": {"hold": True}}).path
    steps, requests = TableStream(folder, "iterations"), TableStream(folder, "requests")
    times = {"arrival_ns": 0, "queued_ns": 0, "first_scheduled_ns": 0, "last_token_ns": 900, "finished_ns": 900}
    rows = [
        {**times, "request_id": name, "first_token_ns": ns, "output_tokens": 2, "finish_reason": "length"}
        for name, ns in (("0", 100), ("further-1", 500))
    ]
    requests.append(table("requests", rows).to_batches()[0])
    reader = LiveReader(folder)
    assert reader.progress() is None
    steps.append(table("iterations", [{"running_requests": 1}]).to_batches()[0])
    now = reader.progress()
    steps.close()
    requests.close()
    assert now is not None
    assert (now.answered.requests, now.answered.ttft_ns) == (1, 100)


@pytest.mark.parametrize(("finished", "waiting", "idle"), [(4, 0, True), (3, 0, False), (4, 1, False)])
def test_an_engine_is_idle_when_its_last_request_has_ended(
    tmp_path: Path, finished: int, waiting: int, idle: bool
) -> None:
    RunFolder.create(tmp_path / "run", facts())
    stream = TableStream(tmp_path / "run", "iterations")
    levels = {"running_requests": 4, "waiting_requests": waiting, "deferred_requests": 0, "finished_requests": finished}
    stream.write([[levels.get(field.name, 1)] for field in SCHEMAS["iterations"]])
    now = LiveReader(tmp_path / "run").progress()
    stream.close()
    assert now is not None
    assert now.idle == idle
