"""Sweeps of engines on one and on two GPUs whose steps take a known time, so that their frontier is known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.support.recordings.run_folders import MS, TINY, Engine, facts, write_points, write_run

BLOCKS, OUTPUT = 4096, 40
STEP_MS = {1: (10.0, 0.5), 2: (6.0, 0.3)}  # by GPUs: of every step, and of each running request
LEVELS = (1, 4, 8, 16, 32)
SIZES = ("pipeline_parallel_size", "data_parallel_size", "prefill_context_parallel_size")


def per_user(gpus: int, running: int) -> float:
    fixed, each = STEP_MS[gpus]
    return 1e3 / (fixed + each * running)


def per_gpu(gpus: int, running: int) -> float:
    return per_user(gpus, running) * running / gpus


class StepEngine(Engine):
    """Prefills in no time; `noise` is that of a whole run, in proportion."""

    def __init__(self, gpus: int, factor: float, **more: int) -> None:
        super().__init__(blocks=BLOCKS, budget=1 << 16, **more)
        self.gpus, self.factor = gpus, factor

    def execute_ns(self, row: dict[str, int]) -> int:
        fixed, each = STEP_MS[self.gpus]
        return int((fixed + each * row["scheduled_requests"]) * self.factor * MS) - MS  # the rest is around it


def engine_on(gpus: int) -> dict[str, Any]:
    """What run.json holds of an engine on so many GPUs."""
    told = facts(BLOCKS, "tiny")
    gpus_here = [{"name": "a GPU", "uuid": f"GPU-{number}", "index": number} for number in range(gpus)]
    sizes = dict.fromkeys(SIZES, 1) | {"tensor_parallel_size": gpus}
    return told | {
        "hardware": {"gpus": gpus_here},
        "engine": told["engine"] | {"arguments": {"parallel_config": sizes}},
    }


def write_serving_sweep(
    path: Path,
    gpus: Sequence[int] = (1, 2),
    levels: Sequence[int] = LEVELS,
    noise: float = 0.0,
    repeats: int = 1,
    seed: int = 0,
    **workload: Any,
) -> Path:
    points = sweep_points(path, gpus, levels, noise, repeats, np.random.default_rng(seed), workload)
    return write_points(path, points, "One GPU or two?", engine=TINY)


def sweep_points(
    path: Path,
    gpus: Sequence[int],
    levels: Sequence[int],
    noise: float,
    repeats: int,
    chance: np.random.Generator,
    workload: dict[str, Any],
) -> Iterator[dict[str, Any]]:
    for repeat in range(repeats):
        for number in gpus:
            for level in levels:
                name = f"tp{number}-{level}-{repeat}"
                factor = 1 + noise * float(chance.standard_normal())
                served = StepEngine(number, factor, concurrency=level, prompt=16, output=OUTPUT).run()
                write_run(path / "points" / name, served, engine_on(number))
                work = {"concurrency": level, "num_prompts": level, "input_len": 16, "output_len": OUTPUT, "seed": 0}
                engine = {"model": "tiny", "arguments": {"tensor_parallel_size": number}}
                yield {
                    "id": name,
                    "point": {"engine": engine, "workload": work | workload, "repeat": repeat},
                    "status": "complete",
                }
