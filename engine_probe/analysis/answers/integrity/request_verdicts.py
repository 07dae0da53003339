"""The verdict on every request: identical, diverged at a near-tie or without one, cut short, or failed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from engine_probe.analysis.answers.integrity.aligned_answers import STOPPED, Aligned, AnswerPair
from engine_probe.analysis.answers.integrity.margin_noise import MarginNoise, margin_noise, margin_shifts
from engine_probe.text_format import counted


class Kind(StrEnum):
    """How the answer of a request compares with that of the reference run."""

    IDENTICAL = "identical"
    NEAR_TIE = "near-tie"  # diverged where numerics explain it
    UNDECIDED = "undecided"  # diverged, and it cannot be told whether at a near-tie
    DIVERGED = "diverged"  # without a near-tie
    CUT_SHORT = "cut short"  # one answer is the beginning of the other
    FAILED = "failed"


CHANGED = (Kind.NEAR_TIE, Kind.UNDECIDED, Kind.DIVERGED, Kind.CUT_SHORT)
FAULTS = (Kind.DIVERGED, Kind.CUT_SHORT)  # which numerics do not explain


@dataclass(frozen=True)
class ComparedAnswer:
    """One request against the same prompt's in the reference run."""

    request_id: str
    prompt_id: str
    kind: Kind
    token: int | None = None  # index of the first divergent token
    needed_shift: float | None = None  # of the margin, for the token to change
    at_least: bool = False  # needed_shift is a lower bound: the other token was not the second-best
    why: str = ""  # it is undecided, or what a divergence looks like
    disturbed_token: int | None = None  # first token, the same in both runs, whose margin moved beyond the noise
    shift: float = 0.0  # largest move of a margin before the first divergent token
    common: int = 0  # tokens that both answers begin with

    @property
    def changed(self) -> bool:
        """Return whether it was answered with other tokens."""
        return self.kind in CHANGED

    def at_risk(self, token: int) -> bool:
        """Return whether it made this token after the same tokens as the reference run."""
        return token < self.common or (self.changed and token == self.token)

    @property
    def is_fault(self) -> bool:
        """Return whether something happened that numerics do not explain."""
        return self.kind in FAULTS or self.disturbed_token is not None


@dataclass(frozen=True)
class HeldToReference:
    """One run against the reference run."""

    comparisons: tuple[ComparedAnswer, ...]
    aligned: Aligned
    not_compared: int  # in flight when either run ended, or failed in the reference run

    def count(self, kind: Kind) -> int:
        return sum(each.kind is kind for each in self.comparisons)

    @property
    def disturbed(self) -> int:
        return sum(each.disturbed_token is not None for each in self.comparisons)


@dataclass(frozen=True)
class Integrity:
    """Several runs against one reference run, with the noise of all of them together."""

    runs: tuple[HeldToReference, ...]
    noise: MarginNoise | None  # None without log-probabilities

    @property
    def comparisons(self) -> list[ComparedAnswer]:
        return [each for run in self.runs for each in run.comparisons]


def compare(runs: Sequence[Aligned]) -> Integrity:
    """Compare runs of the same engine settings with their reference run; the noise is measured over all of them."""
    judged = [[pair for pair in run.pairs if _comparable(pair)] for run in runs]
    pairs = [pair for run in judged for pair in run]
    measured = [pair for pair in pairs if pair.logprobs]
    changes = sum(pair.first_difference is not None for pair in measured)
    noise = margin_noise(measured, changes) if measured else None
    known = _prompts_by_answer(runs)
    found = [
        HeldToReference(
            tuple(_comparison(pair, noise, known) for pair in mine), run, not_compared=len(run.pairs) - len(mine)
        )
        for run, mine in zip(runs, judged, strict=True)
    ]
    return Integrity(tuple(found), noise)


def _comparable(pair: AnswerPair) -> bool:
    return pair.reference.complete and pair.other.outcome != STOPPED


def _comparison(pair: AnswerPair, noise: MarginNoise | None, known: dict[bytes, set[str]]) -> ComparedAnswer:
    """Return the verdict on one request, with what was measured before its first divergent token."""
    shifts = margin_shifts(pair)
    found = ComparedAnswer(
        pair.other.request_id,
        pair.other.prompt_id,
        Kind.IDENTICAL,
        token=pair.first_difference,
        disturbed_token=noise.disturbed_token(shifts) if noise else None,
        shift=float(shifts.max()) if len(shifts) else 0.0,
        common=pair.common,
    )
    if not pair.other.complete:
        return replace(found, kind=Kind.FAILED)
    if pair.reference.tokens is None or pair.other.tokens is None:
        if pair.reference.crc32 == pair.other.crc32:
            return found
        return replace(found, kind=Kind.UNDECIDED, why="tokens were not kept")
    if found.token is None:
        return found
    if found.token == min(len(pair.reference.tokens), len(pair.other.tokens)):
        return replace(found, kind=Kind.CUT_SHORT)
    found = _diverged(found, pair, noise)
    return replace(found, why=resemblance(pair, known)) if found.kind is Kind.DIVERGED else found


def _diverged(found: ComparedAnswer, pair: AnswerPair, noise: MarginNoise | None) -> ComparedAnswer:
    """Decide whether numerics explain a changed token: by the shift that its margin needs for the change."""
    if pair.logprobs is None or noise is None or found.token is None:
        return replace(found, kind=Kind.UNDECIDED, why="no log-probabilities")
    (mine, theirs), token = pair.logprobs, found.token
    exact = pair.swaps_the_best_two(token)
    needed = float(mine.margins[token] + theirs.margins[token])
    found = replace(found, needed_shift=needed, at_least=not exact)
    if not math.isfinite(needed):
        return replace(found, kind=Kind.UNDECIDED, needed_shift=None, why="a log-probability is not a number")
    if needed > noise.bound:
        return replace(found, kind=Kind.DIVERGED)
    if noise.limit is None:
        return replace(found, kind=Kind.UNDECIDED, why="too few margins shifted to measure the noise")
    if not exact:
        return replace(found, kind=Kind.UNDECIDED, why="the other token was not the second-best")
    return replace(found, kind=Kind.NEAR_TIE)


def resemblance(pair: AnswerPair, known: dict[bytes, set[str]]) -> str:
    """Say what a divergent answer equals: another prompt's answer, or its own without some tokens. Empty: neither."""
    mine, theirs, first = pair.reference.tokens, pair.other.tokens, pair.first_difference
    if mine is None or theirs is None or first is None:
        return ""
    if others := known.get(theirs.tobytes(), set()) - {pair.other.prompt_id}:
        return f"the reference run's answer to prompt {min(others)}"
    lost = len(mine) - len(theirs)
    if lost > 0 and np.array_equal(mine[first + lost :], theirs[first:]):
        return f"the reference run's answer without {counted(lost, 'token')}"
    if lost < 0 and np.array_equal(mine[first:], theirs[first - lost :]):
        return f"the reference run's answer with {counted(-lost, 'more token')}"
    return ""


def _prompts_by_answer(runs: Sequence[Aligned]) -> dict[bytes, set[str]]:
    """Return the prompts that each answer of the reference run was given to."""
    found: dict[bytes, set[str]] = {}
    for answer in {id(answer): answer for run in runs for answer in run.references}.values():
        if answer.tokens is not None and len(answer.tokens):
            found.setdefault(answer.tokens.tobytes(), set()).add(answer.prompt_id)
    return found
