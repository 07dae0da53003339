"""Answers in another language than their question are found, sentence by sentence; letters and numbers have none."""

from __future__ import annotations

import sys

import pytest

from engine_probe.analysis.answers.quality.language import (
    LanguageDetector,
    is_in_wrong_language,
    language_detector,
    language_of,
    sentences,
)
from engine_probe.workload.question_set.question_prompts import user_text
from tests.support.answers.model_answers import QUESTIONS, TURNS, answer_to

pytest.importorskip("lingua")


@pytest.fixture(scope="module")
def detector() -> LanguageDetector:
    found = language_detector(["en", "fr", "ms"])
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("expected", "text"),
    [
        ("en", "Pada notis itu terdapat maklumat yang menyatakan waktu pejabat dibuka."),
        ("en", "Jawapan: B"),
        ("en", "Pada soal ini kita diminta untuk menganalisis keperluan murid menghadapi soalan."),
        ("en", "The passage is in Malay, so I answer in Malay. Petikan ini menerangkan kehidupan penduduk kampung."),
        ("ms", "The correct answer is A because the British wanted to join the states."),
        ("ms", "It agrees with the main idea of the passage, and the other choices do not."),
        ("ms", "The correct answer is B because Parti Komunis Malaya kehilangan sokongan."),
        ("fr", "The plants take the gas in through their leaves during the day."),
        ("fr", "Jawapan: C"),
        ("en", "Die Pflanzen nehmen das Gas durch ihre Blätter auf und bilden daraus Zucker."),
    ],
)
def test_another_language_is_found(expected: str, text: str, detector: LanguageDetector) -> None:
    assert is_in_wrong_language(text, expected, "", detector).value is True


@pytest.mark.parametrize(
    ("expected", "text"),
    [
        ("en", "The Malayan Union joined the states, but Singapore remained a colony of its own."),
        (
            "en",
            "The motto means that all are one: « La liberté guide le peuple vers la victoire finale ». It is French.",
        ),
        ("fr", "Les plantes absorbent le gaz par leurs feuilles pendant la journée."),
        ("ms", "Tumbuhan mengambil gas itu melalui daun pada waktu siang."),
        ("ms", "Saya senang membantu kamu memahami jawaban yang benar dalam soal ini."),
    ],
)
def test_the_right_language_is_left_alone(expected: str, text: str, detector: LanguageDetector) -> None:
    assert is_in_wrong_language(text, expected, "", detector).value is False


@pytest.mark.parametrize("text", ["", "B", "1945", "Na", "Tunku Abdul Rahman", "Answer: B"])
def test_letters_numbers_and_names_have_no_language(text: str, detector: LanguageDetector) -> None:
    assert is_in_wrong_language(text, "en", "", detector).value is None


def test_an_announcement_that_the_prompt_asks_for_tells_nothing(detector: LanguageDetector) -> None:
    assert is_in_wrong_language("Answer: B", "ms", 'Mulakan dengan "Answer: ".', detector).value is None


def test_under_one_percent_of_right_answers_is_taken_for_another_language(detector: LanguageDetector) -> None:
    """None of 84 answers; and of all sentences in questions, passages and answers, at most one of a hundred."""
    wrong = [
        question.turn_id(turn)
        for question, turn in TURNS
        if is_in_wrong_language(answer_to(question, turn), question.language, user_text(question, turn), detector).value
    ]
    assert wrong == []
    texts = [(q.language, text) for q in QUESTIONS for text in (q.system, q.context, user_text(q, 0)) if text]
    texts += [(question.language, answer_to(question, turn)) for question, turn in TURNS]
    found = [(language, part) for language, text in dict.fromkeys(texts) for part in sentences(text)]
    assert len(found) > 300
    other = [part for language, part in found if language_of(part, language, detector) not in (language, None)]
    assert len(other) <= 0.01 * len(found), other


def test_without_lingua_nothing_is_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lingua", None)
    assert language_detector(["en"]) is None
    found = is_in_wrong_language("Pada notis itu terdapat maklumat.", "en", "", None)
    assert found.value is None
    assert "pip install 'engine-probe[quality]'" in found.reason
