"""Faults planted in one of a hundred answers are found, and answers without one are left alone."""

from __future__ import annotations

from random import Random

import pytest

from engine_probe.analysis.answers.quality.answer_verdicts import FAULTS, Verdicts, judge
from engine_probe.analysis.answers.quality.language import LanguageDetector, language_detector
from engine_probe.workload.question_set.question_file import Question
from tests.support.answers.model_answers import QUESTIONS, TURNS, answer_to

REQUESTS, SHARE, SEEDS = 500, 0.01, 20
LETTERS = {"en": "The correct answer is {}.", "fr": "La bonne réponse est {}.", "ms": "Jawapan yang betul ialah {}."}


@pytest.fixture(scope="module")
def detector() -> LanguageDetector:
    pytest.importorskip("lingua")
    found = language_detector(["en", "fr", "ms"])
    assert found is not None
    return found


def plant(name: str, question: Question, turn: int, chance: Random) -> str | None:
    """Return the answer with a fault. None if this question cannot have it."""
    text, asked = answer_to(question, turn), question.asked[turn]
    match name:
        case "wrong_language":
            others = [other for other in QUESTIONS if other.id[3:] == question.id[3:] and other != question]
            answer = answer_to(chance.choice(others), turn)
            return answer if len(answer) > 40 else None
        case "leaked_prompt" if question.system:
            said = question.system.split()
            begin = chance.randrange(len(said) - 12)
            return f"{text} {' '.join(said[begin : begin + 12])}"
        case "contradiction" if asked.choices:
            wrong = chance.choice([letter for letter in "ABCD" if letter != asked.answer.choice])
            return f"{text} {LETTERS[question.language].format(wrong)}"
        case "copied_prompt" if question.context:
            return question.context
        case "repetitive":
            return f"{text} " + f"{chance.choice(text.split())} again and " * 8
        case "context_lost" if turn:
            return answer_to(question, 0) if "science-11" in question.id else "?"
        case "empty":
            return chance.choice(["", " ", "\n\n", "..."])
    return None


def verdicts(seed: int, name: str, detector: LanguageDetector, known: dict[str, Verdicts]) -> tuple[int, int, int, int]:
    """Judge 500 answers of which some have the fault: how many had it and were found, and how many clean ones were."""
    chance = Random(f"{seed}/{name}")
    planted = found = clean = mistaken = 0
    for question, turn in chance.choices(TURNS, k=REQUESTS):
        text = plant(name, question, turn, chance) if chance.random() < SHARE else None
        if text is None:
            key = question.turn_id(turn)
            if key not in known:
                known[key] = judge(answer_to(question, turn), question, turn, "stop", detector)
            clean += 1
            mistaken += any(getattr(known[key], fault).value for fault in FAULTS)
        else:
            planted += 1
            found += bool(getattr(judge(text, question, turn, "stop", detector), name).value)
    return planted, found, clean, mistaken


@pytest.mark.lengthy
@pytest.mark.parametrize("name", [name for name in FAULTS if name != "truncated"])
def test_planted_faults_are_found_and_clean_answers_are_not(name: str, detector: LanguageDetector) -> None:
    known: dict[str, Verdicts] = {}
    runs = [verdicts(seed, name, detector, known) for seed in range(SEEDS)]
    planted, found, clean, mistaken = map(sum, zip(*runs, strict=True))
    assert planted >= 10
    assert found >= 0.95 * planted, (found, planted)
    assert mistaken < 0.01 * clean
    assert all(each[1] for each in runs if each[0]), "a run with planted faults in which none was found"
