from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

import engine_probe
from engine_probe.analysis.compare.gates import read_gate
from engine_probe.analysis.statistics.student import quantile
from engine_probe.evaluation.money.costs import run_money, sweep_money
from engine_probe.evaluation.published.published_comparison import beside
from engine_probe.evaluation.setting_differences import setting_differences
from engine_probe.recordings.curve import curves
from engine_probe.report.charts.level_means import limits_cell
from engine_probe.report.charts.sweep import throughput_charts
from engine_probe.report.compare_document import compare_document
from engine_probe.report.document import Cell, Document
from engine_probe.report.experiment_report import experiment_document
from engine_probe.report.renderers.json import experiment_figures, run_figures
from engine_probe.report.renderers.json_comparison import comparison_figures
from engine_probe.report.renderers.junit import junit
from engine_probe.report.renderers.notebook import comparison_html, experiment_html, run_html
from engine_probe.report.run_report import run_document
from engine_probe.report.sections.load.prediction import draft_words
from engine_probe.report.sections.run.latencies import latency_table
from engine_probe.report.sections.sweep.levels import level_tables
from engine_probe.report.sections.sweep.published import reference_section
from engine_probe.report.sweep_report import sweep_document
from tests.support.recordings.run_folders import facts, ran, write_run, write_sweep

T_OF_7 = 1.8946  # 95 % quantile of Student's t with 7 degrees of freedom


def predicted(
    folder: Path,
    error: float | None,
    most: dict[str, float] | None = None,
    errors: dict[str, dict[str, float]] | None = None,
) -> None:
    """Make a recording one that a twin predicted."""
    document = json.loads((folder / "run.json").read_text())
    prices = {name: {"ns": 1.0, "half_width": 0.0, "most": number} for name, number in (most or {}).items()}
    times = {"prices": prices, "error": error, "recordings": 7, "errors": errors or {}}
    if errors:
        times["noise"] = {"deviation": error, "freedom": 7}
    twin = {"calibrated_from": "runs/real", "step_times": times, "limits": {}}
    (folder / "run.json").write_text(json.dumps(document | {"predicted": twin}))


def run_report(folder: Path) -> Document:
    run = engine_probe.load(folder)
    return run_document(run, run.analysis())


def test_what_was_measured_does_not_say_so(tmp_path: Path) -> None:
    document = run_report(write_run(tmp_path / "run", ran(8), facts()))
    assert not document.title.startswith("Predicted")
    assert all("virtual clock" not in sentence.text for sentence in document.verdict.sentences)


def test_what_was_assumed_of_drafts_is_said_and_whether_drafting_takes_time() -> None:
    given = {"source": "given", "accepted": [0.8, 0.25], "drafted": []}
    measured = {"source": "runs/x", "accepted": [0.8, 0.25], "drafted": [0.5, 0.4]}
    sources = [{"part": "weights", "formula": "", "figures": ""}]
    derived, fitted = (
        " ".join(draft_words([{"step_times": times, "acceptance": assumed}] * 2))
        for times, assumed in (({"sources": sources}, given), ({}, measured))
    )
    shares = "Assumed acceptance of draft tokens, place by place: 80.0%, 25.0% of the drafts that reach it"
    assert derived == f"{shares} (given). Each answer step drafts 2 tokens. Drafting itself takes no time here."
    reach = "Drafts reach these places in 50.0%, 40.0% of a request's answer steps."
    assert fitted == f"{shares} (measured in runs/x). {reach}"
    assert list(draft_words([{"step_times": {}}])) == []


def test_the_terms_of_predicted_steps_are_told_as_predicted_in_every_form(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", ran(8), facts())
    predicted(folder, 0.02, most={"step": 1e9})
    run = engine_probe.load(folder)
    found, document = run.analysis(), run_report(folder)
    shares = json.loads(run_figures(run, found, run_money(found, None, None, folder)))["predicted_terms"]
    assert shares == found.limits.terms
    assert list(shares) == ["the model"]
    assert "model (predicted)" in [figure.value for figure in document.verdict.figures]
    assert "Predicted: the model is the bottleneck" in run_html(run)
    swept = write_sweep(tmp_path / "swept", (1, 4))
    for place in (swept / "points").iterdir():
        predicted(place, 0.02, most={"step": 1e9})
    told = engine_probe.load_sweep(swept)
    (curve,) = curves(told.points)
    assert [limits_cell([level]) for level in curve.figures] == ["model", "model"]
    assert sweep_document(told, [curve]).title.startswith("Predicted")
    measured = engine_probe.load(write_run(tmp_path / "measured", ran(8), facts()))
    money = run_money(measured.analysis(), None, None, measured.folder)
    assert "predicted_terms" not in json.loads(run_figures(measured, measured.analysis(), money))


@pytest.mark.parametrize(
    ("error", "words"), [(0.02, f"within ± {math.expm1(T_OF_7 * 0.02):.1%}"), (0.5, "a factor of 2.6"), (None, "")]
)
def test_a_prediction_says_so_first_and_how_wrong_it_may_be(tmp_path: Path, error: float | None, words: str) -> None:
    folder = write_run(tmp_path / "run", ran(8), facts())
    predicted(folder, error)
    document = run_report(folder)
    assert document.title.startswith("Predicted: ")
    first = document.verdict.sentences[0]
    assert first.label == "Predicted"
    assert "runs/real" in first.text
    assert words in first.text
    assert "predicted" in document.origin


@pytest.mark.lengthy
def test_a_predicted_sweep_has_no_doubts_of_noise_that_it_does_not_have(tmp_path: Path) -> None:
    measured, told = (write_sweep(tmp_path / name, (1, 4, 8, 16)) for name in ("measured", "predicted"))
    for place in (told / "points").iterdir():
        predicted(place, 0.02)
    for folder, noisy in ((measured, True), (told, False)):
        swept = engine_probe.load_sweep(folder)
        words = repr(sweep_document(swept, curves(swept.points)))
        assert noisy == ("Each level was measured by one run" in words)
        assert noisy == ("oads were measured in ascending or descending order" in words)


def test_predicted_figures_have_intervals_in_tables_and_json(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", ran(8), facts())
    predicted(folder, 0.02, errors={"TPOT p50": {"deviation": 0.05, "freedom": 7}})
    run = engine_probe.load(folder)
    rows = {row[0]: row for row in latency_table(run.summary()).rows}
    variances = 0.02**2, 0.05**2
    freedom = sum(variances) ** 2 / sum(variance**2 / 7 for variance in variances)
    half = math.expm1(quantile(freedom, 0.9) * math.sqrt(sum(variances)))
    below = {name: row[3].below for name, row in rows.items() if isinstance(row[3], Cell)}
    assert below["TPOT"] == f"± {half:.0%}"
    assert below["E2EL"] == f"± {math.expm1(T_OF_7 * 0.02):.0%}"
    figures = json.loads(run_figures(run, run.analysis(), run_money(run.analysis(), None, None, folder)))
    low, high = figures["summary"]["intervals"]["tpot_p50_ms"]
    assert high / figures["figures"]["tpot_p50_ms"] == pytest.approx(1 + half, rel=1e-3)
    assert low / figures["figures"]["tpot_p50_ms"] == pytest.approx(1 / (1 + half), rel=1e-3)


def test_what_was_measured_has_no_such_interval(tmp_path: Path) -> None:
    run = engine_probe.load(write_run(tmp_path / "run", ran(8), facts()))
    assert all(cell.below == "" for row in latency_table(run.summary()).rows for cell in row if isinstance(cell, Cell))


def test_the_levels_of_a_predicted_sweep_have_them_too(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "sweep", (1, 4, 8))
    for point in sorted((folder / "points").iterdir()):
        predicted(point, 0.02)
    (table,) = level_tables(curves(engine_probe.load_sweep(folder).points))
    assert f"± {math.expm1(T_OF_7 * 0.02):.0%}".replace(" ", "") in table.columns[1].title


@pytest.mark.lengthy
def test_charts_say_what_the_intervals_of_predictions_are(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "sweep", (1, 4, 8))
    measured = next(throughput_charts(curves(engine_probe.load_sweep(folder).points)))
    for point in sorted((folder / "points").iterdir()):
        predicted(point, 0.02)
    chart = next(throughput_charts(curves(engine_probe.load_sweep(folder).points)))
    assert "nine of ten measurements" in chart.note
    assert "nine of ten" not in measured.note


def test_steps_beyond_the_recorded_ones_are_named(tmp_path: Path) -> None:
    """Eight answers run at the same time; the prices come from steps with at most four."""
    folder = write_run(tmp_path / "run", ran(8), facts())
    predicted(folder, 0.02, {"answer token": 4.0, "step": 1.0})
    assert "more than any recorded step of these: answer token." in run_report(folder).verdict.sentences[0].text


def test_jupyter_and_json_say_it_too(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", ran(8), facts())
    predicted(folder, 0.02)
    run = engine_probe.load(folder)
    found = run.analysis()
    assert "complete, predicted" in repr(run)
    assert "Predicted: " in run_html(run)
    assert json.loads(run_figures(run, found, run_money(found, None, None, folder)))["predicted"] is True


def test_so_does_a_sweep(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "sweep", (1, 4, 8))
    for point in sorted((folder / "points").iterdir()):
        predicted(point, 0.02)
    swept = engine_probe.load_sweep(folder)
    document = sweep_document(swept, curves(swept.points))
    assert document.title.startswith("Predicted: ")
    assert document.verdict.sentences[0].label == "Predicted"


def test_a_comparison_names_the_side_that_is_predicted(tmp_path: Path) -> None:
    real, twin = (write_run(tmp_path / name, ran(8), facts()) for name in ("real", "twin"))
    predicted(twin, 0.02)
    (difference,) = setting_differences(engine_probe.load(real), engine_probe.load(twin))
    assert (difference.title, difference.before) == ("made by", "a real engine")
    assert difference.after == "prediction from runs/real"


def predicted_sweep(folder: Path, name: str = "tiny") -> Path:
    swept = write_sweep(folder, (1, 4, 8), name=name)
    for run in sorted((swept / "points").iterdir()):
        predicted(run, 0.02)
    return swept


@pytest.mark.lengthy
def test_a_comparison_names_the_predicted_side_in_every_form(tmp_path: Path) -> None:
    measured, twin = write_sweep(tmp_path / "real", (1, 4, 8)), predicted_sweep(tmp_path / "twin")
    found = engine_probe.compare(measured, twin)
    gates = [read_gate("output_tokens_per_s < -5%")]
    assert "twin (predicted) against" in repr(found)
    assert compare_document([found], gates).title == "twin (predicted) against real"
    for text in (junit([found], gates), comparison_figures([found], gates), comparison_html(found)):
        assert "twin (predicted)" in text
        assert "real (predicted)" not in text


@pytest.mark.lengthy
def test_an_experiment_of_predictions_says_so_in_every_form(tmp_path: Path) -> None:
    found = engine_probe.load_experiment(*(predicted_sweep(tmp_path / name, name) for name in ("small", "large")))
    document = experiment_document(found, found.curves)
    assert document.title.startswith("Predicted: ")
    assert document.verdict.sentences[0].label == "Predicted"
    assert repr(found).startswith("<Predicted experiment of")
    assert "Predicted: " in experiment_html(found)
    assert "points predicted" in repr(found.sweeps["small"])
    money = sweep_money(found.together, found.curves, None, None, tmp_path)
    assert json.loads(experiment_figures(found, found.curves, money))["predicted"]


@pytest.mark.lengthy
def test_published_figures_stand_beside_predicted_ones(tmp_path: Path) -> None:
    table = tmp_path / "table.toml"
    figure = '[[figures]]\nmodel = "tiny"\nwhat = "kv_capacity_tokens"\nvalue = 960\n'
    table.write_text(f'title = "A paper"\nsource = "A page"\n{figure}')
    reference = engine_probe.read_reference(str(table))
    for folder, word in (
        (predicted_sweep(tmp_path / "twin"), "predicted"),
        (write_sweep(tmp_path / "real", (1, 4, 8)), "measured"),
    ):
        swept = engine_probe.load_sweep(folder)
        lines = curves(swept.points)
        section = reference_section(reference, beside(reference, swept, lines), lines, swept.runs)
        assert section.tables[0].columns[3].name == word
