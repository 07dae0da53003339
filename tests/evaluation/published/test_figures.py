"""Published figures beside measured ones: of the same model only, with the settings that differ."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest
from click.testing import CliRunner, Result

from engine_probe.commands.report import command
from engine_probe.engine.models.catalogue import catalogue_names
from engine_probe.evaluation.published.published_comparison import beside, differences
from engine_probe.evaluation.published.reference import read_reference, shipped
from engine_probe.recordings.curve import curves
from engine_probe.recordings.run import load
from engine_probe.recordings.sweep import load_sweep
from tests.support.recordings.run_folders import facts, ran, write_run, write_sweep

MADE = """
title = "A toy"
source = "a paper"
doubt = "read off a plot"
[setting]
gpu = "L40S"
[[figures]]
model = "Someone/Tiny"
what = "saturation_point"
value = 9
[[figures]]
model = "tiny"
what = "output_tokens_per_s"
at = 16
value = 2000
doubt = "one run"
[[figures]]
model = "tiny"
what = "ttft_p50_ms"
at = 8
value = 40
"""


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    return write_sweep(tmp_path / "sweep", (1, 2, 4, 6, 8, 10, 14, 20))


def report(*arguments: object) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def charts(page: Path) -> dict[str, dict[str, Any]]:
    (data,) = re.findall(r'<script id="charts" type="application/json">(.*?)</script>', page.read_text(), re.DOTALL)
    return {chart["title"]: chart for chart in json.loads(data)}


@pytest.mark.lengthy
def test_it_is_listed_with_what_differs_and_drawn_as_published(sweep: Path, tmp_path: Path) -> None:
    (tmp_path / "toy.toml").write_text(MADE)
    result = report(sweep, "--reference", tmp_path / "toy.toml", "--html", tmp_path / "page.html")
    assert result.exit_code == 0, result.exception
    assert "Published: A toy" in result.output
    assert "not measured" in result.output  # at 16 nothing was
    drawn = charts(tmp_path / "page.html")
    marks = drawn["Throughput and its regions"]["marks"]
    assert marks == [{"label": "published; other settings", "at": 9}]
    series = drawn["Throughput and its regions"]["series"]
    assert series[-1]["label"] == "published; other settings"
    assert drawn["Throughput and its regions"]["xs"] == [1, 2, 4, 6, 8, 10, 14, 16, 20]
    assert series[-1]["values"] == [None, None, None, None, None, None, None, 2000, None]
    assert series[0]["values"][7] is None  # nothing is made up where nothing was measured
    assert drawn["Time to first token"]["series"][-1]["values"][4] == 40
    assert "gpu no GPU for L40S" in (tmp_path / "page.html").read_text()


@pytest.mark.lengthy
def test_of_another_model_nothing_is_drawn(sweep: Path, tmp_path: Path) -> None:
    result = report(sweep, "--reference", "thesis_concurrency", "--html", tmp_path / "page.html")
    assert "None of it is about what was measured here: it is about gpt2-xl," in " ".join(result.output.split())
    assert charts(tmp_path / "page.html")["KV occupancy"].get("marks", []) == []


@pytest.mark.lengthy
def test_loads_that_count_something_else_are_not_mixed(sweep: Path, tmp_path: Path) -> None:
    """Twenty requests in flight are not twenty per second; the rest of the report is shown."""
    toy = tmp_path / "toy.toml"
    toy.write_text(MADE.replace("[setting]", 'load_in = "requests/s"\n[setting]'))
    alone, beside_it = tmp_path / "alone.html", tmp_path / "beside.html"
    assert report(sweep, "--html", alone).exit_code == 0
    result = report(sweep, "--reference", toy, "--html", beside_it)
    said = " ".join(result.output.split())
    assert result.exit_code == 0
    assert "Its loads are in requests/s, those measured here in concurrent requests: nothing is set beside" in said
    assert "measured / published" not in said
    assert charts(beside_it) == charts(alone)
    asked = json.loads((sweep / "sweep.json").read_text())
    for point in asked["points"]:
        rate = point["point"].pop("concurrency")
        point["point"]["arrivals"] = {"kind": "open_loop", "request_rate": rate}
    (sweep / "sweep.json").write_text(json.dumps(asked))
    rows = report(sweep, "--reference", toy, "--html", tmp_path / "page.html").output
    assert "Published: A toy" in rows
    assert charts(tmp_path / "page.html")["Time to first token"]["series"][-1]["values"][4] == 40


@pytest.mark.lengthy
def test_figures_of_one_model_at_one_load_are_told_apart_by_their_own_settings(sweep: Path, tmp_path: Path) -> None:
    more = MADE[MADE.rindex("[[figures]]") :].replace("value = 40", 'value = 30\nsetting = { precision = "awq" }')
    (tmp_path / "toy.toml").write_text(MADE + more)
    assert report(sweep, "--reference", tmp_path / "toy.toml", "--html", tmp_path / "page.html").exit_code == 0
    assert "TTFT p50, ms, precision awq" in (tmp_path / "page.html").read_text()
    first, second = charts(tmp_path / "page.html")["Time to first token"]["series"][-2:]
    assert (first["label"], first["values"][4]) == ("published; other settings", 40)
    assert (second["label"], second["values"][4]) == ("published, precision awq; other settings", 30)


@pytest.mark.lengthy
def test_a_peak_without_a_load_is_held_against_the_best_load_that_was_measured(sweep: Path, tmp_path: Path) -> None:
    peak = MADE.replace("saturation_point", "peak_output_tokens_per_s").replace("value = 9", "value = 100")
    (tmp_path / "toy.toml").write_text(peak)
    drawn = report(sweep, "--reference", tmp_path / "toy.toml", "--html", tmp_path / "page.html").output
    throughput = charts(tmp_path / "page.html")["Throughput and its regions"]
    assert throughput.get("marks", []) == []  # it is no load
    most = max(value for value in throughput["series"][0]["values"] if value is not None)
    (row,) = (line.split() for line in drawn.splitlines() if line.startswith("peak output tokens/s"))
    assert row[3:6] == ["-", "100", f"{most:,.4g}"]


@pytest.mark.lengthy
@pytest.mark.parametrize(
    ("band", "words", "judged"),
    [
        ("low = 30\nhigh = 500", "30 to 500", "within"),
        ("high = 500", "at most 500", "within"),
        ("low = 500", "at least 500", None),
    ],
)
def test_a_band_is_met_within_its_ends_and_missed_by_its_nearer_end(
    sweep: Path, tmp_path: Path, band: str, words: str, judged: str | None
) -> None:
    (tmp_path / "toy.toml").write_text(MADE.replace("value = 40", band))
    result = report(sweep, "--reference", tmp_path / "toy.toml", "--html", tmp_path / "page.html").output
    (row,) = (line for line in result.splitlines() if line.startswith("TTFT p50, ms"))
    assert words in row
    measured = float(row.split(words)[1].split()[0])
    assert (judged or f"{measured / 500:.2f}") in row
    labels = [series["label"] for series in charts(tmp_path / "page.html")["Time to first token"]["series"]]
    assert sum(label.startswith("published, at ") for label in labels) == band.count("=")


@pytest.mark.lengthy
def test_a_burst_is_held_against_its_makespan_and_the_speed_up_that_follows(sweep: Path, tmp_path: Path) -> None:
    """The times of the requests are known: all arrive at 0."""
    more = [f'[[figures]]\nmodel = "tiny"\nwhat = "{what}"\nat = 8\nvalue = 1\n' for what in ("makespan_s", "speed_up")]
    (tmp_path / "toy.toml").write_text(MADE + "".join(more))
    found = beside(read_reference(str(tmp_path / "toy.toml")), swept := load_sweep(sweep), curves(swept.points))
    last = {
        point.load: pc.max(point.run.requests["last_token_ns"]).as_py() / 1e9 for point in swept.points if point.run
    }
    makespan, speed_up = (pair.measured for pair in found[-2:])
    assert makespan == pytest.approx(last[8])
    assert speed_up == pytest.approx(8 * last[1] / last[8])


BF16, INT8, AWQ = {"bfloat16": 900, "float32": 1}, {"int8": 800, "bfloat16": 100}, {"int32": 500, "float16": 90}


@pytest.mark.parametrize(
    ("quantization", "kept", "asked", "told"),
    [
        (None, BF16, "bfloat16", []),
        (None, BF16, "awq", ["precision bfloat16 for awq"]),
        ("awq_marlin", AWQ, "awq", []),
        ("awq_marlin", AWQ, "bfloat16", ["precision awq_marlin in int32 for bfloat16"]),
        ("compressed-tensors", INT8, "int8", []),
        (
            "compressed-tensors",
            {"float8_e4m3fn": 9},
            "int8",
            ["precision compressed-tensors in float8_e4m3fn for int8"],
        ),
        ("gptq", None, "int8", ["precision gptq for int8"]),  # nobody counted the weights
        ("unknown", None, "int8", ["precision not recorded here"]),
    ],
)
def test_a_precision_is_what_the_engine_says_and_what_its_weights_are_kept_in(
    tmp_path: Path, quantization: str | None, kept: dict[str, int] | None, asked: str, told: list[str]
) -> None:
    run = load(write_run(tmp_path / "run", ran(1)))
    arguments = {} if quantization == "unknown" else {"model_config": {"quantization": quantization}}
    run.facts["engine"]["arguments"] = arguments
    run.facts["loaded"] = None if kept is None else [{"dtypes": kept}, {"dtypes": kept}]
    assert list(differences({"precision": asked}, run)) == told


@pytest.mark.parametrize(
    ("name", "asked", "same"),
    [
        ("NVIDIA L40S", "L40S", True),
        ("NVIDIA L40S", "L4", False),
        ("NVIDIA L4", "L4", True),
        ("NVIDIA H100 NVL", "H100 NVL", True),
    ],
)
def test_a_card_is_not_another_whose_name_begins_alike(tmp_path: Path, name: str, asked: str, same: bool) -> None:
    run = load(write_run(tmp_path / "run", ran(1), {**facts(), "hardware": {"gpus": [{"name": name}]}}))
    assert list(differences({"gpu": asked}, run)) == ([] if same else [f"gpu {name} for {asked}"])


@pytest.mark.parametrize("name", shipped())
def test_what_is_shipped_says_where_it_is_from_and_names_models_that_exist(name: str) -> None:
    found = read_reference(name)
    assert found.source
    assert found.doubt or found.document
    assert {figure.model for figure in found.figures} <= set(catalogue_names())
    told = [(each.model, each.what, each.at, str(each.setting)) for each in found.figures]
    assert len(told) == len(set(told))  # one would hide the other in its chart


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (MADE.replace("saturation_point", "saturation"), "figures[0].what is 'saturation': known are saturation_point"),
        (MADE.replace("value = 9", "value = 0"), "figures[0].value is 0, expected a number > 0.0"),
        (MADE.replace("value = 9", "valeu = 9"), "valeu"),
        (MADE.replace("value = 9", "high = 9\nvalue = 9"), "figures[0]"),
        (MADE.replace("value = 9", ""), "figures[0]"),
        (MADE.replace("value = 9", "low = 9\nhigh = 8"), "low is 9 and high 8"),
        ("title = 1 2", "line 1"),
        (None, "no such file, and shipped are l40s,"),
    ],
)
def test_what_cannot_be_read_is_refused(sweep: Path, tmp_path: Path, text: str | None, why: str) -> None:
    if text is not None:
        (tmp_path / "toy.toml").write_text(text)
    assert why in str(report(sweep, "--reference", tmp_path / "toy.toml").exception)


@pytest.mark.parametrize(("gpu", "told"), [("H100 NVL", []), ("L40S", ["gpu the datasheet of H100 NVL for L40S"])])
def test_a_datasheet_predicts_for_its_gpu(tmp_path: Path, gpu: str, told: list[str]) -> None:
    twin = {"calibrated_from": "the datasheet of H100 NVL", "step_times": {}, "bounds": True}
    run = load(write_run(tmp_path / "run", ran(1), facts() | {"predicted": twin}))
    assert list(differences({"gpu": gpu}, run)) == told


@pytest.mark.parametrize(
    ("workload", "setting", "told"),
    [
        ({"output_len": {"kind": "geometric", "mean": 700, "high": 512}}, {"output_len": 512}, []),
        ({"output_len": {"kind": "uniform", "low": 1, "high": 256}}, {"output_len": 512}, ["output_len"]),
        ({"prompts": {"kind": "shared_prefix", "prefix_len": 127, "input_len": 1}}, {"input_len": 128}, []),
        ({"input_len": 128, "prompts": None}, {"input_len": 128}, []),
        ({"prompts": {"kind": "questions", "path": ["english"]}}, {"path": "english"}, []),
        ({"prompts": {"kind": "questions", "path": "french"}}, {"path": "english"}, ["path"]),
        ({}, {"path": "english"}, ["path"]),
    ],
)
def test_lengths_and_files_are_compared_by_what_they_mean(
    tmp_path: Path, workload: dict[str, Any], setting: dict[str, Any], told: list[str]
) -> None:
    run = load(write_run(tmp_path / "run", ran(1), facts() | {"workload": workload}))
    assert [each.split()[0] for each in differences(setting, run)] == told


@pytest.mark.lengthy
def test_the_load_of_the_highest_throughput_within_a_run_is_held_against_the_published_one(
    sweep: Path, tmp_path: Path
) -> None:
    peak = MADE.replace("saturation_point", "highest_throughput_load")
    (tmp_path / "toy.toml").write_text(peak)
    drawn = report(sweep, "--reference", tmp_path / "toy.toml", "--html", tmp_path / "page.html").output
    chart = charts(tmp_path / "page.html")["Highest throughput within the run"]
    best = max(zip(chart["xs"], chart["series"][0]["values"], strict=True), key=lambda pair: pair[1] or 0)[0]
    assert [mark["at"] for mark in chart["marks"]] == [9]
    (row,) = (line for line in drawn.splitlines() if line.startswith("highest throughput"))
    cells = row.split()
    assert cells[cells.index("9") + 1] == f"{best:g}"
