"""Sweeps over lengths by an engine whose times are known: an overhead, a time for each token, and attention."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.support.recordings.run_folders import MS, TINY, Engine, facts, write_points, write_run

OVERHEAD_MS = 15.0  # before the first step of each request
TOKEN_MS = 0.05  # of each token of a prompt
READ_MS = 0.002  # of each token in the KV cache, in every decode step
BLOCKS = 1 << 16


class TimedEngine(Engine):
    """Computes a prompt in one step. `attention_ms` is the time of a token for each token before it."""

    def __init__(self, attention_ms: float, noise: float, seed: int, **more: int) -> None:
        super().__init__(blocks=BLOCKS, budget=1 << 20, **more)
        self.attention_ms, self.noise, self.chance = attention_ms, noise, np.random.default_rng(seed)
        self.now = int(OVERHEAD_MS * MS)

    def execute_ns(self, row: dict[str, int]) -> int:
        tokens, context = row["prefill_tokens"], sum(request.computed for request in self.running)
        ms = TOKEN_MS * tokens + self.attention_ms * tokens**2 / 2
        ms += (4.0 + READ_MS * context) if row["decode_tokens"] else 0.0
        return int(ms * MS * (1 + self.noise * self.chance.standard_normal()))

    def follow(self) -> None:
        super().follow()
        self.now += int(OVERHEAD_MS * MS)


def length_run(prompt: int, output: int, requests: int, **truth: Any) -> dict[str, Any]:
    return TimedEngine(concurrency=1, prompt=prompt, output=output, later=requests - 1, **truth).run()


def write_length_sweep(
    path: Path,
    prompts: Sequence[int],
    outputs: Sequence[int],
    requests: int = 1,
    attention_ms: float = 0.0,
    noise: float = 0.002,
    repeats: int = 1,
    settings: Sequence[Mapping[str, Any]] = ({},),
) -> Path:
    """Write a sweep of every combination; `settings` are engine arguments that change nothing."""
    truth = {"attention_ms": attention_ms, "noise": noise}
    asked = [(p, o, s) for p in prompts for o in outputs for s in settings]
    points = sweep_points(path, asked, requests, repeats, truth)
    return write_points(path, points, "What do lengths change?", engine=TINY)


def sweep_points(
    path: Path, asked: Sequence[tuple[int, int, Mapping[str, Any]]], requests: int, repeats: int, truth: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    for repeat in range(repeats):
        for number, (prompt, output, more) in enumerate(asked):
            name = f"p{number}-{repeat}"
            tables = length_run(prompt, output, requests, seed=number * repeats + repeat, **truth)
            write_run(path / "points" / name, tables, facts(BLOCKS, "tiny"))
            work = {"concurrency": 1, "num_prompts": requests, "input_len": prompt, "output_len": output, "seed": 0}
            point = {"engine": {"model": "tiny", "arguments": dict(more)}, "workload": work, "repeat": repeat}
            yield {"id": name, "point": point, "status": "complete"}
