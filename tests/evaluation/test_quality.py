"""Answers are judged from recordings and compared over the load, question by question."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine_probe.evaluation.quality import ALL, CORRECT, NO_TEXT, Judge, curve_qualities, with_accuracy
from engine_probe.recordings.run import load
from engine_probe.recordings.sweep import load_sweep
from tests.support.recordings.run_folders import ran, write_run
from tests.support.sweeps.judged_sweeps import ENGLISH, write_judged_run, write_judged_sweep

ASKED = [question.turn_id(turn) for question, turn in ENGLISH]
WRONG = "I do not know what that is, I am afraid."


def test_answers_are_joined_with_their_questions(tmp_path: Path) -> None:
    found = Judge().run(load(write_judged_run(tmp_path / "run", {"en-history-05": "1957"}, late=2)))
    assert found is not None
    values = {answer.question_id: answer.verdicts.correct.value for answer in found.answers}
    assert values.pop("en-history-05") is False
    assert [values.pop(name) for name in ASKED[-2:]] == [None, None]
    assert set(values.values()) == {True}
    assert found.notes[-1] == "2 requests got no whole answer and were not judged"


def test_a_run_without_questions_is_not_judged(tmp_path: Path) -> None:
    assert Judge().run(load(write_run(tmp_path / "run", ran(2)))) is None


def test_without_kept_texts_nothing_is_judged_and_this_is_said(tmp_path: Path) -> None:
    found = Judge().run(load(write_judged_run(tmp_path / "run", dict.fromkeys(ASKED))))
    assert found is not None
    assert found.notes == (NO_TEXT,)
    assert {answer.verdicts.correct.value for answer in found.answers} == {None}


def test_when_every_deadline_passed_that_is_said_and_not_that_texts_are_missing(tmp_path: Path) -> None:
    found = Judge().run(load(write_judged_run(tmp_path / "run", dict.fromkeys(ASKED), late=len(ASKED))))
    assert found is not None
    assert found.notes[-1] == "28 requests got no whole answer and were not judged"


def test_an_effect_of_load_is_found_question_by_question(tmp_path: Path) -> None:
    swept = load_sweep(write_judged_sweep(tmp_path, {1: {}, 8: {}, 32: dict.fromkeys(ASKED[:9], WRONG)}))
    found = curve_qualities(swept)[""]
    right = [level.rate(CORRECT) for level in found.levels]
    assert [rate and (rate.count, rate.judged) for rate in right] == [(28, 28), (28, 28), (19, 28)]
    changes = {(change.name, change.load): change for change in found.changes}
    assert not changes[CORRECT, 8].significant
    assert changes[CORRECT, 32].significant
    assert (changes[CORRECT, 32].less, changes[CORRECT, 32].more) == (9, 0)
    assert "wrong_language" not in {change.name for change in found.changes}  # none anywhere: nothing to test


def test_accuracy_is_known_by_language_and_subject(tmp_path: Path) -> None:
    swept = load_sweep(write_judged_sweep(tmp_path, {1: {"en-science-01": "Answer: C"}, 4: {}}))
    found = curve_qualities(swept)[""]
    assert found.groups == [(ALL, ALL), ("en", "history"), ("en", "science")]
    first = found.levels[0]
    by_group = {group: rate.count for group in found.groups if (rate := first.rate(CORRECT, group))}
    assert by_group == {(ALL, ALL): 27, ("en", "history"): 14, ("en", "science"): 13}
    scores = with_accuracy(None, {"": found})
    assert scores is not None
    assert sum(scores["accuracy"]["p1"].values()) == 27


def test_a_damaged_question_file_is_said_and_stops_nothing(tmp_path: Path) -> None:
    folder = write_judged_sweep(tmp_path, {1: {}, 4: {}})
    (folder / "points/p4/questions.jsonl").write_text('{"id": 5}\n')
    found = curve_qualities(load_sweep(folder))[""]
    assert [level.load for level in found.levels] == [1]
    assert any("questions.jsonl:1: id is 5" in note for note in found.notes)


@pytest.mark.parametrize("seed", range(3))
def test_clean_levels_show_no_effect(tmp_path: Path, seed: int) -> None:
    """Two other wrong answers at each load are noise, not an effect."""
    wrong = {level: dict.fromkeys(ASKED[seed + place * 3 :][:2], WRONG) for place, level in enumerate((1, 4, 16))}
    found = curve_qualities(load_sweep(write_judged_sweep(tmp_path, wrong)))[""]
    assert not any(change.significant for change in found.changes)
