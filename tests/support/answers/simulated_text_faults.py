"""Faults of the text in right answers to the shipped questions, and how often the verdicts on quality find them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np

from engine_probe.analysis.answers.quality.answer_verdicts import judge
from engine_probe.analysis.answers.quality.language import LanguageDetector
from engine_probe.workload.question_set.question_file import Question
from tests.support.answers.model_answers import QUESTIONS, TURNS, answer_to
from tests.support.answers.simulated_faults import FAULTS, REQUESTS, Count

SENTENCE = re.compile(r"(?<=[.!?])\s+")
BY_ID = {question.id: question for question in QUESTIONS}
LANGUAGES = sorted({question.language for question in QUESTIONS})
FEWEST_LEAKED = 8  # words
WITH_SYSTEM = [(question, turn) for question, turn in TURNS if question.system]

Asked = tuple[Question, int]
Damage = Callable[[Asked, np.random.Generator], str]


def leak_prompt(asked: Asked, chance: np.random.Generator) -> str:
    """Put words of the system prompt, from eight in a row to all, between two sentences of the answer."""
    assert asked[0].system
    told, answer = asked[0].system.split(), SENTENCE.split(answer_to(*asked))
    length = int(chance.integers(FEWEST_LEAKED, len(told) + 1))
    begin = int(chance.integers(len(told) - length + 1))
    place = int(chance.integers(len(answer) + 1))
    return " ".join([*answer[:place], *told[begin : begin + length], *answer[place:]])


def switch_language(asked: Asked, chance: np.random.Generator) -> str:
    """Go on from a sentence, perhaps the first, with the answer to the same question in another language."""
    question, turn = asked
    other = chance.choice([language for language in LANGUAGES if language != question.language])
    twin = BY_ID[f"{other}{question.id.removeprefix(question.language)}"]
    mine, theirs = SENTENCE.split(answer_to(question, turn)), SENTENCE.split(answer_to(twin, turn))
    place = int(chance.integers(len(mine)))
    return " ".join([*mine[:place], *theirs[min(place, len(theirs) - 1) :]])


KINDS: dict[str, tuple[Damage, list[Asked], str]] = {
    "leaked system prompt": (leak_prompt, WITH_SYSTEM, "leaked_prompt"),
    "language switch": (switch_language, TURNS, "wrong_language"),
}


def text_rates(seeds: Sequence[int], detector: LanguageDetector | None) -> dict[str, Count]:
    """Judge requests drawn from all questions, some of whose answers are damaged."""

    def is_faulty(text: str, asked: Asked, verdict: str) -> bool:
        return bool(getattr(judge(text, *asked, "stop", detector), verdict).value)

    undamaged = cache(lambda place, verdict: is_faulty(answer_to(*TURNS[place]), TURNS[place], verdict))
    counts = {name: Count() for name in KINDS}
    for name, (damage, possible, verdict) in KINDS.items():
        count = counts[name]
        for seed in seeds:
            chance = np.random.default_rng((seed, 3))
            victims = [possible[place] for place in chance.integers(len(possible), size=FAULTS)]
            found = sum(is_faulty(damage(asked, chance), asked, verdict) for asked in victims)
            clean = chance.integers(len(TURNS), size=REQUESTS - FAULTS).tolist()
            count.add_run(FAULTS, found, found, len(clean), sum(undamaged(place, verdict) for place in clean))
    return counts
