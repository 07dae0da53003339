"""Broken and hostile folders through every command that reads them: one sentence, never a traceback."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from click.testing import CliRunner, Result

from engine_probe.commands import compare, export, report, trace
from engine_probe.errors import InputError
from engine_probe.record.arrow_files import CHECKSUM_KEY, batch_checksum
from engine_probe.recordings.run import load
from engine_probe.recordings.sweep import Swept
from engine_probe.recordings.sweep_point import SweptPoint
from tests.support.recordings.run_folders import facts, ran, write_run, write_sweep
from tests.support.recordings.small_tables import table

HOSTILE = "<script>alert(1)</script>\x1b[2J\x1b]0;taken\x07[bold]x[/] \u202e"


def run_command(command: Any, *arguments: object) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def every_command(folder: Path, other: Path, out: Path) -> dict[str, Result]:
    return {
        "report": run_command(report.command, folder, "--html", out / "page.html"),
        "compare": run_command(compare.command, folder, other),
        "trace": run_command(trace.command, folder, "--out", out / "run.pftrace"),
        "export": run_command(export.command, folder, "--out", out / "tables"),
    }


def refused(result: Result) -> bool:
    return isinstance(result.exception, InputError)


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGES: dict[str, Callable[[Path], None]] = {
    "no facts": lambda run: (run / "run.json").unlink(),
    "half of the facts": lambda run: halve(run / "run.json"),
    "facts of another thing": lambda run: (run / "run.json").write_text("{}") and None,
    "no iterations": lambda run: (run / "iterations.arrow").unlink(),
    "half of the iterations": lambda run: halve(run / "iterations.arrow"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_damaged_is_refused_with_a_sentence(tmp_path: Path, damage: str) -> None:
    run = write_run(tmp_path / "run", ran(4))
    other = write_run(tmp_path / "other", ran(4))
    DAMAGES[damage](run)
    for name, result in every_command(run, other, tmp_path).items():
        assert refused(result), (name, result.exception)
    assert not (tmp_path / "page.html").exists()


def test_impossible_values_are_refused(tmp_path: Path) -> None:
    """Checksums hold, so a recorder would have gone wrong: no figure is made of it, and the sentence says which."""
    for number, (table_name, column, values, said) in enumerate(IMPOSSIBLE):
        tables = ran(4) | {"telemetry": table("telemetry", [{"time_ns": 5}, {"time_ns": 6}])}
        tables[table_name] = with_column(tables[table_name], column, values)
        run = write_run(tmp_path / f"run{number}", tables)
        with pytest.raises(InputError, match=re.escape(said)):
            getattr(load(run), table_name)
        done = run_command(report.command, run)  # which needs no telemetry
        assert refused(done) == (table_name != "telemetry")


@pytest.mark.parametrize(
    ("column", "value"),
    [("first_token_iteration", 10**6), ("last_token_iteration", 10**6), ("burst_iterations", [10**6])],
)
def test_an_impossible_step_is_refused(tmp_path: Path, column: str, value: object) -> None:
    tables = ran(4)
    tables["requests"] = with_column(tables["requests"], column, lambda told: [value, *told[1:]])
    if column == "burst_iterations":
        tables["requests"] = with_column(tables["requests"], "burst_tokens", lambda told: [[1], *told[1:]])
    with pytest.raises(InputError, match="requests name steps that iterations does not hold"):
        _ = load(write_run(tmp_path / "run", tables)).requests


Column = list[Any]
IMPOSSIBLE: tuple[tuple[str, str, Callable[[Column], Column], str], ...] = (
    ("iterations", "running_requests", lambda told: [*told[:-1], -1], "running_requests is -1"),
    ("iterations", "iteration", lambda told: [each + 1 for each in told], "iteration does not count the rows"),
    ("iterations", "start_ns", lambda told: [told[1], told[0], *told[2:]], "start_ns falls from one row to the next"),
    ("iterations", "execute_ns", lambda told: [10**12, *told[1:]], "an update ends before the one before it"),
    ("iterations", "update_ns", lambda told: [*told[:-1], 2**62], "update_ns is 4,611,686,018,427,387,904"),
    ("iterations", "kv_blocks_scheduled", lambda told: [61, *told[1:]], "is 61, the pool has 60 blocks"),
    ("iterations", "decode_tokens", lambda told: [0] * len(told), "scheduled_tokens is not the sum of its parts"),
    ("requests", "first_scheduled_ns", lambda told: [10**12, *told[1:]], "first_token_ns is before first_scheduled_ns"),
    ("requests", "run_lengths", lambda told: [[], *told[1:]], "run_starts and run_lengths differ in number"),
    ("requests", "output_tokens", lambda told: [1, *told[1:]], "stretches hold more tokens than were generated"),
    ("telemetry", "time_ns", lambda told: told[::-1], "time_ns falls from one row to the next"),
)


def with_column(rows: pa.Table, name: str, change: Callable[[Column], Column]) -> pa.Table:
    index = rows.schema.get_field_index(name)
    field = rows.schema.field(index)
    told = rows[name].to_pylist()
    return rows.set_column(index, field, pa.array(change(told), field.type))


def test_without_telemetry_the_rest_is_reported(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", ran(4))
    (run / "telemetry.arrow").unlink()
    done = every_command(run, write_run(tmp_path / "other", ran(4)), tmp_path)
    assert {name: result.exit_code for name, result in done.items() if name != "export"} == {
        "report": 0,
        "compare": 0,
        "trace": 0,
    }
    assert "telemetry.arrow is missing" in (tmp_path / "page.html").read_text()
    assert "telemetry.arrow is missing" in done["trace"].output
    assert refused(done["export"])  # tables as files: all of them or none


def test_a_hostile_model_name_is_only_a_name(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", ran(4), facts(name=HOSTILE))
    done = every_command(run, write_run(tmp_path / "other", ran(4)), tmp_path)
    for name, result in done.items():
        assert result.exit_code == 0, (name, result.exception)
        assert "\x1b[2J" not in result.output
        assert "\x07" not in result.output
    assert "<script>alert(1)" not in (tmp_path / "page.html").read_text()


def changed(sweep: Path, change: Callable[[dict[str, Any]], object]) -> None:
    document = json.loads((sweep / "sweep.json").read_text())
    change(document)
    (sweep / "sweep.json").write_text(json.dumps(document))


def test_a_hostile_sweep_is_only_text(tmp_path: Path) -> None:
    sweep = write_sweep(tmp_path / "sweep", (1, 2, 4))

    def hostile(document: dict[str, Any]) -> None:
        document["sweep"]["question"] = HOSTILE
        document["points"][0] |= {"id": "../../../etc", "reason": HOSTILE}
        document["points"][1]["point"]["model"] = HOSTILE

    changed(sweep, hostile)
    result = run_command(report.command, sweep, "--html", tmp_path / "page.html")
    assert result.exit_code == 1
    assert "\x1b[2J" not in result.output
    assert "<script>alert(1)" not in (tmp_path / "page.html").read_text()


def test_a_sweep_without_points_or_recordings_draws_nothing(tmp_path: Path) -> None:
    sweep = write_sweep(tmp_path / "sweep", (1, 2, 4))
    shutil.rmtree(sweep / "points")
    gone = run_command(report.command, sweep)
    assert gone.exit_code == 1
    lost = "concurrency 1; concurrency 2; concurrency 4 were not measured: no recording"
    assert lost in " ".join(gone.output.split())
    assert "No level was measured." in gone.output
    changed(sweep, lambda document: document["points"].clear())
    empty = run_command(report.command, sweep)
    assert empty.exit_code == 1
    assert "holds no point yet" in " ".join(empty.output.split())


@pytest.mark.parametrize("load", [float("nan"), float("inf"), 1e308, 0, -1, "many", True])
def test_an_invalid_load_is_refused(tmp_path: Path, load: object) -> None:
    sweep = write_sweep(tmp_path / "sweep", (1, 2))
    changed(sweep, lambda document: document["points"][0]["point"].update(concurrency=load, num_prompts=load))
    assert refused(run_command(report.command, sweep))


@pytest.mark.lengthy
def test_models_in_one_sweep_are_curves_of_their_own(tmp_path: Path) -> None:
    """Never one curve through the points of two."""
    sweep = write_sweep(tmp_path / "sweep", (1, 2, 4, 8))

    def mixed(document: dict[str, Any]) -> None:
        for number, row in enumerate(document["points"]):
            row["point"]["model"] = f"m{number % 2}"

    changed(sweep, mixed)
    text = run_command(report.command, sweep).output
    assert "model m0" in text
    assert "model m1" in text


def test_an_invalid_clock_is_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", ran(4))
    document = json.loads((run / "run.json").read_text())
    for name, value in (("monotonic_ns", -1), ("wall_ns", 2**63)):
        changed_clock = document | {"clock": document["clock"] | {name: value}}
        (run / "run.json").write_text(json.dumps(changed_clock))
        with pytest.raises(InputError, match=rf"clock\.{name} is {value}"):
            load(run)


@pytest.mark.parametrize("name", ["page", "figures"])
def test_an_existing_file_is_refused_before_the_work(tmp_path: Path, name: str) -> None:
    run, taken = write_run(tmp_path / "run", ran(4)), tmp_path / "taken"
    taken.write_text("mine")
    for path, said in ((taken, "exists already"), (tmp_path / "no" / "folder", "there is no folder")):
        result = run_command(report.command, run, {"page": "--html", "figures": "--json"}[name], path)
        assert refused(result)
        assert said in str(result.exception)
        assert result.output == ""
    assert taken.read_text() == "mine"


def test_two_forms_do_not_share_a_file(tmp_path: Path) -> None:
    result = run_command(
        report.command, write_run(tmp_path / "run", ran(4)), "--html", tmp_path / "x", "--json", tmp_path / "x"
    )
    assert refused(result)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("command", [report.command, compare.command, trace.command, export.command])
@pytest.mark.parametrize("name", ["nowhere", "x" * 5000, "a\0b"])
def test_an_impossible_folder_name_is_refused_in_one_sentence(tmp_path: Path, command: Any, name: str) -> None:
    with_out = ("--out", tmp_path / "out") if command is export.command else ()
    result = run_command(command, name, *with_out)
    assert refused(result)
    assert len(str(result.exception)) < 300


def cut_after(run: Path, steps: int) -> Path:
    """Cut a run as a crash does that kept all requests but only the first steps."""
    document = json.loads((run / "run.json").read_text())
    for name in ("iterations", "requests", "preemptions", "telemetry"):
        with pa.memory_map(str(run / f"{name}.arrow")) as source:
            rows = pa.ipc.open_file(source).read_all()
        kept = rows.slice(0, steps) if name == "iterations" else rows
        with pa.ipc.new_stream(run / f"{name}.arrows", rows.schema) as sink:
            for batch in kept.combine_chunks().to_batches():
                sink.write_batch(batch, custom_metadata={CHECKSUM_KEY: batch_checksum(batch)})
        (run / f"{name}.arrow").unlink()
    for key in ("tables", "workers", "close", "failure"):
        del document[key]
    document["process"]["started"] = -1
    (run / "run.json").write_text(json.dumps(document | {"status": "recording"}))
    return run


@pytest.mark.lengthy
def test_tokens_of_steps_that_a_crash_took_have_no_times(tmp_path: Path) -> None:
    """And the rest is told: requests, their first tokens, the steps that are there."""
    run, other = cut_after(write_run(tmp_path / "run", ran(4)), 10), write_run(tmp_path / "other", ran(4))
    assert load(run).requests["run_starts"].to_pylist() == [[]] * 4
    assert load(run).summary().requests_answered == 4
    for name, result in every_command(run, other, tmp_path).items():
        assert result.exception is None or result.exit_code in (0, 1), (name, result.exception)
    out = tmp_path / "serve.json"
    assert run_command(export.command, run, "--to", "vllm-bench-serve", "--out", out).exit_code == 0
    assert json.loads(out.read_text())["max_output_tokens_per_s"] == 0


def test_a_whole_run_without_its_steps_is_damaged(tmp_path: Path) -> None:
    tables = ran(4)
    run = write_run(tmp_path / "run", tables | {"iterations": tables["iterations"].slice(0, 10)})
    with pytest.raises(InputError, match="requests name steps that iterations does not hold"):
        _ = load(run).requests


@pytest.mark.parametrize(
    ("key", "value"),
    [("hardware", 1), ("hardware", {"gpus": "none"}), ("workload", "much"), ("kv", facts()["kv"] | {"blocks": 2**40})],
)
def test_facts_that_reports_look_into_have_their_shape(tmp_path: Path, key: str, value: object) -> None:
    run = write_run(tmp_path / "run", ran(4))
    document = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(document | {key: value}))
    assert refused(run_command(report.command, run))


def test_control_characters_on_stderr_are_spelled_out(tmp_path: Path) -> None:
    """Notes of a run and points of a gate go to stderr, where a terminal would obey them."""
    run = write_run(tmp_path / "run", ran(4))
    document = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(document | {"status": "incomplete", "failure": HOSTILE}))
    done = every_command(run, write_run(tmp_path / "other", ran(4)), tmp_path)
    done["gate"] = run_command(compare.command, run, tmp_path / "other", "--fail-if", "preemptions > 0%")
    for name, result in done.items():
        assert not isinstance(result.exception, InputError), name
        assert "\x1b[2J" not in result.output + result.stderr, name


def test_a_malformed_sweep_is_refused(tmp_path: Path) -> None:
    changes: tuple[Callable[[dict[str, Any]], object], ...] = (
        lambda document: document["sweep"].update(axes=-1),
        lambda document: document["points"][0].update(id="x" * 5000),
    )
    for number, change in enumerate(changes):
        sweep = write_sweep(tmp_path / f"sweep{number}", (1, 2))
        changed(sweep, change)
        assert refused(run_command(report.command, sweep))


def test_repeats_that_failed_for_the_same_reason_are_one_sentence() -> None:
    lost = [
        SweptPoint(str(number), {"probe": False}, 16, "concurrent requests", None, None, reason)
        for number, reason in enumerate(("ran without", "ran without", "hung"))
    ]
    assert Swept(Path("s"), "?", tuple(lost), ({}, {}, {}), {}).unmeasured == [
        "concurrency 16, probe False was not measured (2 times): ran without",
        "concurrency 16, probe False was not measured: hung",
    ]
