"""A trace is read back with Perfetto's own message definitions, and by SQL with its trace processor."""

from __future__ import annotations

import io
import json
import math
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import Trace, TrackEvent

from engine_probe.commands.trace import command
from engine_probe.errors import InputError
from engine_probe.record.schema import TABLES
from engine_probe.recordings.run import Run, load
from engine_probe.report.renderers.perfetto import MOMENTS, trace
from tests.support.processes.perfetto_engine import sql
from tests.support.recordings.run_folders import MS, facts, ran, write_run, write_sweep
from tests.support.recordings.small_tables import table
from tests.support.recordings.stalled_run import began, stalled_run


class Read:
    """The slices and counters of a trace, by the path of their track."""

    def __init__(self, data: bytes) -> None:
        self.trace = Trace()
        self.trace.ParseFromString(data)
        self.names: dict[int, str] = {}
        self.slices: dict[str, list[tuple[str, int, int, int]]] = defaultdict(list)  # name, begin, end, depth
        self.counters: dict[str, list[tuple[int, float]]] = defaultdict(list)
        for packet in self.trace.packet:
            if packet.HasField("track_descriptor"):
                track = packet.track_descriptor
                parent = f"{self.names[track.parent_uuid]}/" if track.parent_uuid else ""
                self.names[track.uuid] = parent + track.name
        open_slices: dict[int, list[tuple[str, int]]] = defaultdict(list)
        events = [packet for packet in self.trace.packet if packet.HasField("track_event")]
        for packet in sorted(events, key=lambda packet: packet.timestamp):  # stable, as Perfetto sorts
            event, track = packet.track_event, packet.track_event.track_uuid
            assert packet.trusted_packet_sequence_id
            if event.type == TrackEvent.TYPE_COUNTER:
                self.counters[self.names[track]].append((packet.timestamp, event.double_counter_value))
            elif event.type == TrackEvent.TYPE_SLICE_BEGIN:
                open_slices[track].append((event.name, packet.timestamp))
            else:
                name, since = open_slices[track].pop()
                self.slices[self.names[track]].append((name, since, packet.timestamp, len(open_slices[track])))
        assert not any(open_slices.values()), "a slice never ends"


def traced(run: Run) -> Read:
    file = io.BytesIO()
    file.writelines(trace(run))
    return Read(file.getvalue())


def recorded(path: Path, tables: dict[str, Any]) -> Run:
    return load(write_run(path / "run", tables))


def test_a_step_is_split_into_its_three_parts(tmp_path: Path) -> None:
    run = recorded(tmp_path, ran(2, prompt=10, output=3))
    steps = traced(run).slices["engine: tiny/steps"]
    # 20 prompt tokens: 0.5 ms schedule, 1 + 2 ms execute, 0.5 ms update.
    assert sorted(steps[:4], key=lambda step: (step[1], step[3])) == [
        ("step", 0, 4 * MS, 0),
        ("schedule", 0, MS // 2, 1),
        ("execute", MS // 2, 7 * MS // 2, 1),
        ("update", 7 * MS // 2, 4 * MS, 1),
    ]
    assert len(steps) == 3 * 4
    notes = [packet.track_event.debug_annotations for packet in traced(run).trace.packet if packet.track_event.name]
    assert {note.name: note.int_value for note in notes[4]} == {"iteration": 1, "requests": 2, "preempted": 0}


def test_counters_hold_every_value_of_the_recording(tmp_path: Path) -> None:
    run = recorded(tmp_path, ran(20))
    read = traced(run)
    for name, column in (("running", "running_requests"), ("waiting", "waiting_requests")):
        assert [value for _, value in read.counters[f"engine: tiny/{name}"]] == run.iterations[column].to_pylist()
    kv = [value for _, value in read.counters["engine: tiny/KV blocks"]]
    assert kv[0::2] == run.iterations["kv_blocks_scheduled"].to_pylist()
    assert kv[1::2] == run.iterations["kv_blocks_updated"].to_pylist()


def test_a_request_is_queued_prefilled_decoded_and_preempted_within(tmp_path: Path) -> None:
    run = recorded(tmp_path, ran(20))
    read = traced(run)
    assert run.preemptions.num_rows
    lost = run.preemptions.slice(0, 1).to_pylist()[0]
    spans = read.slices[f"requests/{lost['request_id']}"]
    assert {(name, depth) for name, _, _, depth in spans} == {
        ("queued", 0),
        ("prefill", 0),
        ("decode", 0),
        ("preempted", 1),
    }
    assert ("preempted", lost["preempted_ns"], lost["resumed_ns"], 1) in spans
    assert sum(name == "decode" for slices in read.slices.values() for name, *_ in slices) == 20


def test_an_abort_ends_the_phase_it_came_in(tmp_path: Path) -> None:
    queued = {"request_id": "gone", "queued_ns": 5, "finished_ns": 9, "finish_reason": "abort"}
    unseen = {"request_id": "before the probe", "finished_ns": 9, "finish_reason": "abort"}
    tables = ran(1) | {"requests": table("requests", [queued, unseen])}
    read = traced(recorded(tmp_path, tables))
    assert read.slices["requests/gone"] == [("queued", 5, 9, 0)]
    assert "requests/before the probe" not in read.slices


def test_steps_that_overlap_lie_in_lanes(tmp_path: Path) -> None:
    """An asynchronous engine schedules the next step while the one before still runs."""
    rows = [{"iteration": i, "start_ns": 10 * i, "schedule_ns": 2, "execute_ns": 10, "update_ns": 2} for i in range(4)]
    read = traced(recorded(tmp_path, {"iterations": table("iterations", rows)}))
    assert [len(read.slices[f"engine: tiny/steps, lane {lane} of 2"]) for lane in (1, 2)] == [8, 8]


def test_workers_and_telemetry_have_tracks_of_their_own(tmp_path: Path) -> None:
    workers = [
        {"iteration": 0, "rank": rank, "start_ns": 3, "execute_ns": 4 + rank, "device_ns": device}
        for rank, device in ((0, 5), (1, None))
    ]
    telemetry = [
        {"time_ns": 7, "device": 0, "power_mw": 250_000},
        {"time_ns": 8, "device": None, "cpu_percent": 12.5},
        {"time_ns": 9, "device": None, "cpu_percent": math.nan},
    ]
    tables = ran(1) | {"workers": table("workers", workers), "telemetry": table("telemetry", telemetry)}
    read = traced(recorded(tmp_path, tables))
    assert read.slices["workers/rank 0"] == [("execute_model", 3, 7, 0)]
    assert read.slices["workers/rank 1"] == [("execute_model", 3, 8, 0)]
    assert read.counters["telemetry/GPU 0: power_mw"] == [(7, 250_000)]
    assert read.counters["telemetry/host: cpu_percent"] == [(8, 12.5)]


def test_a_worker_has_the_phases_of_its_steps_and_its_device_a_track(tmp_path: Path) -> None:
    sampled = {"execute_ns": 9, "sample_start_ns": 20, "sample_ns": 6, "bookkeep_ns": 2}
    known = {"forward_start_ns": 13, "forward_ns": 4, **sampled}
    workers = [
        {"iteration": 0, "start_ns": 10, **known, "device_start_ns": 15, "device_ns": 8},
        {"iteration": 1, "start_ns": 30, **known, "forward_start_ns": 33, "sample_start_ns": 40, "bookkeep_ns": None},
        {"iteration": 2, "start_ns": 50, "execute_ns": 9, "graph_mode": 2, "computed_tokens": 8},
    ]
    read = traced(recorded(tmp_path, ran(1) | {"workers": table("workers", workers)}))
    first = [
        *[
            ("execute_model", 10, 19, 0),
            ("input preparation", 10, 13, 1),
            ("forward", 13, 17, 1),
            ("logits", 17, 19, 1),
        ],
        *[("sample_tokens", 20, 26, 0), ("sampling", 20, 24, 1), ("bookkeeping", 24, 26, 1)],
    ]
    second = [
        *[
            ("execute_model", 30, 39, 0),
            ("input preparation", 30, 33, 1),
            ("forward", 33, 37, 1),
            ("logits", 37, 39, 1),
        ],
        ("sample_tokens", 40, 46, 0),
    ]
    third = [("execute_model", 50, 59, 0)]
    assert sorted(read.slices["workers/rank 0"], key=at) == sorted(first + second + third, key=at)
    assert read.slices["workers/rank 0, device"] == [("forward", 15, 23, 0)]
    arguments = [
        {each.name: each.int_value for each in packet.track_event.debug_annotations}
        for packet in read.trace.packet
        if packet.track_event.name == "execute_model"
    ]
    told = {each["iteration"]: (each.get("graph_mode"), each.get("computed_tokens")) for each in arguments}
    assert told == {0: (None, None), 1: (None, None), 2: (2, 8)}


def at(span: tuple[str, int, int, int]) -> tuple[int, int]:
    return span[1], span[3]


def test_damaged_telemetry_takes_nothing_else_along(tmp_path: Path) -> None:
    whole = traced(recorded(tmp_path, ran(2)))
    (tmp_path / "run" / "telemetry.arrow").write_bytes(b"torn")
    damaged = traced(load(tmp_path / "run"))
    assert damaged.slices == whole.slices
    assert "requests/r1" in damaged.slices


def test_the_command_writes_once_and_never_over_a_file(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", ran(2), facts(name='<b>"\x1b[31m'))
    done = CliRunner().invoke(command, [str(folder)])
    assert done.exit_code == 0, done.output
    assert 'engine: <b>"\x1b[31m/steps' in Read((folder / "trace.pftrace").read_bytes()).slices
    again = CliRunner().invoke(command, [str(folder)])
    assert "exists already and is never overwritten" in str(again.exception)


def test_the_points_of_a_sweep_are_groups_on_one_axis_of_time(tmp_path: Path) -> None:
    """The second began 7 s after the first by the wall clock, on a machine whose own clock shows less."""
    folder = write_sweep(tmp_path / "sweep", (1, 2, 4))
    for point, monotonic_ns, wall_ns in (("p1", 5_000 * MS, 10_000 * MS), ("p2", 100 * MS, 12_100 * MS)):
        path = folder / "points" / point / "run.json"
        document = json.loads(path.read_text())
        document["clock"] |= {"monotonic_ns": monotonic_ns, "wall_ns": wall_ns}
        path.write_text(json.dumps(document))
    (folder / "points" / "p4" / "run.json").unlink()
    done = CliRunner().invoke(command, [str(folder), "--out", str(tmp_path / "all.pftrace")])
    assert done.exit_code == 0, done.output
    assert done.stderr == "concurrency 4 is left out: no recording\n"
    read = Read((tmp_path / "all.pftrace").read_bytes())
    alone = traced(load(folder / "points" / "p2"))
    assert {name.partition("/")[0] for name in read.slices} == {"concurrency 1", "concurrency 2"}
    for track in ("engine: tiny/steps", "requests/r1"):
        moved = [(name, a - 7_000 * MS, b - 7_000 * MS, d) for name, a, b, d in read.slices[f"concurrency 2/{track}"]]
        assert moved == alone.slices[track]
    ended = max(end for _, _, end, _ in read.slices["concurrency 2/engine: tiny/steps"])
    assert read.counters["concurrency 2/engine: tiny/running"][-1] == (ended, 0), "nothing runs after its end"


def test_every_moment_is_moved_and_no_duration() -> None:
    columns = {field.name for schema in TABLES.values() for field in schema if field.metadata[b"unit"] == b"ns"}
    parts = (
        "gap",
        "schedule",
        "execute",
        "update",
        "probe",
        "sample",
        "device",
        "forward",
        "bookkeep",
        "duration",
        "durations",
        "held",
    )
    durations = {f"{part}_ns" for part in parts}
    assert columns - durations == set(MOMENTS)


def test_stalled_steps_and_events_of_the_host_are_marked(tmp_path: Path) -> None:
    read = traced(stalled_run(tmp_path / "run"))
    since = began(50)
    assert read.slices["stalls"] == [
        ("garbage collection", since, since + 310 * MS, 0),
        ("unknown", since + 400 * MS, since + 510 * MS, 0),
    ]
    assert read.slices["garbage collection"] == [("garbage collection", since + 5 * MS, since + 285 * MS, 0)]
    assert read.slices["probe's writer"] == [("probe's writer", began(0), began(0) + 3 * MS, 0)]


def test_a_sweep_without_a_recording_has_no_trace(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "sweep", (1,))
    (folder / "points" / "p1" / "run.json").unlink()
    refused = CliRunner().invoke(command, [str(folder)])
    assert "holds no point with a complete recording" in str(refused.exception)
    assert not list(folder.glob("*trace*"))


def test_a_run_without_a_step_is_said_to_be_one(tmp_path: Path) -> None:
    refused = CliRunner().invoke(command, [str(write_run(tmp_path / "run", {}))])
    assert "holds no iteration" in str(refused.exception)


def test_perfettos_trace_processor_finds_the_same_by_sql(tmp_path: Path, browser: Any) -> None:
    run = recorded(tmp_path, ran(20))
    file = io.BytesIO()
    file.writelines(trace(run))
    lost = run.preemptions.slice(0, 1).to_pylist()[0]
    with sql(browser, file.getvalue()) as query:
        counted = {row.name: row.n for row in query("select name, count() as n from slice group by name")}
        wrong = [row.name for row in query("select name from stats where severity = 'error' and value > 0")]
        kv = "from counter join track on track.id = track_id where track.name = 'KV blocks'"
        blocks = [row.value for row in query(f"select value {kv} order by ts, counter.id")]
        away = "select ts, dur, depth from slice join track on track.id = track_id where slice.name = 'preempted'"
        gone = {(row.ts, row.dur, row.depth) for row in query(f"{away} and track.name = '{lost['request_id']}'")}
        (never,) = query("select count() as n from slice where dur < 0")
    steps = run.iterations.num_rows
    assert counted == {"step": steps, "schedule": steps, "execute": steps, "update": steps} | {
        "queued": 20,
        "prefill": 20,
        "decode": 20,
        "preempted": run.preemptions.num_rows,
    }
    assert wrong == []
    assert blocks[0::2] == run.iterations["kv_blocks_scheduled"].to_pylist()
    assert (lost["preempted_ns"], lost["resumed_ns"] - lost["preempted_ns"], 1) in gone
    assert never.n == 0


def test_a_negative_time_is_refused(tmp_path: Path) -> None:
    rows = [{"iteration": 0, "start_ns": -5, "execute_ns": 10}]
    with pytest.raises(InputError, match="negative"):
        traced(recorded(tmp_path, {"iterations": table("iterations", rows)}))


def test_operators_lie_inside_one_another_and_kernels_on_their_stream(tmp_path: Path) -> None:
    host = {"rank": 0, "place": "host", "kind": "matrix product"}
    device = {"rank": 0, "place": "device", "stream": 7, "kind": "attention"}
    slices = [
        host | {"start_ns": 100, "duration_ns": 50, "name": "outer"},
        host | {"start_ns": 100, "duration_ns": 20, "name": "first"},
        host | {"start_ns": 120, "duration_ns": 30, "name": "second"},
        host | {"start_ns": 150, "duration_ns": 5, "name": "after"},
        device | {"start_ns": 110, "duration_ns": 30, "name": "flash"},
        device | {"start_ns": 130, "duration_ns": 30, "name": "overlapping"},
    ]
    tables = ran(1, output=3) | {
        "operator_slices": table("operator_slices", slices),
        "operators": table("operators", []),
    }
    tables["workers"] = table("workers", [{"rank": 0}])
    read = traced(recorded(tmp_path, tables))
    assert sorted(read.slices["operators/rank 0, host"], key=lambda each: (each[1], each[3])) == [
        ("outer", 100, 150, 0),
        ("first", 100, 120, 1),
        ("second", 120, 150, 1),
        ("after", 150, 155, 0),
    ]
    assert read.slices["operators/rank 0, device, stream 7"] == [("flash", 110, 130, 0), ("overlapping", 130, 160, 0)]
    kinds = {packet.track_event.name: list(packet.track_event.categories) for packet in read.trace.packet}
    assert (kinds["second"], kinds["flash"], kinds["step"]) == (["matrix product"], ["attention"], [])
