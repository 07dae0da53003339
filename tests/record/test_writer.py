"""The writer: a run is readable at any moment and complete when closed; a full disk is reported."""

from __future__ import annotations

import errno
import json
import shutil
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from engine_probe import InputError, UnavailableError, load
from engine_probe.record import run_folder as folder_module
from engine_probe.record import writer as writer_module
from engine_probe.record.recorder import Recorder
from engine_probe.record.run_folder import RunFolder
from engine_probe.record.writer import STREAM_ROWS, Writer
from tests.support.recordings.recorder_rows import (
    CLOSE,
    ENGINE,
    WORKERS,
    begun,
    raw,
    request,
    step,
    written,
)

TABLES = ("iterations", "requests", "preemptions", "telemetry", "host_events", "drafts", "answers")


def test_a_run_is_readable_at_any_moment_of_its_writing(tmp_path: Path) -> None:
    folder, recorder, writer = begun(tmp_path / "run")
    for rows in range(5):
        run = load(folder.path)
        assert run.status == "recording"
        assert run.iterations["iteration"].to_pylist() == list(range(rows))
        assert run.requests.num_rows == run.preemptions.num_rows == 0
        step(recorder)
        writer.drain()
    writer.close()


def test_a_closed_run_is_files_to_map_with_their_checksums(tmp_path: Path) -> None:
    run = load(written(tmp_path / "run", iterations=10, requests=3))
    assert sorted(path.name for path in run.folder.iterdir()) == sorted(["run.json", *(f"{t}.arrow" for t in TABLES)])
    with pa.memory_map(str(run.folder / "iterations.arrow")) as source:
        assert pa.ipc.open_file(source).read_all().num_rows == 10
    assert run.facts["tables"]["iterations"]["rows"] == 10
    assert run.notes == []
    assert run.requests["request_id"].to_pylist() == ["r0", "r1", "r2"]
    assert run.requests["run_lengths"].to_pylist() == [[1, 1]] * 3
    assert run.iterations.schema.field("start_ns").metadata[b"unit"] == b"ns"


def test_many_small_batches_become_few_large_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine_probe.record.arrow_files.FILE_ROWS", 4)
    folder, recorder, writer = begun(tmp_path / "run")
    for _ in range(10):
        step(recorder)
        writer.drain()
    tables = writer.close()
    with pa.memory_map(str(folder.path / "iterations.arrow")) as source:
        file = pa.ipc.open_file(source)
        assert [file.get_batch(index).num_rows for index in range(file.num_record_batches)] == [4, 4, 2]
    assert tables["iterations"]["rows"] == 10


def test_no_batch_is_larger_than_what_a_crash_may_cost(tmp_path: Path) -> None:
    folder, recorder, writer = begun(tmp_path / "run")
    for _ in range(2 * STREAM_ROWS + 5):
        step(recorder)
    writer.drain()
    writer.close(keep_streams=True)
    with pa.memory_map(str(folder.path / "iterations.arrows")) as source:
        assert [batch.num_rows for batch in pa.ipc.open_stream(source)] == [STREAM_ROWS, STREAM_ROWS, 5]


@pytest.mark.parametrize("table", ["arrivals", "requests", "preemptions", "telemetry", "iterations"])
def test_a_kill_between_two_tables_leaves_no_step_without_the_rows_of_what_it_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: str
) -> None:
    """The process ends where this table's second batch would be written."""
    folder, recorder, writer = begun(tmp_path / "run")
    monkeypatch.setattr(writer_module, "FLUSH_SECONDS", 3600)
    for number in range(8):
        if number == 4:
            writer.drain()
            vars(writer.tables[table])["append"] = killed
        recorder.arrivals.append((f"r{number}", 0, 8))
        recorder.requests.append(request(f"r{number}"))
        recorder.preemptions.append((f"r{number}", number, 1, 1, 1, 1, 0, None, None, 0))
        recorder.telemetry.append((number, *[None] * 18))
        recorder.finished.append((number, 1))
        step(recorder)
    with suppress(KilledError):
        writer.drain()
    shutil.copytree(folder.path, tmp_path / "left")
    run = load(tmp_path / "left")
    assert run.iterations.num_rows == 4
    assert sum(run.iterations["finished_requests"].to_pylist()) <= run.requests.num_rows
    del vars(writer.tables[table])["append"]
    writer.close()


class KilledError(Exception):
    """Where `kill -9` would end the process."""


def killed(batch: pa.RecordBatch) -> None:
    raise KilledError


def test_a_recording_that_was_cut_names_who_was_in_flight(tmp_path: Path) -> None:
    folder, recorder, writer = begun(tmp_path / "run")
    step(recorder)
    recorder.arrivals.extend([("a", None, 5), ("b", 1, 6), ("a", 2, 7), ("c", 3, 8)])
    recorder.requests.extend([request("a"), request("b")])
    writer.drain()
    assert load(folder.path).in_flight.to_pylist() == [
        {"request_id": "a", "queued_ns": 2, "prompt_tokens": 7},
        {"request_id": "c", "queued_ns": 3, "prompt_tokens": 8},
    ]
    writer.close(keep_streams=True)


def test_a_closed_recording_has_nobody_in_flight_or_says_that_names_are_not_kept(tmp_path: Path) -> None:
    folder = written(tmp_path / "run", iterations=3, requests=2)
    assert load(folder).in_flight.num_rows == 0
    facts = json.loads((folder / "run.json").read_text())
    facts["close"]["requests_in_flight_at_close"] = 1
    (folder / "run.json").write_text(json.dumps(facts))
    with pytest.raises(InputError, match="does not say which requests were in flight"):
        _ = load(folder).in_flight


class FullDisk:
    """A file on a disk that has room for so many bytes more."""

    def __init__(self, file: Any, room: int) -> None:
        self._file, self._room = file, room

    def write(self, data: Any) -> int:
        if self._room < len(data):
            raise OSError(errno.ENOSPC, "No space left on device")
        self._room -= len(data)
        return int(self._file.write(data))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


@pytest.mark.parametrize("room", [0, 100, 1_000, 6_000, 7_000])
def test_a_disk_that_fills_up_is_said_and_what_is_there_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    folder, recorder = RunFolder.create(tmp_path / "run", ENGINE), Recorder()
    failures: list[BaseException] = []
    monkeypatch.setattr(writer_module, "FLUSH_SECONDS", 0.01)
    opened = Path.open

    def open_on_a_full_disk(path: Path, mode: str = "r", *more: Any, **named: Any) -> Any:
        file = opened(path, mode, *more, **named)
        return FullDisk(file, room) if path.name == "iterations.arrows" and mode == "xb" else file

    monkeypatch.setattr(Path, "open", open_on_a_full_disk)
    failed = threading.Event()
    writer = Writer(recorder, folder.path, lambda error: (failures.append(error), failed.set())[0])
    while not failed.is_set():
        step(recorder)
        failed.wait(0.002)
    with suppress(OSError):  # nor is there room for the end of a stream
        writer.close(keep_streams=True)
    folder.finish(f"{failures[0]}", tables={}, workers=WORKERS, close=CLOSE)
    run = load(folder.path)
    assert isinstance(failures[0], OSError)
    assert "No space left" in run.notes[0]
    assert run.iterations["iteration"].to_pylist() == list(range(run.iterations.num_rows))
    assert run.iterations.num_rows < recorder.taken + len(recorder.iterations)


def test_a_value_beyond_its_column_ends_the_recording_and_is_named(tmp_path: Path) -> None:
    folder, recorder = RunFolder.create(tmp_path / "run", ENGINE), Recorder()
    failures: list[BaseException] = []
    writer = Writer(recorder, folder.path, failures.append)
    step(recorder)
    recorder.iterations.append(raw(delivered_tokens=2**40))
    assert writer.close() == {}
    assert "output_tokens" in str(failures[0])


def test_the_reserve_makes_room_for_the_last_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, _, writer = begun(tmp_path / "run")
    assert (folder.path / folder_module.RESERVE_FILE).stat().st_size == folder_module.RESERVE_BYTES
    seen = []
    save = RunFolder.save
    monkeypatch.setattr(
        RunFolder, "save", lambda self: (seen.append((self.path / folder_module.RESERVE_FILE).exists()), save(self))[1]
    )
    writer.close(keep_streams=True)
    folder.finish("disk full", tables={}, workers=WORKERS, close=CLOSE)
    assert seen == [False]
    assert len(json.dumps(folder.facts)) < folder_module.RESERVE_BYTES


def test_a_recording_that_begins_in_the_folder_of_another_leaves_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _, writer = begun(tmp_path / "run")
    files = sorted(first.path.iterdir())
    monkeypatch.setattr(Path, "iterdir", lambda path: iter(()))  # both looked while it was empty
    with pytest.raises(InputError, match="is in use by another recording"):
        RunFolder.create(first.path, ENGINE)
    monkeypatch.undo()
    assert sorted(first.path.iterdir()) == files
    writer.close()


def test_a_file_that_cannot_be_finished_leaves_no_half_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, recorder, writer = begun(tmp_path / "run")
    step(recorder)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        writer.close()
    assert not list(folder.path.glob("*.tmp"))
    assert (folder.path / "iterations.arrows").exists()


@pytest.mark.parametrize(
    ("facts", "told"),
    [
        ({"kv": 3}, "'kv' is a key of run.json itself"),
        ({"seed": {1, 2}}, r"seed=\{1, 2\} cannot be kept in run.json"),
        ({"workload": "chat"}, "workload='chat': reports read its parts .*give a dict of them"),
    ],
)
def test_facts_that_run_json_cannot_hold_are_refused(tmp_path: Path, facts: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        RunFolder.create(tmp_path / "run", ENGINE, **facts)
    assert not (tmp_path / "run").exists()


def test_a_file_in_the_folders_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises((InputError, UnavailableError), match=str(place)):
            RunFolder.create(place, ENGINE)
