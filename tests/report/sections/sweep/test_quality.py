"""The report says first whether load changes the answers, then shows accuracy and faults over the load."""

from __future__ import annotations

import json
from pathlib import Path

from engine_probe.evaluation.quality import curve_qualities
from engine_probe.recordings.curve import curves
from engine_probe.recordings.run import load
from engine_probe.recordings.sweep import load_sweep
from engine_probe.report.document import Section, cell_words
from engine_probe.report.renderers.json_parts import run_quality, sweep_quality
from engine_probe.report.sections.run.quality import quality_section
from engine_probe.report.sections.sweep.quality import curve_quality_section
from engine_probe.report.sweep_report import sweep_document
from tests.support.sweeps.judged_sweeps import ENGLISH, write_judged_run, write_judged_sweep

ASKED = [question.turn_id(turn) for question, turn in ENGLISH]
MALAY = "Peristiwa itu berlaku di sebuah kampung yang kecil di tepi sungai, dan ramai orang melihatnya."


def section_of(folder: Path) -> Section:
    ((label, found),) = curve_qualities(load_sweep(folder)).items()
    return curve_quality_section(found, label)


def texts(section: Section) -> list[str]:
    return [sentence.text for sentence in section.sentences]


def test_without_an_effect_the_report_says_so(tmp_path: Path) -> None:
    section = section_of(write_judged_sweep(tmp_path, {1: {}, 16: {}}))
    first, never, *_ = texts(section)
    assert first == (
        "100% of the answers are right at 1 concurrent request, 100% at 16: no effect of load is shown "
        "(0 of 28 questions do worse at 16 and 0 better, p = 1)."
    )
    assert never.startswith("Never seen: ")
    assert "wrong language" in never


def test_a_fault_that_comes_with_load_is_named_first(tmp_path: Path) -> None:
    """Twelve answers are Malay at 32; one of them is a year at 1, whose language nobody can tell, so it is no pair."""
    planted = dict.fromkeys(ASKED[8:20], MALAY)
    section = section_of(write_judged_sweep(tmp_path, {1: {}, 4: {}, 32: planted}, {32: 3}))
    accuracy, language, *_ = section.sentences
    assert (accuracy.tone, language.tone) == ("problem", "problem")
    assert "load costs accuracy" in accuracy.text
    assert language.text.startswith("Wrong language: 0.0% at 1, ")
    assert "11 questions more often, 0 less often" in language.text
    assert "concurrency 32: 3 requests got no whole answer and were not judged" in texts(section)
    rights, faults = section.tables
    assert cell_words(rights.rows[0][0]) == "all"
    by_fault = {cell_words(row[0]): cell_words(row[-1]) for row in faults.rows}
    assert by_fault["wrong language"] == "50.0% 12 of 24"
    titles = [chart.title for chart in section.charts()]
    assert titles == ["Accuracy over the load", "Faults of answers over the load"]


def test_the_document_begins_with_quality_and_tests_the_trend_of_accuracy(tmp_path: Path) -> None:
    swept = load_sweep(write_judged_sweep(tmp_path, {1: {}, 4: {}, 32: {}}))
    document = sweep_document(swept, curves(swept.points))
    assert document.sections[0].title == "Quality of the answers"
    (effect,) = (section for section in document.sections if section.title.startswith("Effect of load"))
    assert "Accuracy" in [cell_words(row[0]) for row in effect.tables[0].rows]


def test_a_single_run_has_its_accuracy_and_faults(tmp_path: Path) -> None:
    run = load(write_judged_run(tmp_path / "run", {ASKED[0]: " "}))
    section = quality_section(run)
    assert texts(section)[0].startswith("27 of 28 answers are right: 96% (")
    assert "empty 1 of 28" in texts(section)[1]
    assert [cell_words(row[0]) for row in section.tables[0].rows] == ["all", "en, history", "en, science"]


def test_json_has_each_verdict_with_its_reason(tmp_path: Path) -> None:
    run = load(write_judged_run(tmp_path / "run", {ASKED[0]: "Answer: A"}))
    first = json.loads(json.dumps(run_quality(run)))["answer_quality"]["requests"][0]
    assert (first["question_id"], first["outcome"]) == (ASKED[0], "answered")
    assert first["verdicts"]["correct"] is False
    assert first["verdicts"]["leaked_prompt"] is None
    assert first["reasons"]["correct"] == "chose A, right is B"
    assert first["reasons"]["leaked_prompt"] == "no system prompt"


def test_json_of_a_sweep_has_the_verdicts_by_point(tmp_path: Path) -> None:
    found = sweep_quality(load_sweep(write_judged_sweep(tmp_path, {1: {}, 4: {}})))["answer_quality"]
    assert list(found) == ["p1", "p4"]
    assert len(found["p4"]["requests"]) == 28
