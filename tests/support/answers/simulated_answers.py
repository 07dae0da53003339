"""Answers of a simulated greedy engine: the same prompts in several runs, with noise in their log-probabilities.

The model behind it has a best and a second-best token everywhere, and a margin between them; noise moves the margin,
and where it becomes negative the answer goes another way from there on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from zlib import crc32

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Reals = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Faults = Callable[[int, Reals], Reals]  # (prompt, margins of its answer) -> margins of a damaged one
NoiseOf = Callable[[np.random.Generator, int], Reals]  # (chance, tokens) -> move of each margin

SCHEMA = pa.schema(
    [
        ("request_id", pa.string()),
        ("prompt_id", pa.string()),
        ("question_id", pa.string()),
        ("prompt_crc32", pa.int64()),
        ("outcome", pa.string()),
        ("answer_crc32", pa.int64()),
        ("token_ids", pa.list_(pa.int32())),
        ("text", pa.string()),
        ("logprobs", pa.list_(pa.float32())),
        ("second_token_ids", pa.list_(pa.int32())),
        ("second_logprobs", pa.list_(pa.float32())),
    ]
)


def normal(deviation: float) -> NoiseOf:
    return lambda chance, tokens: chance.normal(0.0, deviation, tokens)


def heavy(deviation: float) -> NoiseOf:
    """Noise whose size differs from answer to answer and has long tails."""

    def noise(chance: np.random.Generator, tokens: int) -> Reals:
        return chance.laplace(0.0, deviation * chance.lognormal(0.0, 0.4), tokens)

    return noise


def rounded(noise: NoiseOf, step: float = 0.0625) -> NoiseOf:
    """Noise of logits that are rounded, as in BF16: most margins do not move, others move by whole steps."""
    return lambda chance, tokens: np.round(noise(chance, tokens) / step) * step


@dataclass(frozen=True, eq=False)
class Engine:
    """A simulated model: what it answers depends on the prompt and on where it took the second-best token."""

    prompts: int
    tokens: int
    seed: int
    typical_margin: float = 1.5

    def path(self, prompt: int, turns: tuple[int, ...]) -> tuple[Reals, Integers]:
        """Return margins and best tokens of an answer that took the second-best token at these places."""
        chance = np.random.default_rng((self.seed, prompt, *turns))
        return chance.exponential(self.typical_margin, self.tokens), chance.integers(100, 50_000, self.tokens) * 2

    def answers(self, seed: int, noise: NoiseOf, run: str = "", faults: Faults | None = None) -> pa.Table:
        """Answer every prompt once; `faults` changes the margins of a prompt's answer."""
        chance = np.random.default_rng((seed, 1))
        moves = (noise(chance, self.tokens) for _ in range(self.prompts))
        rows = [self._answer(prompt, move, run, faults) for prompt, move in enumerate(moves)]
        return pa.Table.from_pylist(rows, SCHEMA)

    def _answer(self, prompt: int, move: Reals, run: str, faults: Faults | None) -> dict[str, object]:
        """Return a row: the second-best token has the odd number after the best one's, and a negative margin swaps."""
        margins, tokens = self.path(prompt, ())
        turns: tuple[int, ...] = ()
        while True:
            moved = margins + move
            moved = faults(prompt, moved) if faults else moved
            begin = turns[-1] + 1 if turns else 0
            turned = np.flatnonzero(moved[begin:] < 0)
            if not len(turned):
                break
            turns = (*turns, begin + int(turned[0]))
            ahead = self.path(prompt, turns)
            margins, tokens = (
                np.r_[old[: turns[-1] + 1], new[turns[-1] + 1 :]]
                for old, new in zip((margins, tokens), ahead, strict=True)
            )
        swapped = np.isin(np.arange(self.tokens), turns)
        chosen, second = np.where(swapped, tokens + 1, tokens), np.where(swapped, tokens, tokens + 1)
        return row(f"{run}{prompt}", str(prompt), chosen, second, np.abs(moved))


def row(request_id: str, prompt_id: str, chosen: Integers, second: Integers, margins: Reals) -> dict[str, object]:
    """Return a row of the table, with log-probabilities of two tokens that are all there is."""
    best = -np.log1p(np.exp(-margins))
    return {
        "request_id": request_id,
        "prompt_id": prompt_id,
        "prompt_crc32": crc32(prompt_id.encode()),
        "outcome": "answered",
        "answer_crc32": crc32(chosen.tobytes()),
        "token_ids": chosen.tolist(),
        "logprobs": best.tolist(),
        "second_token_ids": second.tolist(),
        "second_logprobs": (best - margins).tolist(),
    }
