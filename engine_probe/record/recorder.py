"""The buffer between the engine's thread and the writer: constant memory, constant work per iteration.

Every iteration packs a few raw readings into one row of a ring: no Python object outlives the step, so the garbage
collector never sees the recording. What changes rarely (a request came, left, was preempted) waits in a deque as a note
under the iteration's number; the writer makes the columns of the schema out of both (`columns.py`). The engine's thread
appends, the writer's takes; each counter is written by one of them only.
"""

from __future__ import annotations

import struct
from collections import deque
from typing import Any

import numpy as np
import numpy.typing as npt

# Packed for every iteration, as they stand. Left core: the last return out of the scheduler before this schedule().
READINGS = (
    "left_core_ns", "called_ns", "returned_ns", "free_blocks",
    "update_called_ns", "update_returned_ns", "delivered_tokens", "free_blocks_after", "own_ns",
)  # fmt: skip
# A note, in iterations where something happened: flows, zero where there is no note, ...
FLOWS = (
    "arrived_requests", "new_requests", "resumed_requests", "preempted_requests", "left_running_requests",
    "left_waiting_requests", "prefilling_requests", "prefill_tokens", "speculative_tokens", "recomputed_tokens",
    "cached_tokens",
)  # fmt: skip
# ... and levels, which stay until the next note (but live tokens grow by the scheduled ones in each iteration).
LEVELS = (
    "running_requests", "queued_requests", "deferred_requests", "scheduled_requests", "scheduled_tokens",
    "kv_blocks_cached_free", "kv_blocks_shared", "kv_tokens_live",
)  # fmt: skip

RING_ROWS, CHECK_ROWS = 32_768, 1_024  # 2.4 MB, more than two seconds of steps of 85 µs; how often room is looked for
_ROW = struct.Struct(f"{len(READINGS)}q")
ROW_BYTES = _ROW.size
pack_row = _ROW.pack_into


class WriterBehindError(RuntimeError):
    """The disk did not take the rows in time; the probe gives up rather than hold up the engine."""


class Recorder:
    """Rows on their way to the writer. The hook packs into `ring` itself: a call would cost as much again."""

    def __init__(self) -> None:
        self.kv_blocks = 0  # what `free_blocks` is subtracted from
        self.ring = bytearray(RING_ROWS * ROW_BYTES)
        self._matrix: npt.NDArray[np.int64] = np.frombuffer(self.ring, dtype=np.int64).reshape(RING_ROWS, -1)
        self.appended = 0  # whole rows, ever; written by the engine's thread
        self.taken = 0  # rows taken out, ever; written by the writer's thread
        self.changes: deque[tuple[int, ...]] = deque()  # (iteration, *FLOWS, *LEVELS), in order
        self.finished: deque[tuple[int, ...]] = deque()  # (iteration, requests its update finished), in order
        # Rows as they will stand in the tables of the same names.
        self.arrivals, self.requests, self.preemptions, self.telemetry = (deque[tuple[Any, ...]]() for _ in range(4))

    def take_iterations(self, most: int) -> npt.NDArray[np.int64]:
        """A copy of the oldest rows not taken yet, at most `most`, one row per iteration."""
        first = self.taken
        count = min(self.appended - first, most)
        rows: npt.NDArray[np.int64] = self._matrix[np.arange(first, first + count) % RING_ROWS]
        self.taken = first + count
        return rows


def take_until(notes: deque[tuple[int, ...]], iteration: int) -> list[tuple[int, ...]]:
    """The notes of iterations before `iteration`, out of a deque that another thread appends to."""
    taken = []
    while notes and notes[0][0] < iteration:
        taken.append(notes.popleft())
    return taken


def take_rows(rows: deque[tuple[Any, ...]], most: int) -> list[tuple[Any, ...]]:
    """At most `most` of the rows that wait in a deque another thread appends to."""
    return [rows.popleft() for _ in range(min(len(rows), most))]
