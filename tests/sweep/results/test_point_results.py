"""A row of a sweep holds the figures of its recording as a report computes them, or the reason why there are none."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pyarrow as pa
import pytest
from click.testing import CliRunner

from engine_probe.commands import report
from engine_probe.commands.options.result_location import open_results
from engine_probe.commands.sweep.measure import exit_code, show
from engine_probe.recordings.run import load
from engine_probe.sweep.progress.progress_lines import result_line
from engine_probe.sweep.results.point_results import PointResult, Row, Unmeasured, measure
from tests.support.recordings.point_results import point, result
from tests.support.recordings.run_folders import facts, ran, write_run, write_sweep

SPARE = result(4, 80)
FULL = result(16, 200)
CUT = Unmeasured("point-8", point(8), "incomplete", "the probe stepped aside")


def test_a_row_is_the_summary_and_the_limits_of_its_run(tmp_path: Path) -> None:
    run = load(write_run(tmp_path / "point", ran(20)))
    found, row = run.analysis(), measure(run, point(20))
    summary = found.summary
    assert isinstance(row, PointResult)
    for name in (
        "iterations",
        "seconds",
        "output_tokens",
        "output_tokens_per_s",
        "recomputed_share",
        "preemptions",
        "mean_running",
        "peak_running",
        "peak_waiting",
        "peak_kv_share",
    ):
        assert getattr(row, name) == getattr(summary, name), name
    assert row.preemptions > 0
    assert row.recomputed_tokens == found.preemption_cost.recomputed_tokens > 0
    assert row.median_ttft_seconds == summary.ttft.percentiles_ns[50] / 1e9
    assert row.limited_by == found.limits.shares
    assert row.limited_by["KV blocks"] > 0


def test_deferred_requests_wait_in_a_row_as_in_a_report(tmp_path: Path) -> None:
    tables = ran(4)
    steps = tables["iterations"]
    deferred = pa.array([3] + [0] * (steps.num_rows - 1), steps.schema.field("deferred_requests").type)
    at = steps.schema.get_field_index("deferred_requests")
    tables["iterations"] = steps.set_column(at, steps.schema.field(at), deferred)
    run = load(write_run(tmp_path / "point", tables))
    row = measure(run, point(4))
    assert isinstance(row, PointResult)
    assert row.peak_waiting == run.summary().peak_waiting == 3


def test_requests_that_waited_while_blocks_were_free_did_not_wait_for_kv(tmp_path: Path) -> None:
    """Which limit it was cannot be told without the recorded reason, and the row says so."""
    tables = dict(ran(20))  # as made with 60 blocks
    steps = tables["iterations"]
    place = steps.column_names.index("waiting_reason")
    nothing = pa.nulls(steps.num_rows, pa.int32())  # as a recording from before schema version 5 is read
    tables["iterations"] = steps.set_column(place, steps.schema.field(place), nothing)
    row = measure(load(write_run(tmp_path / "point", tables, facts(blocks=600))), point(20))
    assert isinstance(row, PointResult)
    assert row.limited_by["unknown"] > 0


def test_a_recording_without_a_step_has_no_figures(tmp_path: Path) -> None:
    tables = {name: table.slice(0, 0) for name, table in ran(1).items()}
    row = measure(load(write_run(tmp_path / "point", tables)), point(1))
    assert isinstance(row, Unmeasured)
    assert result_line(row) == "concurrency 1: it ended before the engine's first step"


@pytest.mark.lengthy
def test_the_end_of_a_sweep_prints_what_report_prints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep = write_sweep(tmp_path / "sweep", (1, 4, 10, 14, 20))
    results = open_results(str(sweep), str(sweep))
    try:
        show([], results)
    finally:
        results.close()
    shown = capsys.readouterr().out.strip()
    *reported, more = CliRunner().invoke(report.command, [str(sweep)]).stdout.strip().splitlines()
    assert more.startswith("--verbose shows")  # options of `report`
    assert reported
    assert shown.splitlines()[: len(reported)] == reported
    assert shown.splitlines()[-1].startswith("Every iteration is recorded in ")


@pytest.mark.parametrize(
    ("rows", "code"),
    [
        ([SPARE, FULL], 0),
        ([SPARE, CUT], 1),
        ([CUT], 1),
        ([msgspec.structs.replace(CUT, status="failed", exit_code=2)], 2),
        ([SPARE, msgspec.structs.replace(CUT, status="failed", exit_code=3)], 1),
    ],
)
def test_a_point_without_figures_ends_the_command_non_zero(rows: list[Row], code: int) -> None:
    assert exit_code(rows, failures_are_results=False) == code
