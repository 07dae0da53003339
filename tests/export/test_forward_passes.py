"""A recording as NVIDIA Dynamo's trace, read back, and files that are no such trace."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from engine_probe import load
from engine_probe.commands import export, report
from engine_probe.errors import InputError
from engine_probe.recordings.forward_passes import ForwardPasses
from tests.support.recordings.run_folders import ran, write_run, write_sweep

# A record as Dynamo documents it.
SCHEDULED = {
    "num_prefill_requests": 2,
    "sum_prefill_tokens": 256,
    "var_prefill_length": 100.0,
    "sum_prefill_kv_tokens": 64,
    "num_decode_requests": 3,
    "sum_decode_kv_tokens": 1024,
    "var_decode_kv_tokens": 50.0,
}
QUEUED = {name: 0 for name in SCHEDULED if name != "sum_prefill_kv_tokens"}


def record(number: int, mode: str = "full", schema: str = "dynamo.fpm.trace.v1", **fields: Any) -> dict[str, Any]:
    one = {"version": 1, "worker_id": "4192", "dp_rank": 0, "counter_id": number, "wall_time": 0.025}
    source = {"namespace": "default", "component": "backend", "producer_id": "4192"}
    event = {"schema": schema, "source": source, "capture_mode": mode, "observed_at_unix_ms": 1782777601250 + number}
    fpm = {**one, "scheduled_requests": SCHEDULED, "queued_requests": QUEUED, **fields}
    return {"timestamp": 1250 + number, "event": {**event, "fpm": fpm}}


def write(path: Path, *records: object) -> Path:
    path.write_bytes(gzip.compress("".join(f"{json.dumps(each)}\n" for each in records).encode()))
    return path


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Preemptions, chunks of prompts and a queue."""
    return write_run(tmp_path_factory.mktemp("fpm") / "run", ran(24, prompt=90, output=60, blocks=60, budget=128))


def exported(folder: Path, out: Path) -> Any:
    return CliRunner().invoke(export.command, [str(folder), "--to", "fpm", "--out", str(out)])


def test_what_is_written_is_read_and_adds_up_to_the_recording(run_folder: Path, tmp_path: Path) -> None:
    done = exported(run_folder, tmp_path / "a.jsonl.gz")
    assert done.exit_code == 0, done.output
    passes, run = load(tmp_path / "a.jsonl.gz"), load(run_folder)
    assert isinstance(passes, ForwardPasses)
    ran_steps = run.iterations.filter(run.iterations["scheduled_tokens"].to_numpy() > 0)
    whole = dict(zip(range(ran_steps.num_rows), ran_steps.to_pylist(), strict=True))
    rows = passes.table.to_pylist()
    assert len(rows) > 0.9 * len(whole)
    assert run.preemptions.num_rows > 0
    for row in rows:
        step = whole[row["counter_id"]]
        requests = row["scheduled_num_prefill_requests"] + row["scheduled_num_decode_requests"]
        assert requests == step["scheduled_requests"]
        queued = row["queued_num_prefill_requests"] + row["queued_num_decode_requests"]
        assert queued == step["waiting_requests"]
    assert exported(run_folder, tmp_path / "b.jsonl.gz").exit_code == 0
    assert (tmp_path / "a.jsonl.gz").read_bytes() == (tmp_path / "b.jsonl.gz").read_bytes()


def test_a_sweep_is_refused(tmp_path: Path) -> None:
    done = exported(write_sweep(tmp_path / "sweep", (2, 4)), tmp_path / "out.jsonl.gz")
    assert "takes a single run" in str(done.exception)
    assert not (tmp_path / "out.jsonl.gz").exists()


def test_segments_are_read_in_order_and_what_is_missing_is_said(tmp_path: Path) -> None:
    write(tmp_path / "dynamo-fpm.4192.000001.jsonl.gz", record(7, "sampled"))
    write(tmp_path / "dynamo-fpm.9.000000.jsonl.gz", record(0))  # another producer's
    passes = load(write(tmp_path / "dynamo-fpm.4192.000000.jsonl.gz", record(1), record(2)))
    assert passes.table["counter_id"].to_pylist() == [1, 2, 7]
    assert any("4 steps" in note for note in passes.notes)
    assert any("sampled" in note for note in passes.notes)


def test_a_trace_of_a_killed_writer_is_read_up_to_its_end(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.jsonl.gz", *(record(number, wall_time=number / 7) for number in range(4000)))
    cut = tmp_path / "cut.jsonl.gz"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    passes = load(cut)
    assert 1000 < passes.table.num_rows < 3000
    assert any("cut off" in note for note in passes.notes)


def test_the_report_tells_kinds_of_steps_and_heartbeats(tmp_path: Path) -> None:
    nothing = dict.fromkeys(SCHEDULED, 0)
    decodes = nothing | {"num_decode_requests": 5, "sum_decode_kv_tokens": 700}
    beat = record(3, wall_time=0, scheduled_requests=nothing)
    trace = write(tmp_path / "x.jsonl.gz", record(1), record(2, wall_time=0.1, scheduled_requests=decodes), beat)
    done = CliRunner().invoke(report.command, [str(trace), "--json", "-"])
    found = json.loads(done.stdout)
    assert (found["steps"], found["heartbeats"], found["peak_decode_requests"]) == (2, 1, 5)
    assert {kind["name"]: kind["kv_tokens"] for kind in found["kinds"]} == {
        "decode only": 700,
        "prefill and decode": 1024 + 64,
    }
    assert "heartbeat" in CliRunner().invoke(report.command, [str(trace)]).stdout
    asked = CliRunner().invoke(report.command, [str(trace), "--goodput", "ttft:200"])
    assert "without requests" in str(asked.exception)


def packed(*lines: bytes) -> bytes:
    return gzip.compress(b"\n".join(lines))


REFUSED: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "no forward-pass record"),
    "no gzip": (b"no gzip", "cannot be read"),
    "no record": (packed(b"{}"), ":1 is no forward-pass record"),
    "a list": (packed(json.dumps(record(1)).encode(), b"[1]"), ":2 is no forward-pass record"),
    "another schema": (packed(json.dumps(record(1, schema="other")).encode()), "'other'"),
    "another version": (packed(json.dumps(record(1, version=2)).encode()), "version 2"),
    "negative": (packed(json.dumps(record(1, wall_time=-1)).encode()), "wall_time"),
    "no text": (packed(b"\xff\xfe"), ":1 is no forward-pass record"),
}


# By name: gzip writes the time into its header, and two processes would collect different tests.
@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_is_no_trace_is_refused(name: str, tmp_path: Path) -> None:
    content, words = REFUSED[name]
    path = tmp_path / "x.jsonl.gz"
    path.write_bytes(content)
    with pytest.raises(InputError, match=words.replace("[", r"\[")):
        load(path)
