"""Right answers to the shipped questions, as a model that does nothing wrong would give them."""

import json
from pathlib import Path

from engine_probe.workload.question_set.question_file import Question, read_question_sets

ANSWERS: dict[str, str] = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
SETS = ("english", "french", "malay")  # ask the same in three languages
QUESTIONS: list[Question] = read_question_sets(SETS)
TURNS = [(question, turn) for question in QUESTIONS for turn in range(len(question.asked))]


def answer_to(question: Question, turn: int) -> str:
    return ANSWERS[question.turn_id(turn)]
