"""An answer that names one letter and argues for another contradicts itself; the words of both decide."""

from __future__ import annotations

from itertools import product

import pytest

from engine_probe.analysis.answers.quality.contradiction import contradicts_itself

CHOICES = ("rice", "tin and rubber", "silk", "pepper", "coffee", "tea")


@pytest.mark.parametrize(
    "text",
    [
        "Answer: A\nThe correct answer is 6. C because the passage says so.",
        "Answer: C. He leaves before sunrise on all seven days. Therefore, option B is the correct answer.",
        "C\n\nLet us look at the passage again to see why option B is the correct answer.",
        "Answer: B. The correct answer is 33. F because it agrees with the writer's idea.",
        "Jawapan: D. Saya gembira membantu kamu memahami jawaban yang benar, C.",
        "C. Saya akan menerangkan mengapa jawaban yang benar adalah D.",
        "Jawapan: A. Petikan menunjukkan bahawa jawapan yang betul ialah C.",
        "Réponse : A. La bonne réponse est donc la C, car le texte le dit.",
        "Réponse : B. L'option D est correcte ; c'est pourquoi D est la bonne réponse.",
        "Answer: A. Tin and rubber were sold abroad.",
        "Answer: A. The ports grew. Answer: B",
        "The correct answer is A. On reflection the correct answer is C.",
    ],
)
def test_contradictions_are_found(text: str) -> None:
    assert contradicts_itself(text, CHOICES).value is True


@pytest.mark.parametrize(
    "text",
    [
        "Answer: B. The correct answer is B because the passage says so.",
        "Answer: B. Option A is not the correct answer; the correct answer is B.",
        "Answer: B. If A is the correct answer, the dates do not fit, so the answer is B.",
        "Jawapan: C. Jawapan yang betul ialah C kerana sutera disebut.",
        "Réponse : D. La bonne réponse est D.",
    ],
)
def test_answers_that_agree_with_their_reasoning_are_left_alone(text: str) -> None:
    assert contradicts_itself(text, CHOICES).value is False


@pytest.mark.parametrize("text", ["Answer: B", "B", "The correct answer is B.", "Answer: B. Trade grew.", "", "Tea."])
def test_without_two_statements_nothing_is_judged(text: str) -> None:
    assert contradicts_itself(text, CHOICES).value is None


def test_without_choices_nothing_is_judged() -> None:
    assert contradicts_itself("Answer: B. The correct answer is C.", ()).value is None


BEGINNINGS = ("Answer: {0}. ", "{0}\n\n", "Réponse : {0}. ", "Jawapan: {0}\n", "**Answer:** {0}\n", "({0}) ")
REASONS = (
    "The correct answer is {0} because the passage says so.",
    "Therefore {0} is the correct answer.",
    "This is why option {0} is correct.",
    "La bonne réponse est {0}, car le texte le dit.",
    "Le bon choix est donc le {0}.",
    "Jawapan yang betul ialah {0} kerana petikan menyatakannya.",
    "Pilihan {0} adalah betul.",
)


def test_every_form_of_both_statements_is_understood() -> None:
    """In 42 forms, equal letters are no contradiction and different ones are: 252 clean answers, 1,260 others."""
    for (begin, reason), answered, argued in product(product(BEGINNINGS, REASONS), "ABCDEF", "ABCDEF"):
        text = begin.format(answered) + reason.format(argued)
        assert contradicts_itself(text, CHOICES).value is (answered != argued), text
