"""Prompts as text: from a local file (ShareGPT, Alpaca, or a JSON object on each line), or a few that are given."""

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Annotated, Any, Literal, NamedTuple

import msgspec

from engine_probe.errors import InputError
from engine_probe.files.key_meaning import about
from engine_probe.files.safe_read import MOST_DATA_BYTES, read_json, read_json_lines, shown
from engine_probe.workload.lengths import MOST_TOKENS, Lengths, Positive
from engine_probe.workload.prompts import Draft, Turn

Encode = Callable[[str], list[int]]
PEOPLE = {"human", "user"}


class Dataset(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="dataset"):
    """Text from a local file: entries drawn at random, each at most once.

    `sharegpt` is a list of objects with `conversations`; `alpaca` a list of objects with `instruction`, `input` and
    `output`; `jsonl` has lines with `prompt` and perhaps `output_tokens` (`vllm bench` calls it custom). Answers are as
    long as the file's own where the workload gives no `output_len`.
    """

    path: Annotated[str, about("Path of the local file.", "sharegpt.json")]
    format: Annotated[Literal["sharegpt", "alpaca", "jsonl"], about("Format of the file.", "sharegpt")]
    turns: Annotated[Positive, about("Maximum number of turns taken from a conversation (sharegpt).", 3)] = 1
    max_total_len: Annotated[
        Positive | None,
        about("Skip (and count) entries with more tokens than this, questions and answers together.", 2048),
    ] = None
    chat: Annotated[bool, about("Apply the model's chat template to each question.", True)] = False


class Texts(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="texts"):
    """Texts given here: each request draws one of them."""

    texts: Annotated[
        Annotated[tuple[Annotated[str, msgspec.Meta(min_length=1)], ...], msgspec.Meta(min_length=1)],
        about("The texts.", ["What is a GPU?", "Name three rivers."]),
    ]
    chat: Annotated[bool, about("Apply the model's chat template, where it has one.", False)] = True


class Exchange(NamedTuple):
    """Holds a question, and its answer or the answer's length if the file has one."""

    question: str
    answer: str | None = None
    answer_tokens: int | None = None


def dataset_drafts(
    dataset: Dataset, count: int | None, output: Lengths | None, encode: Encode, chance: Random
) -> tuple[list[Draft], list[str]]:
    """Draw drafts from the file; return them, and notes about them."""
    entries = [entry for entry in read_entries(dataset) if entry]
    chance.shuffle(entries)
    drafts: list[Draft] = []
    too_long = 0
    for exchanges in entries:
        if count is not None and len(drafts) == count:
            break
        turns = [
            Turn(encode(exchange.question), output.draw() if output else answer_len(exchange, encode, dataset.path))
            for exchange in exchanges
        ]
        if dataset.max_total_len and sum(len(turn.prompt) + turn.output_len for turn in turns) > dataset.max_total_len:
            too_long += 1
        else:
            drafts.append(Draft(turns))
    if not drafts or len(drafts) < (count or 0):
        raise InputError(
            f"{dataset.path} holds {len(drafts)} usable entries, fewer than num_prompts = {count or 1}: "
            "ask for fewer, or give a larger file"
        )
    return drafts, [f"{too_long} entries longer than {dataset.max_total_len} tokens were left out"] * bool(too_long)


def text_drafts(prompts: Texts, count: int, output: Lengths, encode: Encode, chance: Random) -> Iterator[Draft]:
    """Yield a draft for each request, with a text drawn at random."""
    encoded = [encode(text) for text in prompts.texts]
    for _ in range(count):
        yield Draft([Turn(chance.choice(encoded), output.draw())])


def answer_len(exchange: Exchange, encode: Encode, path: str) -> int:
    if exchange.answer_tokens is not None:
        return exchange.answer_tokens
    if exchange.answer is None:
        raise InputError(f"{path} does not give the length of its answers: set output_len (--output-len)")
    return max(1, len(encode(exchange.answer)))


def check_answers(dataset: Dataset) -> None:
    """Refuse a file without answer lengths, for a workload that has no `output_len` either."""
    for exchanges in read_entries(dataset):
        for exchange in exchanges:
            answer_len(exchange, lambda _: [], dataset.path)


def read_entries(dataset: Dataset) -> Iterator[list[Exchange]]:
    """Yield the exchanges of each entry; none if an entry holds no question."""
    path = Path(dataset.path)
    if dataset.format == "jsonl":
        for where, entry in read_json_lines(path):
            yield [line_exchange(entry, where)]
        return
    read = sharegpt_exchanges if dataset.format == "sharegpt" else alpaca_exchanges
    for number, entry in enumerate(read_json_list(path)):
        yield read(entry, f"{path}[{number}]")[: dataset.turns]


def line_exchange(entry: dict[str, Any], where: str) -> Exchange:
    tokens = entry.get("output_tokens")
    if tokens is not None and (type(tokens) is not int or not 1 <= tokens <= MOST_TOKENS):
        raise InputError(f"{where}: output_tokens is {shown(tokens)}, expected an integer from 1 to {MOST_TOKENS:,}")
    return Exchange(text(entry, "prompt", where), answer_tokens=tokens)


def alpaca_exchanges(entry: dict[str, Any], where: str) -> list[Exchange]:
    question = "\n\n".join(filter(None, [text(entry, "instruction", where), text(entry, "input", where, "")]))
    return [Exchange(question, text(entry, "output", where, ""))] if question else []


def sharegpt_exchanges(entry: dict[str, Any], where: str) -> list[Exchange]:
    """Return each message of a person with the answer right after it."""
    messages = entry.get("conversations")
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        raise InputError(f"{where}: conversations is not a list of messages: is it a file in ShareGPT's format?")
    exchanges = []
    for question, answer in pairwise(messages):
        asker, answerer = text(question, "from", where, ""), text(answer, "from", where, "")
        if asker in PEOPLE and answerer not in {*PEOPLE, "system"}:
            words = text(question, "value", where)
            if words:
                exchanges.append(Exchange(words, text(answer, "value", where)))
    return exchanges


def text(entry: dict[str, Any], key: str, where: str, otherwise: str | None = None) -> str:
    value = entry.get(key, otherwise)
    if not isinstance(value, str):
        raise InputError(f"{where}: {key} is {shown(value)}, expected text")
    return value


def read_json_list(path: Path) -> list[dict[str, Any]]:
    try:
        entries = read_json(path, MOST_DATA_BYTES)
    except InputError as error:
        hint = ": for one object on each line use jsonl" if " as JSON " in str(error) else ""
        raise InputError(f"{error}{hint}") from error
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise InputError(f"{path} does not hold a JSON list of objects: give a file in the format that `format` names")
    return entries
