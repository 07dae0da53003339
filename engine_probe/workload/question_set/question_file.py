"""A question set: a JSON object on each line, with a question, its answer key, and what the model is told beside it.

A broken line is refused with its place, before an engine starts. Regular expressions are those of RE2 (in pyarrow),
whose time is linear in the text, so that no expression of a reader's file can hang a report.
"""

import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from string import ascii_uppercase
from typing import Annotated, Any, Literal, NamedTuple

import msgspec

from engine_probe.errors import InputError
from engine_probe.files.config_file import convert
from engine_probe.files.key_meaning import about
from engine_probe.files.safe_read import read_json_lines, shown
from engine_probe.files.shipped import shipped_folder
from engine_probe.text_format import suggestion

MOST_TURNS = 8
KEYS = ("choice", "exact", "regex", "contains")
DATA = "data"  # the folder of the shipped sets

Texts = str | tuple[str, ...]


class AnswerKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a right answer is: exactly one of these; of several texts, any one."""

    choice: Annotated[str | None, about("Letter of the right choice.", "B")] = None
    exact: Annotated[Texts | None, about("The whole answer, apart from case and punctuation.")] = None
    regex: Annotated[str | None, about("An RE2 expression that the answer matches somewhere.", "18(48|49)")] = None
    contains: Annotated[Texts | None, about("Words that the answer contains, apart from case.", "Paris")] = None

    @property
    def kind(self) -> str:
        return next(name for name in KEYS if getattr(self, name) is not None)

    @property
    def texts(self) -> tuple[str, ...]:
        """Return the texts of `exact` or `contains`."""
        given = self.exact or self.contains or ()
        return (given,) if isinstance(given, str) else given


class AskedQuestion(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One question of a conversation; from the second on, the key checks that the earlier turns are remembered."""

    question: str
    answer: AnswerKey
    choices: tuple[str, ...] = ()


class Question(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One line: a question with its key, or the turns of a conversation."""

    id: Annotated[str, about("Name of the question, which no other question has.", "history-01")]
    language: Annotated[str, about("ISO 639-1 code of the language, in which answers are expected.", "fr")]
    subject: Annotated[str, about("Subject, for the table of accuracies.", "history")]
    question: Annotated[str | None, about("The question.")] = None
    answer: Annotated[AnswerKey | None, about("What a right answer is.")] = None
    choices: Annotated[tuple[str, ...], about("Choices, shown as A, B, C ...", ["1956", "1957"])] = ()
    turns: Annotated[
        tuple[AskedQuestion, ...], about("Questions of one conversation, in place of question and answer.")
    ] = ()
    system: Annotated[str | None, about("System prompt.")] = None
    context: Annotated[str | None, about("Passage that stands before the (first) question.")] = None
    eval: Annotated[Literal["answer", "teaching"], about("A short answer, or an explanation to a student.")] = "answer"
    instruction: Annotated[str | None, about("What replaces the instruction that follows from eval.")] = None

    @property
    def asked(self) -> tuple[AskedQuestion, ...]:
        if self.turns:
            return self.turns
        assert self.question is not None
        assert self.answer is not None
        return (AskedQuestion(self.question, self.answer, self.choices),)

    def turn_id(self, turn: int) -> str:
        """Return the id under which the answer to a turn is recorded."""
        return f"{self.id}/{turn + 1}" if self.turns else self.id


class PlacedQuestion(NamedTuple):
    """Holds a question and its place, as `file:line`."""

    question: Question
    where: str


def shipped_sets() -> list[str]:
    return sorted(path.stem for path in (shipped_folder() / DATA).glob("*.jsonl"))


def find_question_set(name: str) -> Path:
    """Return the file of a question set named by its path or by a shipped name."""
    for path in (Path(name).expanduser(), shipped_folder() / DATA / f"{name}.jsonl"):
        if path.is_file():
            return path
    known = shipped_sets()
    raise InputError(
        f"workload.prompts.path: there is no question set {name}{suggestion(name, known)}: give a JSON Lines file, or "
        f"one of {', '.join(known)}"
    )


def are_here(names: Iterable[str]) -> bool:
    """Return whether all of these question sets can be read on this machine."""
    return all(name in shipped_sets() or Path(name).expanduser().is_file() for name in names)


def read_question_sets(names: Iterable[str]) -> list[Question]:
    """Read and check all questions of some sets."""
    return [placed.question for placed in checked(found for name in names for found in placed_lines(name))]


def placed_lines(name: str) -> Iterator[PlacedQuestion]:
    path, empty = find_question_set(name), True
    for where, entry in read_json_lines(path):
        empty = False
        yield PlacedQuestion(question_of(entry, where), where)
    if empty:
        raise InputError(f"{path} holds no question: give one JSON object on each line")


def checked(lines: Iterable[PlacedQuestion]) -> Iterator[PlacedQuestion]:
    """Yield the questions; refuse an id that two of them have."""
    places: dict[str, str] = {}
    for placed in lines:
        name = placed.question.id
        if name in places:
            raise InputError(f"{placed.where}: id {name!r} is that of {places[name]}, too: give each its own")
        places[name] = placed.where
        yield placed


def question_of(entry: dict[str, Any], where: str) -> Question:
    """Convert a line; refuse what is missing, unknown or contradictory."""
    try:
        question = convert(entry, Question, {"": Question, "answer": AnswerKey, "turns[]": AskedQuestion}, "a question")
        check_question(question)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    return question


def check_question(question: Question) -> None:
    if not question.id.strip() or "/" in question.id:
        raise InputError(f"id is {shown(question.id)}: give a name without a slash")
    if not re.fullmatch("[a-z]{2}", question.language):
        raise InputError(f"language is {shown(question.language)}: give a code of two letters, such as en, fr or ms")
    if question.turns and (question.question is not None or question.answer is not None or question.choices):
        raise InputError("turns is given beside question, choices or answer: give one or the other")
    if not question.turns and question.question is None:
        raise InputError("question is missing")
    if not question.turns and question.answer is None:
        raise InputError("answer is missing: without a key nothing can be judged")
    if len(question.turns) > MOST_TURNS:
        raise InputError(f"turns has {len(question.turns)} questions: give at most {MOST_TURNS}")
    for number, asked in enumerate(question.asked):
        check_asked(asked, f"turns[{number}]." if question.turns else "")


def check_asked(asked: AskedQuestion, place: str) -> None:
    if not asked.question.strip():
        raise InputError(f"{place}question is empty")
    if len(asked.choices) > len(ascii_uppercase) or len(asked.choices) == 1:
        raise InputError(f"{place}choices has {len(asked.choices)} entries: give 2 to {len(ascii_uppercase)}")
    given = [name for name in KEYS if getattr(asked.answer, name) is not None]
    if len(given) != 1:
        raise InputError(f"{place}answer has {' and '.join(given) or 'no key'}: give exactly one of {', '.join(KEYS)}")
    if (letter := asked.answer.choice) is not None:
        letters = ascii_uppercase[: len(asked.choices)]
        if len(letter) != 1 or letter not in letters:
            known = f"a letter of its choices, {letters[0]} to {letters[-1]}" if letters else "choices beside it"
            raise InputError(f"{place}answer.choice is {shown(letter)}: give {known}")
    if (pattern := asked.answer.regex) is not None:
        check_pattern(pattern, f"{place}answer.regex")
    is_of_words = all(any(map(str.isalnum, text)) for text in asked.answer.texts or ("",))
    if given[0] in ("exact", "contains") and not is_of_words:
        raise InputError(f"{place}answer.{given[0]} is {shown(getattr(asked.answer, given[0]))}: give words or numbers")


@cache  # the sets are read again for each point of a sweep
def check_pattern(pattern: str, place: str) -> None:
    import pyarrow as pa
    import pyarrow.compute as pc

    try:  # on no text, since an array of Python values imports pandas where that is installed: half a second
        pc.match_substring_regex(pa.nulls(1, pa.string()), pattern=pattern, ignore_case=True)
    except pa.ArrowInvalid as error:
        problem = str(error).removeprefix("Invalid regular expression: ").splitlines()[0]
        raise InputError(f"{place} is {shown(pattern)}, which RE2 does not take ({problem})") from error


def matches(pattern: str, text: str) -> bool:
    """Return whether the expression matches somewhere in the text, apart from case, in time linear in the text."""
    import pyarrow as pa
    import pyarrow.compute as pc

    return bool(pc.match_substring_regex(pa.array([text]), pattern=pattern, ignore_case=True)[0].as_py())
