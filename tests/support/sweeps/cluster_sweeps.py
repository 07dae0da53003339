"""Sweeps whose points several engines measured, with engines of a known speed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tests.support.recordings.run_folders import TINY, facts, ran, write_points, write_run

WORK = {"concurrency": 4, "num_prompts": 16, "input_len": 48, "output_len": 40}


def slowed(tables: dict[str, pa.Table], factor: float) -> dict[str, pa.Table]:
    """Return a run in which everything takes so many times as long."""
    found = {}
    for name, rows in tables.items():
        for place, field in enumerate(rows.schema):
            if field.name.endswith("_ns") and pa.types.is_integer(field.type):
                values = [None if one is None else round(one * factor) for one in rows[field.name].to_pylist()]
                rows = rows.set_column(place, field, pa.array(values, field.type))
        found[name] = rows
    return found


def engine_facts(name: str, gpus: int, tp: int) -> dict[str, Any]:
    found = facts(name=name)
    sizes = {"tensor_parallel_size": tp, "pipeline_parallel_size": 1, "data_parallel_size": 1}
    found["engine"] = {**found["engine"], "arguments": {"parallel_config": sizes}}
    cards = [{"name": "NVIDIA L40S", "uuid": f"GPU-{number}", "index": number} for number in range(gpus)]
    return found | {"hardware": {"host": {}, "gpus": cards}} if gpus else found


def write_point(
    folder: Path,
    id_: str,
    slowness: Sequence[float],
    names: Sequence[str] = (),
    tp: Sequence[int] = (),
    gpus: bool = False,
    **asked: Any,
) -> dict[str, Any]:
    """Write the recordings of a point, one for each engine and so much slower, and return its row."""
    place = folder / "points" / id_
    for number, factor in enumerate(slowness):
        ranks = tp[number] if tp else 1
        about = engine_facts(names[number] if names else "tiny", ranks if gpus else 0, ranks)
        at = place if len(slowness) == 1 else place / f"replica-{number + 1}"
        write_run(at, slowed(ran(4, later=12), factor), about)
    point = {"engine": {"model": "tiny", "arguments": {}}, "workload": WORK, "replicas": len(slowness), **asked}
    return {"id": id_, "point": point, "status": "complete"}


def write_cluster_sweep(
    folder: Path, engines: Mapping[int, Sequence[float]], repeats: int = 1, noise: float = 0.0
) -> Path:
    """Write a sweep over the number of engines; each number has the slowness of its engines."""
    random, rows = np.random.default_rng(1), []
    for repeat in range(repeats):
        for number, slowness in engines.items():
            factors = [factor * float(np.exp(random.normal(0, noise))) for factor in slowness]
            curve = {"replicas": number}
            rows.append(write_point(folder, f"r{number}-{repeat}", factors, repeat=repeat, curve=curve))
    return write_rows(folder, rows)


def write_rows(folder: Path, rows: Sequence[dict[str, Any]], question: str = "Do they add up?") -> Path:
    return write_points(folder, rows, question, engine=TINY)
