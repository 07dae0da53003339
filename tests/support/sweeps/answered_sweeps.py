"""Sweeps whose recordings hold the answers of a simulated engine, token by token."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from tests.support.answers.simulated_answers import Engine, NoiseOf, normal
from tests.support.recordings.run_folders import TINY, facts, ran, write_points, write_run
from tests.support.recordings.small_tables import table

PROMPTS, TOKENS = 24, 40
ENGINE = Engine(PROMPTS, TOKENS, seed=3)
EXACT = normal(0.0)
Rows = list[dict[str, object]]


def unchanged(rows: Rows) -> Rows:
    return rows


@dataclass(frozen=True)
class Answered:
    """A run at a load, with the noise of its answers and what is done to them."""

    load: int
    noise: NoiseOf = EXACT
    damage: Callable[[Rows], Rows] = unchanged
    blocks: int = 300  # with few of them requests are preempted


def write_answered_sweep(path: Path, runs: Sequence[Answered]) -> Path:
    """Write a sweep over concurrency; all runs answer the same prompts."""
    points = []
    for number, run in enumerate(runs):
        tables = ran(PROMPTS, prompt=48, output=TOKENS, blocks=run.blocks)
        ids = tables["requests"]["request_id"].to_pylist()
        rows = ENGINE.answers(number, run.noise).to_pylist()
        rows = run.damage([row | {"request_id": name} for name, row in zip(ids, rows, strict=True)])
        write_run(path / "points" / f"p{number}", tables | {"answers": table("answers", rows)}, facts(run.blocks))
        asked = {"concurrency": run.load, "num_prompts": PROMPTS, "input_len": 48, "output_len": TOKENS, "seed": 0}
        points.append({"id": f"p{number}", "point": asked | {"repeat": number}, "status": "complete"})
    return write_points(path, points, "Do answers stay the same?", engine=TINY, grid={})


def without(*columns: str) -> Callable[[Rows], Rows]:
    """Return a damage that leaves columns out."""
    return lambda rows: [row | dict.fromkeys(columns) for row in rows]


def cut(prompt: int, tokens: int) -> Callable[[Rows], Rows]:
    """Return a damage that ends an answer early."""

    def damage(rows: Rows) -> Rows:
        names = ("token_ids", "logprobs", "second_token_ids", "second_logprobs")
        shorter = {name: list(pa.array(rows[prompt][name]).to_pylist())[:tokens] for name in names}
        return [row | shorter if place == prompt else row for place, row in enumerate(rows)]

    return damage


def failed(*prompts: int) -> Callable[[Rows], Rows]:
    """Return a damage that lets requests pass their deadline."""
    return lambda rows: [row | {"outcome": "deadline"} if place in prompts else row for place, row in enumerate(rows)]
