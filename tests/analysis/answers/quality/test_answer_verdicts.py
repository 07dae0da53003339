"""All verdicts on an answer together: planted faults are found alone, and right answers have none."""

from __future__ import annotations

import pytest

from engine_probe.analysis.answers.quality.answer_verdicts import FAULTS, all_not_judged, judge
from engine_probe.workload.question_set.question_file import Question
from tests.support.answers.model_answers import QUESTIONS, TURNS, answer_to

BY_ID = {question.id: question for question in QUESTIONS}


def faults(text: str, question: Question, turn: int = 0, finish: str = "stop") -> set[str]:
    found = judge(text, question, turn, finish, None)
    return {name for name in FAULTS if getattr(found, name).value}


def test_model_answers_are_right_and_without_faults() -> None:
    for question, turn in TURNS:
        text = answer_to(question, turn)
        assert judge(text, question, turn, "stop", None).correct.value, question.id
        assert faults(text, question, turn) == set(), question.id


@pytest.mark.parametrize("language", ["en", "fr", "ms"])
def test_planted_faults_are_found_alone(language: str) -> None:
    question = BY_ID[f"{language}-history-03"]
    right, talk = answer_to(question, 0), BY_ID[f"{language}-history-11"]
    assert question.system
    assert question.context
    assert faults(f"{right} {question.system}", question) == {"leaked_prompt"}
    assert faults(question.context, question) == {"copied_prompt"}
    assert faults(" \n", question) == {"empty"}
    assert faults(right, question, finish="length") == {"truncated"}
    assert faults(f"{right} " + "Singapore, Singapore, " * 12, question) == {"repetitive"}
    assert faults("Ipoh.", talk, turn=1) == {"context_lost"}
    reason = {"en": "The correct answer is A.", "fr": "La bonne réponse est A.", "ms": "Jawapan yang betul ialah A."}
    assert faults(f"{right} {reason[language]}", question) == {"contradiction"}


def test_what_cannot_be_judged_says_why() -> None:
    found = judge("B", BY_ID["en-history-01"], 0, None, None)
    assert found.correct.value is True
    assert (found.leaked_prompt.value, found.leaked_prompt.reason) == (None, "no system prompt")
    assert (found.truncated.value, found.truncated.reason) == (None, "how it ended is not recorded")
    assert {getattr(all_not_judged("stopped"), name) for name in FAULTS} == {(None, "stopped")}
