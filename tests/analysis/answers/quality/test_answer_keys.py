"""An answer is right by its key: a letter in three languages, the exact words, an expression, or words it contains."""

from __future__ import annotations

from typing import Any

import pytest

from engine_probe.analysis.answers.quality.answer_verdicts import is_right
from engine_probe.analysis.answers.quality.choice_letter import chosen
from engine_probe.workload.question_set.question_file import AnswerKey, AskedQuestion
from tests.support.answers.model_answers import TURNS, answer_to

CHOICES = ("1945", "1957", "1963", "Carbon dioxide")


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("Answer: B", "B"),
        ("answer: B", "B"),
        ("**Answer:** B. It was in that year.", "B"),
        ("Answer: (C)", "C"),
        ("Réponse : B", "B"),
        ("réponse: B, car c'est l'année.", "B"),
        ("Jawapan: B", "B"),
        ("Jawaban: D.", "D"),
        ("The correct answer is B because", "B"),
        ("The correct answer is 6. C because the article states it.", "C"),
        ("Therefore, option B is the correct answer.", "B"),
        ("La bonne réponse est la C.", "C"),
        ("La réponse correcte est donc B.", "B"),
        ("Jawapan yang betul ialah C kerana", "C"),
        ("Pilihan B adalah betul.", "B"),
        ("B", "B"),
        ("(B)", "B"),
        ("B.", "B"),
        ("B) 1957", "B"),
        ("B. 1957\nIt was then.", "B"),
        ("A", "A"),
        ("Answer: A because it came first.", "A"),
        ("It happened in 1957.", "B"),
        ("Plants take in carbon dioxide.", "D"),
        ("The answer is a long story.", None),
        ("Answer: A long story.", None),
        ("Answer: Z", None),
        ("I do not know.", None),
        ("It was 1957 or 1963.", None),
        ("A. 1945\nB. 1957\nC. 1963\nD. Carbon dioxide", None),
        ("A. 1945\nB. 1957\nC. 1963\nD. Carbon dioxide\nAnswer: B", "B"),
        ("", None),
    ],
)
def test_the_letter_that_an_answer_settles_on(text: str, letter: str | None) -> None:
    assert chosen(text, CHOICES) == letter


def test_an_explanation_ends_with_its_answer() -> None:
    text = "Some say Answer: A. But the war ended later. Answer: B"
    assert (chosen(text, CHOICES), chosen(text, CHOICES, last=True)) == ("A", "B")


@pytest.mark.parametrize(
    ("key", "text", "right"),
    [
        ({"choice": "B"}, "Answer: B", True),
        ({"choice": "B"}, "Answer: C", False),
        ({"choice": "B"}, "No idea.", False),
        ({"exact": "Na"}, " na. ", True),
        ({"exact": "Na"}, "It is Na.", False),
        ({"exact": ("1945", "in 1945")}, "In 1945!", True),
        ({"regex": r"\b1989\b"}, "In 1989.", True),
        ({"regex": r"\b1989\b"}, "In 19890.", False),
        ({"regex": "seizième"}, "Au SEIZIÈME siècle", True),
        ({"contains": "Rom"}, "Empayar ROM", True),
        ({"contains": "Rom"}, "He came from Greece.", False),
        ({"contains": ("cœur", "heart")}, "Le coeur.", True),
        ({"contains": "élève"}, "l'e\u0301le\u0300ve", True),
        ({"contains": "Federation of Malaya"}, "the Federation, of Malaya", True),
        ({"contains": "Federation of Malaya"}, "Malaya's Federation", False),
    ],
)
def test_each_kind_of_key(key: dict[str, Any], text: str, right: bool) -> None:
    asked = AskedQuestion("?", AnswerKey(**key), CHOICES if "choice" in key else ())
    assert is_right(text, asked).value is right


def test_an_expression_that_makes_others_hang_is_done_at_once() -> None:
    """(a+)+$ takes a backtracking matcher 2^60 steps here."""
    assert not is_right("a" * 60 + "!", AskedQuestion("?", AnswerKey(regex="(a+)+$"))).value


@pytest.mark.parametrize(("question", "turn"), TURNS, ids=lambda each: getattr(each, "id", str(each)))
def test_model_answers_are_right_and_other_choices_wrong(question: Any, turn: int) -> None:
    asked = question.asked[turn]
    text = answer_to(question, turn)
    assert is_right(text, asked, question.eval == "teaching").value
    if (right := asked.answer.choice) is not None:
        announced = f": {right}"
        assert announced in text
        for other in "ABCD".replace(right, ""):
            assert not is_right(text.replace(announced, f": {other}"), asked, question.eval == "teaching").value
