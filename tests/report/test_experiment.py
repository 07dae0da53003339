"""The report of several sweeps as one experiment, in every form."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import engine_probe
from engine_probe.cli import cli
from engine_probe.recordings.experiment import load_experiment
from engine_probe.report.charts.experiment.across_curves import spread
from engine_probe.report.experiment_report import experiment_document
from tests.support.recordings.hardware_facts import GIB, loaded, memory
from tests.support.recordings.run_folders import write_sweep

LEVELS = (1, 4, 8, 14)
MODELS = {"small": (150, 3 * GIB, 1_500_000_000), "large": (40, 77 * GIB, 40_000_000_000)}


@pytest.fixture(scope="module")
def sweeps(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A small model with room for 25 requests, and a large one with room for six."""
    place = tmp_path_factory.mktemp("sweeps")
    return [sized(place / name, name, *size) for name, size in MODELS.items()]


def sized(folder: Path, name: str, blocks: int, weights: int, parameters: int, ranks: int = 1) -> Path:
    write_sweep(folder, LEVELS, blocks, name)
    for file in (folder / "points").glob("*/run.json"):
        facts = json.loads(file.read_text())
        facts["memory"] = [memory(rank, weights_bytes=weights // ranks) for rank in range(ranks)]
        facts["loaded"] = [loaded(rank) | {"parameters": parameters // ranks} for rank in range(ranks)]
        facts["engine"]["arguments"] = {"parallel_config": {"tensor_parallel_size": ranks}}
        file.write_text(json.dumps(facts))
    return folder


def report(*words: object) -> Result:
    return CliRunner().invoke(cli, ["report", *map(str, words)], catch_exceptions=False)


def charts_of(*folders: Path) -> dict[str, Any]:
    experiment = load_experiment(*folders)
    document = experiment_document(experiment, experiment.curves)
    return {chart.title: chart for section in document.all_sections for chart in section.charts()}


@pytest.mark.lengthy
def test_each_model_has_a_sentence_before_the_evidence(sweeps: list[Path]) -> None:
    shown = report(*sweeps)
    assert shown.exit_code == 0
    words = re.sub(r"\s+", " ", shown.stdout)
    small, large = (words.index(f"model {name}: The KV pool") for name in MODELS)
    assert small < large < words.index("bottleneck there: KV blocks") < words.index("TTFT, TPOT and the bottleneck")


@pytest.mark.lengthy
def test_saturation_is_drawn_over_weights_and_over_parameters(sweeps: list[Path]) -> None:
    charts = charts_of(*sweeps)
    assert charts["KV saturation by model size"].xs == [3, 77]
    by_parameters = charts["KV saturation by parameter count"]
    assert by_parameters.xs == [1.5, 40]
    assert [line.values for line in by_parameters.series] == [[25, None], [None, pytest.approx(6.667, rel=1e-3)]]


@pytest.mark.lengthy
def test_models_share_the_charts_of_throughput_and_ttft(sweeps: list[Path]) -> None:
    charts = charts_of(*sweeps)
    for title in ("Throughput and its regions", "Time to first token"):
        names = " ".join(line.label for line in charts[title].series)
        assert all(f"model {name}" in names for name in MODELS)


@pytest.mark.lengthy
def test_ranks_stand_beside_each_other_at_each_load(tmp_path: Path) -> None:
    folders = [sized(tmp_path / f"tp{ranks}", "large", 40 * ranks, GIB, 1000, ranks) for ranks in (1, 2)]
    charts = charts_of(*folders)
    chart = charts["large at 8 concurrent requests: throughput against KV occupancy"]
    assert [line.label for line in chart.series] == ["TP 1", "TP 2"]
    assert [f"large at {load}" in " ".join(charts) for load in ("4", "14")] == [True, True]


@pytest.mark.lengthy
def test_no_chart_puts_ranks_of_different_models_beside_each_other(sweeps: list[Path]) -> None:
    assert not [title for title in charts_of(*sweeps) if "throughput against KV occupancy" in title]


@pytest.mark.parametrize(("count", "kept"), [(3, [0, 1, 2]), (6, [0, 1, 2, 3, 4, 5]), (13, [1, 3, 5, 8, 10, 12])])
def test_of_many_loads_a_few_are_drawn_with_the_last_among_them(count: int, kept: list[float]) -> None:
    assert spread(list(map(float, range(count))), 6) == kept


@pytest.mark.lengthy
def test_the_page_and_the_markdown_have_it(sweeps: list[Path], tmp_path: Path) -> None:
    page, text = tmp_path / "page.html", tmp_path / "text.md"
    assert report(*sweeps, "--html", page, "--markdown", text).exit_code == 0
    assert "KV saturation by parameter count" in page.read_text()
    assert "**model large:** The KV pool" in text.read_text()


@pytest.mark.lengthy
def test_its_json_has_curves_engines_and_points(sweeps: list[Path]) -> None:
    document = json.loads(report(*sweeps, "--json", "-").stdout)
    assert document["kind"] == "experiment"
    assert [sweep["name"] for sweep in document["sweeps"]] == list(MODELS)
    assert [curve["engine"]["parameters"] for curve in document["curves"]] == [size[2] for size in MODELS.values()]
    assert len(document["points"]) == len(LEVELS) * len(MODELS)


@pytest.mark.lengthy
def test_published_figures_of_each_model_are_set_beside_it(sweeps: list[Path], tmp_path: Path) -> None:
    table = tmp_path / "table.toml"
    table.write_text(
        'title = "A paper"\nsource = "A page"\n'
        '[[figures]]\nmodel = "small"\nwhat = "kv_saturation"\nvalue = 25\n'
        '[[figures]]\nmodel = "large"\nwhat = "weights_gib"\nvalue = 77\n'
    )
    words = report(*sweeps, "--reference", table).stdout
    assert "KV pool full at (model small)" in words
    assert "weights, GiB (model large)" in words
    assert words.count("1.00") == 2


def test_scores_name_points_of_one_sweep(sweeps: list[Path], tmp_path: Path) -> None:
    shown = CliRunner().invoke(cli, ["report", *map(str, sweeps), "--score", str(tmp_path / "s.csv")])
    assert "2 are given" in str(shown.exception)


@pytest.mark.lengthy
def test_a_point_without_a_recording_is_told_and_fails(tmp_path: Path) -> None:
    whole, cut = write_sweep(tmp_path / "a", LEVELS, name="small"), write_sweep(tmp_path / "b", LEVELS, name="large")
    (cut / "points" / "p4" / "run.json").unlink()
    shown = report(whole, cut)
    assert shown.exit_code == 1
    assert "concurrency 4, model large was not measured" in re.sub(r"\s+", " ", shown.stdout)


@pytest.mark.lengthy
def test_a_notebook_shows_the_sentences_and_the_charts(sweeps: list[Path]) -> None:
    shown = engine_probe.load_experiment(*sweeps)._repr_html_()
    assert shown.count("The KV pool is full at") + shown.count("The KV pool was never full") == len(MODELS)
    assert "KV saturation by model size" in shown
