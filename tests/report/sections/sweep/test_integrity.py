"""The report says first whether answers stay right under load."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine_probe.evaluation.integrity import integrity, sampled_runs
from engine_probe.evaluation.money.costs import sweep_money
from engine_probe.recordings.curve import curves
from engine_probe.recordings.sweep import load_sweep
from engine_probe.report.document import Section, cell_words
from engine_probe.report.renderers.json import sweep_figures
from engine_probe.report.sections.sweep.integrity import integrity_sections, sampled_section
from engine_probe.report.sweep_report import sweep_document
from tests.support.answers.simulated_answers import normal
from tests.support.sweeps.answered_sweeps import PROMPTS, Answered, cut, failed, without, write_answered_sweep

NOISE = normal(0.03)


def section_of(folder: Path, *runs: Answered) -> Section:
    (section,) = integrity_sections(integrity(load_sweep(write_answered_sweep(folder, runs))))
    return section


def texts(section: Section) -> list[str]:
    return [sentence.text for sentence in section.sentences]


def test_identical_answers_are_said_to_be_the_same(tmp_path: Path) -> None:
    section = section_of(tmp_path, Answered(1), Answered(1), Answered(8), Answered(32))
    first, own = texts(section)
    assert first == f"Answers stay the same: all {3 * PROMPTS} are identical to those at 1 concurrent request."
    assert own == "The engine repeats itself at 1 concurrent request: 24 of 24 answers are identical."
    assert section.sentences[0].tone == "good"


def test_without_a_whole_answer_nothing_is_said_to_be_the_same(tmp_path: Path) -> None:
    section = section_of(tmp_path, Answered(1), Answered(8, damage=failed(*range(PROMPTS))))
    first, second, *_ = texts(section)
    assert first == "No answer under load could be compared: none was whole."
    assert second == f"{PROMPTS} requests of {PROMPTS} failed under load."


def test_sampled_answers_are_not_compared_and_this_is_said(tmp_path: Path) -> None:
    folder = write_answered_sweep(tmp_path, [Answered(1), Answered(8, damage=cut(5, 20))])
    for path in folder.glob("points/*/run.json"):
        run = json.loads(path.read_text()) | {"workload": {"sampling": {"temperature": 0.8}}}
        path.write_text(json.dumps(run))
    swept = load_sweep(folder)
    assert not integrity(swept)
    (words,) = texts(sampled_section(sampled_runs(swept)))
    assert words.startswith("The answers of 2 runs were sampled (temperature above 0)")


@pytest.mark.lengthy
def test_near_ties_are_no_fault_and_their_causes_are_tested(tmp_path: Path) -> None:
    section = section_of(
        tmp_path, Answered(1), Answered(1), Answered(8, normal(0.08)), Answered(32, normal(0.08), blocks=40)
    )
    first, _, *causes = texts(section)
    assert first.startswith("Answers stay right: ")
    assert first.endswith("all at near-ties that numerics explain.")
    assert causes[0].startswith("Divergence depends on load (odds × ")
    assert [row[0] for row in section.tables[0].rows] == ["1", "8", "32"]
    (lines,) = section.charts()
    assert lines.title == "Divergence against load"


def test_a_fault_is_the_first_sentence(tmp_path: Path) -> None:
    section = section_of(tmp_path, Answered(1), Answered(1), Answered(8, damage=cut(5, 20)))
    first = section.sentences[0]
    assert first.tone == "problem"
    assert first.text == (
        f"Answers are not right under load: 1 of {2 * PROMPTS} differ from those at 1 concurrent request in a way "
        "that numerics do not explain (1 cut short)."
    )
    (table,) = section.details[0].tables
    assert cell_words(table.rows[0][0]) == "5"


def test_failed_requests_are_said(tmp_path: Path) -> None:
    section = section_of(tmp_path, Answered(1), Answered(8, damage=failed(0, 1)))
    assert f"2 requests of {PROMPTS} failed under load." in texts(section)


def test_a_lowest_load_without_repeats_is_said(tmp_path: Path) -> None:
    assert any("was measured once" in text for text in texts(section_of(tmp_path, Answered(1), Answered(8))))


def test_missing_log_probabilities_are_said(tmp_path: Path) -> None:
    gone = without("logprobs", "second_token_ids", "second_logprobs")
    section = section_of(tmp_path, Answered(1, damage=gone), Answered(8, NOISE, damage=gone))
    assert "cannot be told (no log-probabilities)" in texts(section)[0]
    (_, sure) = section.details
    assert "Without log-probabilities a near-tie cannot be told from a fault" in sure.sentences[0].text


@pytest.mark.parametrize("asked", [True, False])
def test_a_sweep_that_was_made_to_compare_answers_says_so_first(tmp_path: Path, asked: bool) -> None:
    folder = write_answered_sweep(tmp_path, [Answered(1), Answered(1), Answered(8, damage=cut(5, 20))])
    written = json.loads((folder / "sweep.json").read_text())
    written["sweep"]["check_integrity"] = asked
    (folder / "sweep.json").write_text(json.dumps(written))
    swept = load_sweep(folder)
    document = sweep_document(swept, curves(swept.points))
    first = document.verdict.sentences[0].text.startswith("Answers are not right under load: 1 of ")
    assert first is asked
    assert (next(section.title for section in document.sections if section.title) == "Answers under load") is asked


@pytest.mark.lengthy
def test_the_section_is_in_the_report_and_in_its_json(tmp_path: Path) -> None:
    swept = load_sweep(write_answered_sweep(tmp_path, [Answered(1), Answered(1), Answered(8, NOISE)]))
    titles = [section.title for section in sweep_document(swept, curves(swept.points)).sections]
    assert "Answers under load" in titles
    found = curves(swept.points)
    money = sweep_money(swept, found, None, None, tmp_path)
    (told,) = json.loads(sweep_figures(swept, found, money))["integrity"]
    assert told["reference_load"] == 1
    assert told["requests"][0]["step"]["batch_size"] > 0
