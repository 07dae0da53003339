"""The answers of two runs, aligned by prompt: only requests with the same tokens in the prompt are compared."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from engine_probe.analysis.statistics.arrays import Integers, Reals
from engine_probe.workload.load import FURTHER

Scalar = TypeVar("Scalar", np.int64, np.float64)
ANSWERED, STOPPED = "answered", "stopped"  # outcomes: complete, and in flight when the run ended


@dataclass(frozen=True, eq=False)
class LogProbs:
    """Log-probabilities of an answer's tokens, and the best token other than the chosen one with its own."""

    chosen: Reals
    second_ids: Integers
    second: Reals

    @property
    def margins(self) -> Reals:
        """Return by how much each chosen token was more probable than the second-best; greedy decoding: never < 0."""
        return self.chosen - self.second


@dataclass(frozen=True, eq=False)
class Answer:
    """One row of the `answers` table."""

    request_id: str
    prompt_id: str
    prompt_crc32: int
    outcome: str
    crc32: int | None
    tokens: Integers | None  # None unless they were kept
    logprobs: LogProbs | None

    @property
    def complete(self) -> bool:
        return self.outcome == ANSWERED


@dataclass(frozen=True, eq=False)
class AnswerPair:
    """The answers to one prompt in both runs."""

    reference: Answer
    other: Answer

    @cached_property
    def first_difference(self) -> int | None:
        """Return the index of the first token that differs, or that only one has. None if equal or not kept."""
        mine, theirs = self.reference.tokens, self.other.tokens
        if mine is None or theirs is None:
            return None
        shorter = min(len(mine), len(theirs))
        places = np.flatnonzero(mine[:shorter] != theirs[:shorter])
        if len(places):
            return int(places[0])
        return shorter if len(mine) != len(theirs) else None

    @property
    def common(self) -> int:
        """Return the number of tokens that both begin with."""
        if self.reference.tokens is None or self.other.tokens is None:
            return 0
        first = self.first_difference
        return len(self.reference.tokens) if first is None else first

    def swaps_the_best_two(self, token: int) -> bool:
        """Return whether each run chose, at this token, what the other run had second-best."""
        if self.logprobs is None or self.reference.tokens is None or self.other.tokens is None:
            return False
        mine, theirs = self.logprobs
        return bool(
            mine.second_ids[token] == self.other.tokens[token]
            and theirs.second_ids[token] == self.reference.tokens[token]
        )

    @property
    def logprobs(self) -> tuple[LogProbs, LogProbs] | None:
        """Return the log-probabilities of both. None unless both runs kept them."""
        mine, theirs = self.reference.logprobs, self.other.logprobs
        return (mine, theirs) if mine is not None and theirs is not None else None


@dataclass(frozen=True)
class Aligned:
    """A run's answers beside those of the reference run, in the order of the run; and what could not be paired."""

    pairs: tuple[AnswerPair, ...]
    other_prompts: int = 0  # requests whose prompt has the same id but other tokens
    missing: int = 0  # requests of the reference run that this run lacks, such as those never handed over
    further: int = 0  # requests that the reference run lacks
    references: tuple[Answer, ...] = field(default=(), repr=False)  # all of the reference run


def aligned(reference: pa.Table, other: pa.Table) -> Aligned:
    """Pair the rows of two `answers` tables by prompt; the nth request with a prompt goes with the nth.

    Requests that only held the load do not count.
    """
    mine = dict(_numbered(reference))
    pairs, strange, further = [], 0, 0
    found = set()
    for key, answer in _numbered(other):
        partner = mine.get(key)
        if partner is None:
            further += 1
            continue
        found.add(key)
        if partner.prompt_crc32 == answer.prompt_crc32:
            pairs.append(AnswerPair(partner, answer))
        else:
            strange += 1
    return Aligned(tuple(pairs), strange, len(mine) - len(found), further, tuple(mine.values()))


def _numbered(table: pa.Table) -> Iterator[tuple[tuple[str, int], Answer]]:
    """Yield each answer under its prompt's id and how many requests before it had that id."""
    seen: Counter[str] = Counter()
    for answer in answers(table):
        if not answer.prompt_id.startswith(FURTHER):
            yield (answer.prompt_id, seen[answer.prompt_id]), answer
            seen[answer.prompt_id] += 1


def answers(table: pa.Table) -> Iterator[Answer]:
    """Yield the rows of an `answers` table."""
    names = ("request_id", "prompt_id", "prompt_crc32", "outcome", "answer_crc32")
    columns = zip(*(table[name].to_pylist() for name in names), strict=True)
    tokens, second_ids = (_arrays(table[name], np.int64) for name in ("token_ids", "second_token_ids"))
    chosen, second = (_arrays(table[name], np.float64) for name in ("logprobs", "second_logprobs"))
    for row, (request_id, prompt_id, prompt_crc32, outcome, crc32) in enumerate(columns):
        found = _logprobs(tokens[row], chosen[row], second_ids[row], second[row])
        yield Answer(request_id, prompt_id, prompt_crc32, outcome, crc32, tokens[row], found)


def _logprobs(
    tokens: Integers | None, chosen: Reals | None, second_ids: Integers | None, second: Reals | None
) -> LogProbs | None:
    """Return an answer's log-probabilities. None unless there is one of each kind for every token."""
    if tokens is None or chosen is None or second_ids is None or second is None:
        return None
    whole = len(tokens) == len(chosen) == len(second_ids) == len(second)
    return LogProbs(chosen, second_ids, second) if whole else None


def _arrays(column: pa.ChunkedArray, kind: type[Scalar]) -> list[npt.NDArray[Scalar] | None]:
    """Return each list of a column as an array, and null lists as None."""
    if not len(column):
        return []
    whole = column.combine_chunks()
    lengths = pc.fill_null(pc.list_value_length(whole), 0).to_numpy(zero_copy_only=False)
    values = whole.flatten().to_numpy(zero_copy_only=False).astype(kind)
    parts = np.split(values, np.cumsum(lengths)[:-1])
    return [part if valid else None for part, valid in zip(parts, whole.is_valid().to_pylist(), strict=True)]
