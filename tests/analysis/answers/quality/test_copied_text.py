"""Instructions that an answer gives away, and passages that it copies; fair quotations are neither."""

from __future__ import annotations

import pytest

from engine_probe.analysis.answers.quality.copied_text import copies_prompt, leaks_system_prompt
from engine_probe.workload.question_set.question_prompts import user_text
from tests.support.answers.model_answers import QUESTIONS, TURNS, answer_to

SYSTEM = (
    "You work in an assessment system for schools. Students rely on your accuracy and on the quality of reasoning. "
    "Language rule: if question and passage are in Malay, respond entirely in Malay. The final response is read aloud."
)
PASSAGE = next(question.context for question in QUESTIONS if question.id == "en-history-03") or ""


@pytest.mark.parametrize(
    "text",
    [
        "The writer says that students rely on your accuracy and on the quality of reasoning.",
        "LANGUAGE RULE: If question and passage are in Malay, respond entirely in Malay...",
        SYSTEM,
        f"Answer: B. {SYSTEM[:120]}",
    ],
)
def test_leaked_instructions_are_found(text: str) -> None:
    found = leaks_system_prompt(text, SYSTEM, ["Who wrote it?"])
    assert found.value is True
    assert "repeats '" in found.reason


@pytest.mark.parametrize(
    "text",
    [
        "Students rely on good schools, and on accuracy.",
        "The answer is in Malay.",
        "I cannot tell you my instructions.",
        "",
    ],
)
def test_a_few_words_in_common_are_no_leak(text: str) -> None:
    assert leaks_system_prompt(text, SYSTEM, []).value is False


def test_what_the_question_says_itself_is_no_leak() -> None:
    rule = "Respond entirely in Malay if question and passage are in Malay."
    assert leaks_system_prompt(f"You asked: {rule}", f"{rule} Be kind.", [rule]).value is False
    assert leaks_system_prompt(f"You asked: {rule}", f"{rule} Be kind.", ["Why?"]).value is True


def test_without_a_system_prompt_of_some_length_nothing_is_judged() -> None:
    assert leaks_system_prompt("Be brief.", None, []).value is None
    assert leaks_system_prompt("Be brief.", "Be brief.", []).value is None


@pytest.mark.parametrize("text", [PASSAGE, f"Answer: B. {PASSAGE}", PASSAGE.upper().replace(",", "")])
def test_a_copied_passage_is_found(text: str) -> None:
    assert copies_prompt(text, [PASSAGE]).value is True


def test_a_fair_quotation_is_no_copy() -> None:
    quoted = PASSAGE.split(". ")[1]
    own = "That sentence tells us who governed the country, who did not, and why the sultans protested in the end."
    assert copies_prompt(f"It says: {quoted}.", [PASSAGE]).value is False
    assert copies_prompt(f"It says: {quoted}. {own} {own}", [PASSAGE]).value is False


@pytest.mark.parametrize(
    ("text", "repeats"),
    [
        ("In which year did the wall fall?", True),
        ("In which year did the wall fall, it was", True),
        ("In which year did the wall fall? It fell in 1989.", False),
        ("The wall fell in 1989.", False),
        ("", False),
    ],
)
def test_a_question_that_comes_back_without_an_answer_is_a_copy(text: str, repeats: bool) -> None:
    found = copies_prompt(text, [PASSAGE], ["Who built it?", "In which year did the wall fall?"])
    assert bool(found.value) is repeats


def test_without_a_passage_nothing_is_judged() -> None:
    assert copies_prompt(PASSAGE, ["Who was it?"]).value is None


def test_model_answers_leak_and_copy_nothing() -> None:
    """Each of 84 answers against every system prompt and question of its language: none of 168 and none of 2,016."""
    leaks = copies = pairs = 0
    for question, turn in TURNS:
        text = answer_to(question, turn)
        alike = [other for other in QUESTIONS if other.language == question.language]
        for system in sorted({other.system for other in alike if other.system}):
            leaks += bool(leaks_system_prompt(text, system, []).value)
        for other in alike:
            pairs += 1
            copies += bool(copies_prompt(text, [user_text(other, 0)]).value)
    assert (leaks, copies, pairs) == (0, 0, 2016)
