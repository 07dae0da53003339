"""`engine_probe report`: what it says of runs and sweeps, whole and broken, and never a misleading curve."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner, Result

from engine_probe.analysis.curve.held_load import HeldLoad
from engine_probe.commands.report import command
from engine_probe.record.schema import SCHEMAS
from engine_probe.recordings.curve import curves
from engine_probe.recordings.run import load
from engine_probe.recordings.sweep import open_sweep
from engine_probe.report.charts.sweep import throughput_charts
from engine_probe.report.renderers.html_document import html_page
from engine_probe.report.run_report import run_document
from tests.support.recordings.run_folders import facts, ran, write_run, write_sweep
from tests.support.recordings.small_tables import table
from tests.support.values import values

HOSTILE = "</script><img src=x onerror=alert(1)>\x1b[2J\u202e"


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pool for ten requests; from eleven on they wait and are preempted."""
    return write_sweep(tmp_path_factory.mktemp("sweep"), (1, 2, 4, 6, 8, 10, 14, 20))


def report(*arguments: object) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def said(result: Result) -> str:
    """Without the line breaks of the terminal."""
    return re.sub(r"\s+", " ", result.output)


def drawn(page: str) -> list[dict[str, Any]]:
    (data,) = re.findall(r'<script id="charts" type="application/json">(.*?)</script>', page, re.DOTALL)
    charts: list[dict[str, Any]] = json.loads(data)
    return charts


@pytest.mark.lengthy
def test_a_sweep_ends_where_its_pool_does(sweep: Path) -> None:
    (curve,) = curves(open_sweep(sweep).points)
    assert curve.found.best is not None
    assert (curve.found.best.load, round(curve.found.best.output_tokens_per_s, 1)) == (10, 2395.2)
    assert (curve.found.kv.after, curve.found.kv.reached) == (10, 14)


@pytest.mark.lengthy
def test_the_page_has_every_chart_and_loads_nothing(sweep: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    assert report(sweep, "--html", page).exit_code == 0
    text = page.read_text()
    titles = [chart["title"] for chart in drawn(text)]
    assert titles[:6] == [
        "Throughput and its regions",
        "KV occupancy",
        "Highest throughput within the run",
        "Time to first token",
        "Time per output token",
        "Cost of a full KV pool",
    ]
    assert {"Requests", "Preemptions", "Bottleneck over time", "Admission, queueing and memory pressure"} <= set(titles)
    assert "default-src 'none'" in text
    assert not re.findall(r'(?:src|href)="', text)
    assert "never overwritten" in str(report(sweep, "--html", page).exception)


@pytest.mark.lengthy
@pytest.mark.parametrize("what", ["report", "compare"])
def test_the_page_is_there_although_nobody_reads_to_the_end(sweep: Path, tmp_path: Path, what: str) -> None:
    """As with `| head`: the pipe is closed before all is said."""
    page = tmp_path / "page.html"
    reader, writer = os.pipe()
    os.close(reader)
    folders = [str(sweep)] * (1 if what == "report" else 2)
    line = [sys.executable, "-m", "engine_probe", what, *folders, "--html", str(page)]
    done = subprocess.run(line, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert done.returncode != 0
    assert page.read_text().startswith("<!doctype html>")


@pytest.mark.lengthy
def test_the_whole_run_is_drawn_beside_the_part_in_which_the_load_was_held(sweep: Path) -> None:
    (curve,) = curves(open_sweep(sweep).points)
    (batches,) = throughput_charts([curve])
    assert "whole run" not in [line.label for line in batches.series]
    held = [replace(point, held=HeldLoad(0, 10**9, 40, 139.5)) for point in curve.figures[1:]]
    (chart,) = throughput_charts([replace(curve, figures=[curve.figures[0], *held])])
    rates, whole = (
        {line.label: line.values for line in chart.series}[name] for name in ("output tokens/s", "whole run")
    )
    assert rates == [None, *[139.5] * len(held)]
    assert None not in whole


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    tables = ran(2)
    names = pa.array([HOSTILE] * 2)
    tables["requests"] = tables["requests"].set_column(0, SCHEMAS["requests"].field("request_id"), names)
    folder, page = write_run(tmp_path / "run", tables, facts(name=HOSTILE)), tmp_path / "report.html"
    result = report(folder, "--html", page)
    assert "\x1b" not in result.output
    assert "\\x1b[2J\\u202e" in result.output
    text = page.read_text()
    assert "<img" not in text
    assert "\x1b" not in text
    (gantt,) = (chart for chart in drawn(text) if chart["title"] == "Requests")
    assert gantt["rows"] == [HOSTILE] * 2  # data of the script, which only ever becomes text


def test_a_point_without_a_recording_is_named(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path, (1, 2, 4))
    (folder / "points" / "p2" / "run.json").unlink()
    (folder / "points" / "p4" / "requests.arrow").write_bytes(b"torn")
    result = report(folder, "--html", tmp_path / "report.html")
    assert result.exit_code == 1
    assert "concurrency 2 was not measured: no recording" in said(result)
    assert "concurrency 4 was not measured:" in said(result)
    assert "A single level, measured once, shows neither knee nor peak, nor how far its figures vary." in said(result)
    assert "Throughput and its regions" not in [
        chart["title"] for chart in drawn((tmp_path / "report.html").read_text())
    ]


def test_no_point_at_all(tmp_path: Path) -> None:
    """Nothing was measured, so it is no success, and the page draws nothing."""
    (tmp_path / "sweep.json").write_text('{"sweep": {"question": "?"}, "points": []}')
    assert report(tmp_path, "--html", tmp_path / "report.html").exit_code == 1
    assert drawn((tmp_path / "report.html").read_text()) == []


@pytest.mark.parametrize("text", ["", "[]", '{"points": []}', '{"sweep": {"question": "?"}, "points": [{"id": 1}]}'])
def test_a_damaged_sweep_is_refused_in_one_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "sweep.json").write_text(text)
    result = report(tmp_path)
    assert "sweep.json" in str(result.exception)
    assert getattr(result.exception, "exit_code", None) == 2


def test_an_empty_run_is_refused_in_one_sentence(tmp_path: Path) -> None:
    assert "holds no iteration" in str(report(write_run(tmp_path / "run", {})).exception)


def test_an_incomplete_run_is_partial_and_says_so(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", ran(4))
    told = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(told | {"status": "incomplete", "failure": "Boom: \x1b[31mhere"}))
    result = report(folder, "--html", tmp_path / "report.html")
    assert result.exit_code == 1
    assert "the probe stopped before the end (Boom: \\x1b[31mhere)" in said(result)
    assert '<div class="warning red">incomplete: the probe stopped before' in (tmp_path / "report.html").read_text()


def test_one_step_and_no_request_make_a_page(tmp_path: Path) -> None:
    tables = {"iterations": ran(1)["iterations"].slice(0, 1)}
    page = tmp_path / "report.html"
    assert report(write_run(tmp_path / "run", tables), "--html", page).exit_code == 0
    assert "Requests" not in [chart["title"] for chart in drawn(page.read_text())]


def test_points_that_differ_in_more_than_concurrency_are_curves_of_their_own(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path, (1, 2, 4, 8))
    document = json.loads((folder / "sweep.json").read_text())
    for row, length in zip(document["points"], (48, 48, 96, 96), strict=True):
        row["point"]["input_len"] = length
    (folder / "sweep.json").write_text(json.dumps(document))
    text = said(report(folder))
    assert "input_len 48" in text
    assert "input_len 96" in text


def test_a_sweep_over_prompt_lengths_is_one_table_and_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One request at a time: 48 tokens take 0.1 ms each and 2 ms, and so do 96."""
    points = []
    for length in (48, 96):
        write_run(tmp_path / "points" / f"p{length}", ran(1, prompt=length))
        points.append({"id": f"p{length}", "point": {"workload": {"concurrency": 1, "input_len": length}}})
    (tmp_path / "sweep.json").write_text(json.dumps({"sweep": {"question": "?"}, "points": points}))
    monkeypatch.setenv("COLUMNS", "120")  # the settings of a row break in a narrower terminal
    result = report(tmp_path, "--html", tmp_path / "report.html")
    assert "input_len 48" in said(result)
    assert "A single level" not in said(result)
    (line,) = (
        c for c in drawn((tmp_path / "report.html").read_text()) if c["title"].startswith("Time to first token by")
    )
    assert (line["xs"], line["series"][0]["values"]) == ([48, 96], [6.8, 11.6])


def test_a_sweep_over_a_rate_is_told_in_requests_per_second(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path, (1, 2, 4))
    document = json.loads((folder / "sweep.json").read_text())
    for row, rate in zip(document["points"], (0.5, 1.0, 2.0), strict=True):
        work = {"num_prompts": 50, "concurrency": None, "arrivals": {"kind": "open_loop", "request_rate": rate}}
        row["point"] = {"workload": work, "repeat": 0}
    (folder / "sweep.json").write_text(json.dumps(document))
    assert values(said(report(folder)).partition("Highest throughput")[2])[:2] == ["1,394", "2"]


def test_telemetry_is_drawn_by_unit_and_owner(tmp_path: Path) -> None:
    """Two devices draw 250 and 300 W; of the host only the CPU is known."""
    rows = [{"time_ns": 2_000_000, "device": index, "power_mw": 250_000 + 50_000 * index} for index in (0, 1)]
    rows += [{"time_ns": 3_000_000, "cpu_percent": 150.0}]
    run = load(write_run(tmp_path / "run", ran(1) | {"telemetry": table("telemetry", rows)}))
    charts = {chart["title"]: chart for chart in drawn(html_page(run_document(run, run.analysis())))}
    assert [(line["label"], line["values"]) for line in charts["GPU power"]["series"]] == [
        ("GPU 0", [250]),
        ("GPU 1", [300]),
    ]
    assert charts["GPU power"]["xs"] == [0.002]
    assert [line["label"] for line in charts["Host CPU"]["series"]] == ["this process"]
    assert "GPU temperature" not in charts
    (tmp_path / "run" / "telemetry.arrow").write_bytes(b"torn")
    page = html_page(run_document(load(tmp_path / "run"), run.analysis()))
    assert "telemetry.arrow is not the file that was recorded" in page
    assert "GPU power" not in {chart["title"] for chart in drawn(page)}


@pytest.mark.lengthy
def test_many_steps_make_no_large_page(tmp_path: Path) -> None:
    """100,000 steps of 1 ms; one of them runs 999 requests, and is still in the drawing."""
    count = 100_000
    columns = {field.name: np.zeros(count, dtype=np.int64) for field in SCHEMAS["iterations"]}
    columns |= {"iteration": np.arange(count), "start_ns": np.arange(count) * 1_000_000}
    columns |= {
        "execute_ns": np.full(count, 900_000),
        "scheduled_tokens": np.ones(count),
        "decode_tokens": np.ones(count),
    }
    columns["running_requests"][77_777] = 999
    arrays = [pa.array(columns[field.name].astype(field.type.to_pandas_dtype())) for field in SCHEMAS["iterations"]]
    run = load(write_run(tmp_path / "run", {"iterations": pa.table(arrays, schema=SCHEMAS["iterations"])}))
    page = html_page(run_document(run, run.analysis()))
    assert len(page) < 1_000_000
    (pressure,) = (chart for chart in drawn(page) if chart["title"] == "Admission, queueing and memory pressure")
    assert max(pressure["series"][1]["values"]) == 999


def test_a_page_says_what_ran_and_what_was_asked(tmp_path: Path) -> None:
    told = facts() | {"workload": {"prompts": {"turns": 6}, "output_len": 24, "concurrency": None}}
    arguments = {"model_config": {"quantization": None}, "parallel_config": {"tensor_parallel_size": 2}}
    told["engine"] = told["engine"] | {"arguments": arguments}
    run = write_run(tmp_path / "run", ran(2), told)
    assert CliRunner().invoke(command, [str(run), "--html", str(tmp_path / "page.html")]).exit_code == 0
    page = (tmp_path / "page.html").read_text()
    for cell in ("prompts.turns 6, output_len 24", "tensor 2", "quantization none, KV cache not recorded"):
        assert cell in page


def test_markdown_shows_runs_and_sweeps_alone(tmp_path: Path) -> None:
    checked = tmp_path / "checked.json"
    checked.write_text("{}")
    result = report(checked, "--markdown", tmp_path / "report.md")
    assert str(result.exception).endswith("checked.json is neither a run nor a sweep: leave --markdown out")
    assert not (tmp_path / "report.md").exists()
