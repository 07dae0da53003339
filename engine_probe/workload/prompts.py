"""Prompts of random tokens with exact lengths; the same seed gives the same tokens."""

from collections.abc import Iterator
from random import Random
from typing import Annotated, NamedTuple

import msgspec

from engine_probe.files.key_meaning import about
from engine_probe.workload.lengths import Length, Lengths, Positive, Uniform

FIRST_TOKEN_ID, LAST_TOKEN_ID = 10, 250  # in every model's vocabulary, and not special tokens
TOKEN_IDS = range(FIRST_TOKEN_ID, LAST_TOKEN_ID + 1)

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
NotNegativeInt = Annotated[int, msgspec.Meta(ge=0)]


class Turn(NamedTuple):
    """Holds the new tokens of a turn, which follow the earlier turns and answers, and the length of its answer."""

    prompt: list[int]
    output_len: int
    question_id: str | None = None
    pause_seconds: float = 0.0  # after the answer before, as a trace recorded it
    whole: bool = False  # the prompt is the whole context, and nothing is put before it


class Draft(NamedTuple):
    """Holds the turns of one conversation, and the time that a trace recorded for it."""

    turns: list[Turn]
    timestamp_seconds: float = 0.0


class RandomPrompts(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="random"):
    """Random tokens; prompts share no prefix."""

    input_len: Annotated[Length, about("Tokens of each prompt.", 128)]


class SharedPrefix(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="shared_prefix"):
    """Random tokens after a prefix that prompts share, or that is unique but of the same length."""

    prefix_len: Annotated[Positive, about("Tokens of the prefix.", 256)]
    input_len: Annotated[Length, about("Tokens after the prefix.", 64)]
    num_prefixes: Annotated[Positive, about("Number of different shared prefixes.", 4)] = 1
    share: Annotated[
        Share,
        about("Share of the prompts with a shared prefix; the others get a unique prefix of the same length.", 0.5),
    ] = 1.0


class Conversations(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="conversations"):
    """Conversations of several turns: each prompt holds the earlier turns, the engine's answers and a new question."""

    turns: Annotated[Positive | Uniform, about("Number of turns of a conversation.", 6)]
    input_len: Annotated[Length, about("Tokens of each question.", 16)]
    system_len: Annotated[NotNegativeInt, about("Tokens of a system prompt common to all conversations.", 64)] = 0
    pause_seconds: Annotated[float, about("Seconds between an answer and the next question.", 1.5, ge=0)] = 0.0


class Chances:
    """Makes independent random streams by name, so that drawing more from one does not change another."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def stream(self, name: str) -> Random:
        return Random(f"{self._seed}/{name}")


class Drawing:
    """Draws the prompts and lengths of synthetic workloads."""

    def __init__(self, seed: int, input_len: Length, output_len: Length) -> None:
        self.chances = Chances(seed)
        self.input = Lengths(input_len, self.chances.stream("input lengths"))
        self.output = Lengths(output_len, self.chances.stream("output lengths"))

    def prompt(self, name: object, length: int) -> list[int]:
        """Draw a prompt from its own stream, so that a longer one begins with the tokens of a shorter one."""
        return random_tokens(self.chances.stream(f"prompt {name}"), length)

    @property
    def notes(self) -> list[str]:
        return [*self.input.notes("prompts"), *self.output.notes("answers")]


def random_tokens(chance: Random, length: int) -> list[int]:
    return chance.choices(TOKEN_IDS, k=length)


def random_drafts(drawing: Drawing, count: int) -> Iterator[Draft]:
    for number in range(count):
        yield Draft([Turn(drawing.prompt(number, drawing.input.draw()), drawing.output.draw())])


def shared_prefix_drafts(prompts: SharedPrefix, drawing: Drawing, count: int) -> Iterator[Draft]:
    prefixes = [drawing.prompt(f"prefix {number}", prompts.prefix_len) for number in range(prompts.num_prefixes)]
    choice = drawing.chances.stream("prefixes")
    for number, draft in enumerate(random_drafts(drawing, count)):
        chosen, shares = choice.choice(prefixes), choice.random() < prompts.share
        prefix = chosen if shares else drawing.prompt(f"own prefix {number}", prompts.prefix_len)
        yield Draft([Turn(prefix + turn.prompt, turn.output_len) for turn in draft.turns])


def conversation_drafts(prompts: Conversations, drawing: Drawing, count: int) -> Iterator[Draft]:
    system = drawing.prompt("system", prompts.system_len)
    lengths = Lengths(prompts.turns, drawing.chances.stream("turns"))
    for number in range(count):
        turns = [
            Turn(drawing.prompt(f"{number}.{turn}", drawing.input.draw()), drawing.output.draw())
            for turn in range(lengths.draw())
        ]
        yield Draft([Turn(system + turns[0].prompt, turns[0].output_len), *turns[1:]])
