"""Prompts made of question sets: the order of the questions, and the words that the model is given."""

from collections.abc import Callable, Iterator, Sequence
from random import Random
from string import ascii_uppercase
from typing import Annotated

import msgspec

from engine_probe.files.key_meaning import about
from engine_probe.workload.lengths import Lengths
from engine_probe.workload.prompts import Draft, Turn
from engine_probe.workload.question_set.question_file import Question, read_question_sets

Messages = list[dict[str, str]]  # of a conversation: the system prompt, then what the user says in each turn
EncodeChat = Callable[[Messages], list[list[int]]]  # the new tokens of each turn

# What is asked of the model, by language, by `eval`, and with or without choices.
INSTRUCTIONS = {
    ("en", "answer", True): 'Begin with "Answer: " and the letter of the right choice, then give your reasons in one '
    "or two sentences.",
    ("en", "teaching", True): 'Explain to a student why the right choice is right, and end with "Answer: " and its '
    "letter.",
    ("en", "answer", False): "Answer in one or two sentences.",
    ("en", "teaching", False): "Explain the answer to a student in two or three sentences.",
    ("fr", "answer", True): "Commencez par « Réponse : » suivi de la lettre du bon choix, puis justifiez-le en une ou "
    "deux phrases.",
    ("fr", "teaching", True): "Expliquez à un élève pourquoi le bon choix est juste, et terminez par « Réponse : » "
    "suivi de sa lettre.",
    ("fr", "answer", False): "Répondez en une ou deux phrases.",
    ("fr", "teaching", False): "Expliquez la réponse à un élève en deux ou trois phrases.",
    ("ms", "answer", True): 'Mulakan dengan "Jawapan: " dan huruf pilihan yang betul, kemudian berikan alasan anda '
    "dalam satu atau dua ayat.",
    ("ms", "teaching", True): "Terangkan kepada seorang murid mengapa pilihan yang betul itu betul, dan akhiri dengan "
    '"Jawapan: " serta hurufnya.',
    ("ms", "answer", False): "Jawab dalam satu atau dua ayat.",
    ("ms", "teaching", False): "Terangkan jawapannya kepada seorang murid dalam dua atau tiga ayat.",
}


class Questions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="questions"):
    """Questions with answer keys, by whose answers quality is judged (`[answers] keep = "text"`).

    Each line of a file is a JSON object with `id`, `language` (such as fr), `subject`, `question` and `answer`, which
    is one of {"choice": "B"}, {"exact": ...}, {"regex": ...} (RE2) and {"contains": ...}. It may have `choices` (a
    list), `system` (a system prompt), `context` (a passage), `eval` ("answer" or "teaching"), `instruction`, and in
    place of a question `turns`: questions of a conversation, in which a later key checks that the context is kept.
    The seed gives the order, the same at every load; a num_prompts beyond the number of questions asks them again, in
    another order. The model's chat template is applied. output_len is the most tokens of an answer;
    sampling.ignore_eos must be false.
    """

    path: Annotated[
        str | Annotated[tuple[str, ...], msgspec.Meta(min_length=1)],
        about(
            "A JSON Lines file, or a shipped set (english, explanations, french, malay); a list for several.",
            ["english"],
        ),
    ]

    @property
    def paths(self) -> tuple[str, ...]:
        return (self.path,) if isinstance(self.path, str) else self.path


def question_drafts(
    questions: Questions, count: int | None, output: Lengths, encode: EncodeChat, chance: Random
) -> list[Draft]:
    """Make a draft of each question, in an order that the seed decides; all questions once if there is no count."""
    found = read_question_sets(questions.paths)
    tokens: dict[str, list[list[int]]] = {}
    drafts = []
    for question in in_rounds(found, len(found) if count is None else count, chance):
        if question.id not in tokens:
            tokens[question.id] = encode(messages(question))
        drafts.append(
            Draft([Turn(new, output.draw(), question.turn_id(turn)) for turn, new in enumerate(tokens[question.id])])
        )
    return drafts


def in_rounds(found: Sequence[Question], count: int, chance: Random) -> Iterator[Question]:
    """Yield so many questions: all in a drawn order, then all again in another one."""
    while count > 0:
        drawn = list(found)
        chance.shuffle(drawn)
        yield from drawn[:count]
        count -= len(drawn)


def messages(question: Question) -> Messages:
    system = [{"role": "system", "content": question.system}] if question.system else []
    return system + [{"role": "user", "content": user_text(question, turn)} for turn in range(len(question.asked))]


def user_text(question: Question, turn: int) -> str:
    """Return what the user says in a turn: the passage before the first, the question, its choices, the instruction."""
    asked = question.asked[turn]
    choices = [f"{letter}. {choice}" for letter, choice in zip(ascii_uppercase, asked.choices, strict=False)]
    passage = [question.context] if question.context and turn == 0 else []
    return "\n\n".join([*passage, "\n".join([asked.question, *choices]), *instruction(question, turn)])


def instruction(question: Question, turn: int) -> list[str]:
    """Return the line's own instruction, or that of its language and kind. Empty for other languages."""
    if question.instruction is not None:
        return [question.instruction] if question.instruction else []
    found = INSTRUCTIONS.get((question.language, question.eval, bool(question.asked[turn].choices)))
    return [found] if found else []
