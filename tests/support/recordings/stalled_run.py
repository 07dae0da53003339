"""Recordings with stalled steps whose causes are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from engine_probe.recordings.run import Run, load
from tests.support.recordings.run_folders import write_run
from tests.support.recordings.small_tables import table

MS = 1_000_000
BEGAN = 1_000 * MS
USUAL = 10 * MS


def began(iteration: int) -> int:
    """Return the start of a step of `decoding` before any that took longer."""
    return BEGAN + iteration * USUAL


def decoding(durations: dict[int, int] | None = None, count: int = 100, **columns: list[int]) -> pa.Table:
    """Steps of 10 ms that decode four requests, one right after the other; `durations` are those of others, in ms."""
    rows, now = [], BEGAN
    for index in range(count):
        took = (durations or {}).get(index, 10) * MS
        row = {"iteration": index, "start_ns": now, "execute_ns": took, "running_requests": 4}
        rows.append(
            row | {"decode_tokens": 4, "scheduled_tokens": 4} | {name: each[index] for name, each in columns.items()}
        )
        now += took
    return table("iterations", rows)


def event(kind: str, start_ns: int, duration_ms: float, held_ms: float, number: int | None = None) -> dict[str, Any]:
    """A row of `host_events`."""
    held, duration = round(held_ms * MS), round(duration_ms * MS)
    return {"start_ns": start_ns, "duration_ns": duration, "kind": kind, "held_ns": held, "number": number}


def stalled_run(folder: Path) -> Run:
    """Step 50 takes 310 ms, for a garbage collection of 280 ms; step 60 takes 110 ms, for no reason known."""
    events = [event("garbage collection", began(50) + 5 * MS, 280, 280, 2), event("probe's writer", BEGAN, 3, 2)]
    tables = {"iterations": decoding({50: 310, 60: 110}), "host_events": table("host_events", events)}
    return load(write_run(folder, tables))
