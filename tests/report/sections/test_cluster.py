"""What the report says of points that several engines measured."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from engine_probe.analysis.run.slo import read_goodput
from engine_probe.analysis.run.success import Success
from engine_probe.commands.report import command
from engine_probe.recordings.cluster_levels import cluster_levels, scaling_of
from engine_probe.recordings.curve import curves
from engine_probe.recordings.experiment import open_experiment
from engine_probe.recordings.sweep import load_sweep, open_sweep
from engine_probe.report.document import Document, cell_words
from engine_probe.report.experiment_report import experiment_document
from engine_probe.report.renderers.html_document import html_page
from engine_probe.report.sweep_report import sweep_document, sweep_page_document
from engine_probe.text_format import rate_words
from tests.support.sweeps.cluster_sweeps import write_cluster_sweep, write_point, write_rows

NOISE = 0.004


def document(folder: Path) -> Document:
    swept = load_sweep(folder)
    return sweep_document(swept, curves(swept.points))


def told(folder: Path) -> str:
    return "\n".join(sentence.text for sentence in document(folder).verdict.sentences)


def cell(folder: Path, row: int, title: str) -> str:
    (table,) = document(folder).verdict.tables
    place = next(at for at, column in enumerate(table.columns) if column.name == title)
    return cell_words(table.rows[row][place])


@pytest.mark.lengthy
def test_each_number_of_engines_is_held_against_one(tmp_path: Path) -> None:
    write_cluster_sweep(tmp_path, {1: [1.0], 2: [1.25, 1.25]}, repeats=3, noise=NOISE)
    (alone, both) = scaling_of(cluster_levels(load_sweep(tmp_path)))
    assert alone.efficiency == pytest.approx(1)
    assert both.efficiency == pytest.approx(1 / 1.25, abs=0.01)
    assert cell(tmp_path, 1, "efficiency") == f"{both.efficiency:.0%}"
    assert "2 engines: " in told(tmp_path)
    (table,) = document(tmp_path).verdict.tables
    assert "Efficiency" in table.note


def test_efficiency_is_explained_only_where_it_stands(tmp_path: Path) -> None:
    write_cluster_sweep(tmp_path, {2: [1.0, 1.0]})
    (table,) = document(tmp_path).verdict.tables
    assert "efficiency" not in [column.name for column in table.columns]
    assert "Efficiency" not in table.note


@pytest.mark.lengthy
def test_a_slow_engine_is_named_with_its_place(tmp_path: Path) -> None:
    write_cluster_sweep(tmp_path, {4: [1.0, 1.0, 1.1, 1.0]}, repeats=3, noise=NOISE)
    words = told(tmp_path)
    assert "Against the others of 4 × tiny, engine 3 (" in words
    assert "engine 1 (" not in words


@pytest.mark.lengthy
def test_equal_engines_are_not_accused(tmp_path: Path) -> None:
    write_cluster_sweep(tmp_path, {4: [1.0] * 4}, repeats=3, noise=NOISE)
    assert "Against the others" not in told(tmp_path)


def test_without_repeats_nothing_is_tested(tmp_path: Path) -> None:
    write_cluster_sweep(tmp_path, {2: [1.0, 2.0]})
    assert "there are no repeats, so no test" in told(tmp_path)


@pytest.mark.lengthy
def test_a_mix_is_summed_part_by_part_and_per_gpu(tmp_path: Path) -> None:
    mix = [{"engine": {"model": "big", "arguments": {}}, "replicas": 2, "workload": None}]
    names, tp = ["small", "small", "big", "big"], [1, 1, 2, 2]
    row = write_point(tmp_path, "m", [1.0, 1.0, 4.0, 4.0], names, tp, gpus=True, replicas=2, mix=mix)
    write_rows(tmp_path, [row])
    (level,) = cluster_levels(load_sweep(tmp_path))
    assert level.configuration == "2 × small + 2 × big TP 2"
    assert level.gpus == 6
    parts = [part.output_tokens_per_s.mean for part in level.parts if part.output_tokens_per_s]
    assert sum(parts) == pytest.approx(level.output_tokens_per_s.mean)
    assert cell(tmp_path, 0, "output tokens/s per GPU") == rate_words(level.output_tokens_per_s.mean / 6)
    assert [cell(tmp_path, row, "configuration") for row in (1, 2)] == ["of these 2 × small", "of these 2 × big TP 2"]
    assert cell(tmp_path, 2, "output tokens/s per GPU") == rate_words(parts[1] / 4)
    small, big = (part.mean_ns("TTFT", 50) for part in level.parts)
    assert small is not None
    assert big is not None
    assert big.mean == pytest.approx(4 * small.mean, rel=0.01)


def test_a_point_of_which_an_engine_is_missing_has_no_figures(tmp_path: Path) -> None:
    write_cluster_sweep(tmp_path, {2: [1.0, 1.0], 3: [1.0, 1.0, 1.0]})
    (tmp_path / "points/r3-0/replica-2").rename(tmp_path / "points/r3-0/gone")
    swept = load_sweep(tmp_path)
    assert [len(point.cluster.engines) for point in swept.clusters if point.cluster] == [2]
    assert any("replica-2" in sentence for sentence in swept.unmeasured)


def test_engines_that_ran_together_for_a_short_time_are_a_caution(tmp_path: Path) -> None:
    write_cluster_sweep(tmp_path, {2: [1.0, 9.0]})
    cautions = [each.text for each in document(tmp_path).verdict.sentences if each.tone == "caution"]
    assert any("ran together only" in text for text in cautions)


def test_an_experiment_shows_them_too(tmp_path: Path) -> None:
    for name, engines in (("two", 2), ("three", 3)):
        (tmp_path / name).mkdir()
        write_cluster_sweep(tmp_path / name, {engines: [1.0] * engines})
    experiment = open_experiment([tmp_path / "two", tmp_path / "three"])
    found = experiment_document(experiment, experiment.curves)
    (section,) = (each for each in found.sections if each.title == "Several engines together")
    assert [cell_words(row[0]) for row in section.tables[0].rows] == ["2 × tiny", "3 × tiny"]


def test_failed_requests_come_first(tmp_path: Path) -> None:
    write_cluster_sweep(tmp_path, {2: [1.0, 1.0]})
    swept = load_sweep(tmp_path)
    (point,) = swept.points
    assert point.cluster is not None
    failing = replace(point, cluster=replace(point.cluster, success=Success(answered=30, past_deadline=2, failed=0)))
    (first, *_) = sweep_document(replace(swept, points=(failing,)), []).verdict.sentences
    assert first.tone == "problem"
    assert "2 past their deadline" in first.text


def test_the_page_has_each_engine_and_json_its_figures(tmp_path: Path) -> None:
    write_cluster_sweep(tmp_path, {2: [1.0, 1.0]})
    swept = load_sweep(tmp_path)
    assert "engine 2: tiny" in html_page(sweep_page_document(swept, curves(swept.points)))
    figures = tmp_path / "figures.json"
    assert CliRunner().invoke(command, [str(tmp_path), "--json", str(figures)]).exit_code == 0
    (point,) = json.loads(figures.read_text())["points"]
    engines = point["cluster"]["engines"]
    assert point["cluster"]["output_tokens"] == sum(engine["output_tokens"] for engine in engines)
    assert [Path(engine["folder"]).name for engine in engines] == ["replica-1", "replica-2"]


def test_with_an_slo_it_has_a_goodput_and_the_load_that_each_engine_takes(tmp_path: Path) -> None:
    """The second engine is twice as slow: only the first keeps a limit between the two."""
    write_rows(tmp_path, [write_point(tmp_path, "two", (1.0, 2.0))])
    alike = open_sweep(tmp_path).points[0].cluster
    assert alike is not None
    fast, slow = (engine.analysis.summary.tpot.percentiles_ns[50] or 0.0 for engine in alike.engines)
    swept = open_sweep(tmp_path, read_goodput([f"tpot:{(fast + slow) / 2e6:g}"], 90))
    (level,) = cluster_levels(swept)
    (goodput,) = level.goodputs
    assert (goodput.kept, goodput.judged, goodput.met) == (16, 32, False)
    assert goodput.requests_per_s == pytest.approx(16 / alike.engines[0].analysis.summary.seconds)
    told = sweep_document(swept, curves(swept.points)).verdict
    assert any("meets it at none of the loads" in sentence.text for sentence in told.sentences)
    assert any("50%" in cell_words(cell) for cell in told.tables[0].rows[0])
    assert swept.points[0].cluster is not None
    assert swept.points[0].cluster.metrics["goodput_share"] == 0.5
