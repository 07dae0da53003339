"""Throughput per GPU against speed for each user, of sweeps whose frontier is known, in every report that has it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from engine_probe.analysis.pareto import ServingCurve, ServingLevel, frontier
from engine_probe.analysis.statistics.repeats import Repeated
from engine_probe.cli import cli
from engine_probe.evaluation.pareto import same_work
from engine_probe.recordings.curve import curves
from engine_probe.recordings.sweep import load_sweep
from engine_probe.report.document import cell_words
from engine_probe.report.sections.pareto import pareto_chart, pareto_section, pareto_verdict, rate_cell
from engine_probe.report.sweep_report import sweep_document
from tests.support.sweeps.cluster_sweeps import write_point, write_rows
from tests.support.sweeps.serving_sweeps import LEVELS, per_gpu, per_user, write_serving_sweep

ONE, TWO = "tensor_parallel_size 1", "tensor_parallel_size 2"


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One GPU or two, without noise."""
    return write_serving_sweep(tmp_path_factory.mktemp("both"))


@pytest.mark.lengthy
def test_every_level_has_its_planted_place(both: Path) -> None:
    (work,) = same_work(load_sweep(both))
    assert [curve.name for curve in work.curves] == [ONE, TWO]
    for gpus, curve in zip((1, 2), work.curves, strict=True):
        assert [level.load for level in curve.levels] == list(LEVELS)
        for level in curve.levels:
            assert level.per_user.mean == pytest.approx(per_user(gpus, int(level.load)), rel=0.001)
            assert level.per_gpu.mean == pytest.approx(per_gpu(gpus, int(level.load)), rel=0.02)
            assert level.gpus == gpus


@pytest.mark.lengthy
def test_the_verdict_says_who_is_best_at_which_speed(both: Path) -> None:
    (sentence,) = pareto_verdict(same_work(load_sweep(both)))
    assert f"{ONE} up to 38.5 tokens/s per user (1,231 at 32 concurrent requests)" in sentence.text
    assert f"{TWO} from there to 158.7 (1,026 at 32 concurrent requests, down to 79.4 at 1)" in sentence.text


def test_the_table_names_what_beats_a_level(both: Path) -> None:
    section = pareto_section(same_work(load_sweep(both)))
    rows = [[cell_words(cell) for cell in row] for row in section.tables[0].rows]
    assert [row[-1] for row in rows if row[0] == TWO] == ["yes"] * 5
    below = {row[1]: row[-1] for row in rows if row[0] == ONE}
    assert below["32"] == "yes"
    assert below["16"] == f"no: {TWO} at 32 gives more of both"
    words = [sentence.text for sentence in section.sentences]
    assert any(f"1, 4, 8, 16 concurrent requests of {ONE}" in text for text in words)
    assert any("Without repeats in rounds" in text for text in words)


def test_the_chart_has_the_curves_their_loads_and_the_frontier(both: Path) -> None:
    (work,) = same_work(load_sweep(both))
    chart = pareto_chart(frontier(work.curves))
    one, two, best = chart.series
    assert (one.label, two.label, best.label, best.style) == (ONE, TWO, "frontier", "until")
    place = next(at for at, value in enumerate(one.values) if value is not None)
    assert one.names[place] == "32 concurrent requests"
    assert [value for value in best.values if value is not None] == sorted(
        (value for value in best.values if value is not None), reverse=True
    )
    assert chart.x.unit == chart.y[0].unit == "tokens/s"


@pytest.mark.lengthy
def test_with_repeats_each_figure_has_its_interval(tmp_path: Path) -> None:
    write_serving_sweep(tmp_path, noise=0.03, repeats=3)
    (work,) = same_work(load_sweep(tmp_path))
    assert all(level.has_intervals for curve in work.curves for level in curve.levels)
    section = pareto_section([work])
    assert not any("no intervals" in sentence.text for sentence in section.sentences)
    assert "±" in cell_words(section.tables[0].rows[0][2])


def test_a_single_setting_has_a_section_and_no_verdict(tmp_path: Path) -> None:
    write_serving_sweep(tmp_path, gpus=(2,))
    works = same_work(load_sweep(tmp_path))
    assert pareto_verdict(works) == ()
    section = pareto_section(works)
    assert section.title == "Throughput per GPU against speed for each user"
    assert "from 1,026 per GPU and 64.1 per user at 32 concurrent requests to 79.4 per GPU" in section.sentences[0].text


def test_other_work_is_not_compared(tmp_path: Path) -> None:
    """Short prompts beside long ones: a setting of the work, not of the engine."""
    write_serving_sweep(tmp_path, gpus=(1,), levels=(1, 8))
    document = json.loads((tmp_path / "sweep.json").read_text())
    for row in document["points"][1:]:
        row["point"]["workload"]["input_len"] = 4000
    (tmp_path / "sweep.json").write_text(json.dumps(document))
    swept = load_sweep(tmp_path)
    assert [work.name for work in same_work(swept)] == ["input_len 16", "input_len 4000"]
    assert not pareto_section(same_work(swept)).title  # of single levels


@pytest.mark.parametrize("engine", ["tiny", None, {"arguments": []}])
def test_settings_that_are_none_are_no_failure(tmp_path: Path, engine: object) -> None:
    write_serving_sweep(tmp_path, gpus=(1,), levels=(1, 8))
    document = json.loads((tmp_path / "sweep.json").read_text())
    for row in document["points"]:
        row["point"]["engine"] = engine
    (tmp_path / "sweep.json").write_text(json.dumps(document))
    assert [len(work.curves) for work in same_work(load_sweep(tmp_path))] == [1]


OF_A_DATASHEET = {
    "predicted": {"calibrated_from": "the datasheet of a GPU", "step_times": {"prices": {}}, "bounds": True}
}


@pytest.mark.parametrize(("predicted", "device"), [({}, "rank"), (OF_A_DATASHEET, "GPU")])
def test_on_cpus_it_is_per_rank_unless_a_gpu_is_predicted(
    tmp_path: Path, predicted: dict[str, Any], device: str
) -> None:
    write_serving_sweep(tmp_path, gpus=(1,))
    for file in tmp_path.rglob("run.json"):
        told = json.loads(file.read_text())
        file.write_text(json.dumps(told | {"hardware": {"gpus": []}} | predicted))
    section = pareto_section(same_work(load_sweep(tmp_path)))
    assert section.title == f"Throughput per {device} against speed for each user"
    assert [column.name for column in section.tables[0].columns][2:4] == [f"tokens/s per {device}", f"{device}s"]


@pytest.mark.lengthy
def test_engines_whose_ranks_are_not_recorded_have_no_section(tmp_path: Path) -> None:
    write_serving_sweep(tmp_path)
    for file in tmp_path.rglob("run.json"):
        told = json.loads(file.read_text())
        told["engine"]["arguments"] = {}
        file.write_text(json.dumps(told))
    assert same_work(load_sweep(tmp_path)) == []


@pytest.mark.lengthy
def test_the_sweeps_report_has_it(both: Path) -> None:
    swept = load_sweep(both)
    document = sweep_document(swept, curves(swept.points))
    assert any("Most tokens/s per GPU" in sentence.text for sentence in document.verdict.sentences)
    assert any(section.title.startswith("Throughput per GPU") for section in document.sections)


@pytest.fixture
def apart(tmp_path: Path) -> tuple[str, str]:
    """The same two settings in sweeps of their own."""
    folders = [write_serving_sweep(tmp_path / f"tp{gpus}", gpus=(gpus,)) for gpus in (1, 2)]
    return str(folders[0]), str(folders[1])


def said(*words: str) -> str:
    done = CliRunner().invoke(cli, [*words])
    assert done.exit_code == 0, done.exception
    return " ".join(done.stdout.split())


@pytest.mark.lengthy
def test_a_comparison_of_two_sweeps_has_the_frontier_of_both(apart: tuple[str, str]) -> None:
    told = said("compare", *apart)
    assert "tp1 up to 38.5 tokens/s per user (1,231 at 32 concurrent requests); tp2" in told
    figures = json.loads(said("compare", *apart, "--format", "json"))
    (work,) = figures[0]["pareto"]
    best: list[dict[str, Any]] = work["best_by_tokens_per_s_per_user"]
    assert [(each["curve"], round(each["to"], 1)) for each in best] == [("before", 38.5), ("after", 158.7)]


@pytest.mark.lengthy
def test_an_experiment_has_it_too_and_so_has_json(apart: tuple[str, str]) -> None:
    assert f"{ONE} up to 38.5 tokens/s per user" in said("report", *apart)
    figures = json.loads(said("report", *apart, "--json", "-"))
    (work,) = figures["pareto"]
    assert {level["status"] for level in work["levels"] if level["curve"] == TWO} == {"frontier"}
    assert [level["gpus"] for level in work["levels"]] == [1] * 5 + [2] * 5


@pytest.mark.lengthy
def test_engines_that_measured_together_count_the_gpus_of_all(tmp_path: Path) -> None:
    """Two engines of one GPU each give twice the tokens of one, at the same speed and as much per GPU."""
    rows = []
    for repeat in range(3):
        for number in (1, 2):
            more: dict[str, Any] = {"gpus": True, "repeat": repeat, "curve": {"replicas": number}}
            slowness = [1 + 0.01 * repeat] * number
            rows.append(write_point(tmp_path, f"r{number}-{repeat}", slowness, tp=[1] * number, **more))
    (work,) = same_work(load_sweep(write_rows(tmp_path, rows)))
    one, two = (curve.levels[0] for curve in work.curves)
    assert (one.gpus, two.gpus) == (1, 2)
    assert two.per_gpu.mean == pytest.approx(one.per_gpu.mean, rel=0.02)
    assert two.per_user.mean == pytest.approx(one.per_user.mean, rel=0.001)
    assert one.has_intervals  # other points were measured between its repeats
    (stretch,) = frontier(work.curves).stretches
    assert {stretch.name, *stretch.rivals} == {"replicas 1", "replicas 2"}


@pytest.mark.parametrize(
    ("rate", "words"),
    [
        (Repeated(100, 1), "100.0"),
        (Repeated(100, 2, 80, 120), "100.0 ± 20%"),
        (Repeated(100, 2, 50, 900), "100.0 (50.0 to 900.0)"),  # a share of the mean would be 800%
        (Repeated(100, 2, -50, 250), "100.0 (0 to 250.0)"),
        (Repeated(100, 2, 50, math.inf), "100.0 (at least 50.0)"),
    ],
)
def test_a_wide_interval_is_told_by_its_ends(rate: Repeated, words: str) -> None:
    assert rate_cell(rate) == words


def test_no_error_bar_reaches_below_no_tokens() -> None:
    level = ServingLevel(2, Repeated(10, 2, 5, 15), Repeated(100, 2, -50, 250), 1)
    chart = pareto_chart(frontier([ServingCurve("", "concurrent requests", (level,))]))
    assert (chart.series[0].low, chart.series[0].high) == ([0.0], [250.0])
