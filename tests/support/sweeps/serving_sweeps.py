"""Sweeps of engines on one and on two GPUs whose steps take a known time, so that their frontier is known."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.support.recordings.run_folders import MS, Engine, facts, write_run
from tests.support.recordings.small_tables import table

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


def served(gpus: int, running: int, factor: float) -> dict[str, Any]:
    engine = StepEngine(gpus, factor, concurrency=running, prompt=16, output=OUTPUT)
    while engine.waiting or engine.running:
        engine.step()
    return {name: table(name, getattr(engine, name)) for name in ("iterations", "requests", "preemptions")}


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
    points = list(sweep_points(path, gpus, levels, noise, repeats, np.random.default_rng(seed), workload))
    sweep = {"question": "One GPU or two?", "engine": {"model": "tiny", "arguments": {}}}
    (path / "sweep.json").write_text(json.dumps({"sweep": sweep, "points": points}))
    return path


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
                write_run(path / "points" / name, served(number, level, factor), engine_on(number))
                work = {"concurrency": level, "num_prompts": level, "input_len": 16, "output_len": OUTPUT, "seed": 0}
                engine = {"model": "tiny", "arguments": {"tensor_parallel_size": number}}
                yield {
                    "id": name,
                    "point": {"engine": engine, "workload": work | workload, "repeat": repeat},
                    "status": "complete",
                }
