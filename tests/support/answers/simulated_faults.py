"""Faults at a known rate among simulated requests, and how often they are found: margins, noise and the effect of a
wrong KV block are those measured on a real engine.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from engine_probe.analysis.answers.integrity.aligned_answers import AnswerPair, aligned
from engine_probe.analysis.answers.integrity.margin_noise import margin_shifts, stretches
from engine_probe.analysis.answers.integrity.request_verdicts import ComparedAnswer, HeldToReference, Kind, compare
from tests.support.answers.simulated_answers import SCHEMA, Engine, Integers, Reals, normal

MEASURED: dict[str, Any] = json.loads(Path(__file__).with_name("measured_margins.json").read_text())
MARGINS = np.array([margin for request in MEASURED["margins"] for margin in request])
MOVES = [np.array(request) for request in MEASURED["noise"]]
PER_TOKEN = ("token_ids", "logprobs", "second_token_ids", "second_logprobs")
FIRST = 2  # tokens before a fault, at least
REQUESTS, FAULTS, TOKENS = 500, 5, 32  # of a run; FAULTS of its requests have one

Rows = list[dict[str, Any]]
Damage = Callable[[Rows, Sequence[int], np.random.Generator], None]  # (answers, victims, chance)


class MeasuredEngine(Engine):
    """A model whose margins are drawn from the measured ones."""

    def path(self, prompt: int, turns: tuple[int, ...]) -> tuple[Reals, Integers]:
        chance = np.random.default_rng((self.seed, prompt, *turns))
        return chance.choice(MARGINS, self.tokens), chance.integers(100, 50_000, self.tokens) * 2


def measured_noise(chance: np.random.Generator, tokens: int) -> Reals:
    """Draw from the moves of one measured request, because some requests move more than others."""
    moves: Reals = chance.choice(MOVES[chance.integers(len(MOVES))], tokens)
    return moves


class WrongBlocks:
    """Moves the margins of the victims, from a token on, as a measured wrong KV block did."""

    def __init__(self, victims: Sequence[int], tokens: int, chance: np.random.Generator) -> None:
        self._moves = {victim: self._move(tokens, chance) for victim in victims}

    def _move(self, tokens: int, chance: np.random.Generator) -> Reals:
        effect = MEASURED["wrong_blocks"][chance.integers(len(MEASURED["wrong_blocks"]))]
        needed = effect["needed_shift"]
        moves = np.array(effect["moves"] + ([] if needed is None else [-needed]))
        whole = np.zeros(tokens)
        token = int(chance.integers(FIRST, tokens))
        reach = min(len(moves), tokens - token)
        whole[token : token + reach] = moves[:reach]
        return whole

    def __call__(self, prompt: int, margins: Reals) -> Reals:
        return margins + self._moves[prompt] if prompt in self._moves else margins


def lose_a_token(rows: Rows, victims: Sequence[int], chance: np.random.Generator) -> None:
    for victim in victims:
        lost = int(chance.integers(FIRST, len(rows[victim]["token_ids"]) - 1))
        for name in PER_TOKEN:
            rows[victim][name] = rows[victim][name][:lost] + rows[victim][name][lost + 1 :]


def swap_answers(rows: Rows, victims: Sequence[int], chance: np.random.Generator) -> None:
    """Give each victim the answer of the next one, in a ring."""
    answers = [{name: rows[victim][name] for name in PER_TOKEN} for victim in victims]
    for victim, answer in zip(victims, answers[1:] + answers[:1], strict=True):
        rows[victim] |= answer


def cut_answers(rows: Rows, victims: Sequence[int], chance: np.random.Generator) -> None:
    for victim in victims:
        end = int(chance.integers(FIRST, len(rows[victim]["token_ids"])))
        for name in PER_TOKEN:
            rows[victim][name] = rows[victim][name][:end]


class FaultKind(NamedTuple):
    """Holds a kind of fault: how it is planted, and whether a verdict names it."""

    name: str
    damage: Damage | None  # None: it acts on margins
    is_named: Callable[[ComparedAnswer], bool]


WRONG_BLOCK = "wrong KV block"
KINDS = (
    FaultKind(WRONG_BLOCK, None, lambda each: each.kind is Kind.DIVERGED or each.disturbed_token is not None),
    FaultKind("lost token", lose_a_token, lambda each: each.why.endswith("without 1 token")),
    FaultKind("swapped answers", swap_answers, lambda each: "answer to prompt" in each.why),
    FaultKind("truncated answer", cut_answers, lambda each: each.kind is Kind.CUT_SHORT),
)


@dataclass
class Count:
    """What became of the faults of one kind, over many runs."""

    planted: int = 0
    found: int = 0
    named: int = 0
    runs: int = 0
    runs_found: int = 0  # at least one fault in the run was found
    clean: int = 0  # requests without a fault
    accused: int = 0  # of them
    runs_accused: int = 0  # at least one request without a fault was accused
    visible: int = 0  # faults that moved log-probabilities further than numerics moved those of any other request
    visible_found: int = 0
    runs_visible: int = 0  # at least one fault in the run is visible

    def add(self, run: HeldToReference, victims: Sequence[int], kind: FaultKind | None) -> None:
        hit, comparisons = set(map(str, victims)), run.comparisons
        found = [each for each in comparisons if each.prompt_id in hit and each.is_fault]
        visible = visible_faults(run, hit)
        self.visible += len(visible)
        self.visible_found += sum(each.prompt_id in visible for each in found)
        self.runs_visible += bool(visible)
        named = sum(map(kind.is_named, found)) if kind else 0
        accused = sum(each.is_fault for each in comparisons) - len(found)
        self.add_run(len(hit), len(found), named, len(comparisons) - len(hit), accused)

    def add_run(self, planted: int, found: int, named: int, clean: int, accused: int) -> None:
        self.planted += planted
        self.found += found
        self.named += named
        self.runs += 1
        self.runs_found += found > 0
        self.clean += clean
        self.accused += accused
        self.runs_accused += accused > 0

    def __add__(self, other: Count) -> Count:
        return Count(*map(int.__add__, astuple(self), astuple(other)))


def visible_faults(run: HeldToReference, victims: set[str]) -> set[str]:
    """Return the victims with a figure beyond those of all other requests.

    The figures are what the verdict rests on: the largest move of a margin, the largest of a stretch, and the shift
    that a changed token needs. Of a victim whose figures all lie within, a test of them can tell no more than of the
    other request.
    """
    pairs = {pair.other.prompt_id: pair for pair in run.aligned.pairs}
    figures = {each.prompt_id: moved(each, pairs[each.prompt_id]) for each in run.comparisons}
    others = np.array([figure for name, figure in figures.items() if name not in victims]).max(axis=0)
    others[2] = max(others[0], others[2])
    return {name for name in victims if (figures[name] > others).any()}


def moved(each: ComparedAnswer, pair: AnswerPair) -> Reals:
    return np.array([each.shift, stretches(margin_shifts(pair)).max(initial=0.0), each.needed_shift or 0.0])


@dataclass
class Rates:
    """Counts without faults and with each kind."""

    clean: Count = field(default_factory=Count)
    by_kind: dict[str, Count] = field(default_factory=lambda: {kind.name: Count() for kind in KINDS})

    def __add__(self, other: Rates) -> Rates:
        return Rates(
            self.clean + other.clean, {name: count + other.by_kind[name] for name, count in self.by_kind.items()}
        )


def rates(seeds: Sequence[int]) -> Rates:
    """Compare runs without faults, and with faults of each kind, with a run of the same engine without noise."""
    found = Rates()
    for seed in seeds:
        for kind, victims, run in compared(seed):
            count = found.by_kind[kind.name] if kind else found.clean
            count.add(run, victims, kind)
    return found


def compared(seed: int) -> Iterator[tuple[FaultKind | None, Sequence[int], HeldToReference]]:
    """Yield the verdicts on a run without faults, and on the same run with faults of each kind."""
    engine, chance = MeasuredEngine(REQUESTS, TOKENS, seed), np.random.default_rng((seed, 2))
    reference = engine.answers(2 * seed, normal(0.0))
    clean = engine.answers(2 * seed + 1, measured_noise)
    yield None, (), compare([aligned(reference, clean)]).runs[0]
    for kind in KINDS:
        victims = chance.choice(REQUESTS, FAULTS, replace=False).tolist()
        if kind.damage is None:
            blocks = WrongBlocks(victims, TOKENS, chance)
            table = engine.answers(2 * seed + 1, measured_noise, faults=blocks)
        else:
            rows = clean.to_pylist()
            kind.damage(rows, victims, chance)
            table = pa.Table.from_pylist(rows, SCHEMA)
        yield kind, victims, compare([aligned(reference, table)]).runs[0]
