"""The buffer between the engine's thread and the writer: bounded memory, constant work per iteration.

Every iteration appends one tuple of readings, a rare change a note. The engine's thread appends, the writer's takes.
"""

from collections import deque
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

# Read in every iteration. left_core_ns is the last return from the scheduler before this schedule(). The probe's own
# work after it ended at noted_ns, that after the update at update_noted_ns; on rare events it took events_ns.
READINGS = (
    "iteration", "left_core_ns", "called_ns", "returned_ns", "free_blocks", "noted_ns",
    "update_called_ns", "update_returned_ns", "delivered_tokens", "free_blocks_after", "events_ns", "update_noted_ns",
)  # fmt: skip
# A note holds flows, which are zero in iterations without a note ...
FLOWS = (
    "arrived_requests", "new_requests", "resumed_requests", "preempted_requests", "left_running_requests",
    "left_waiting_requests", "speculative_tokens", "prefilling_requests", "prefill_tokens", "recomputed_tokens",
    "cached_tokens", "connector_tokens",
)  # fmt: skip
# ... and levels, which hold until the next note (live tokens grow by the scheduled tokens of each iteration).
LEVELS = (
    "running_requests", "queued_requests", "deferred_requests", "scheduled_requests", "scheduled_tokens",
    "kv_blocks_cached_free", "kv_blocks_shared", "kv_tokens_live", "waiting_reason",
)  # fmt: skip

MOST_WAITING = 32_768  # rows, some 16 MB, two seconds of steps of 85 µs; then the probe stops, not the engine


class Recorder:
    """Holds rows until the writer takes them."""

    def __init__(self) -> None:
        self.kv_blocks = self.core_thread = 0  # blocks of the pool; the kernel's id of the engine's thread
        self.iterations: deque[tuple[int, ...]] = deque()  # READINGS of each iteration, in order
        self.taken = 0  # of them, ever
        self._last_taken = (-1,) * len(READINGS)
        self.followers: list[deque[npt.NDArray[np.int64]]] = []  # each gets all that is taken
        self.changes: deque[tuple[int, ...]] = deque()  # (iteration, *FLOWS, *LEVELS), in order
        self.finished: deque[tuple[int, ...]] = deque()  # (iteration, requests its update finished), in order
        self.arrivals, self.requests, self.preemptions = (deque[tuple[Any, ...]]() for _ in range(3))  # rows of ...
        self.telemetry, self.host_events, self.drafts, self.answers = (  # ... these tables
            deque[tuple[Any, ...]]() for _ in range(4)
        )

    def last_row(self) -> tuple[int, ...]:
        """Return the row that was appended last; the engine's thread may call this while the writer's takes rows."""
        try:
            return self.iterations[-1]
        except IndexError:
            return self._last_taken

    def take_iterations(self, most: int) -> npt.NDArray[np.int64]:
        """Take the oldest rows, at most `most`, as a matrix."""
        if count := min(len(self.iterations), most):
            self._last_taken = self.iterations[count - 1]  # before it is gone, for `last_row`
        rows = take_rows(self.iterations, count)
        self.taken += len(rows)
        size = len(rows) * len(READINGS)
        matrix = np.fromiter(chain.from_iterable(rows), np.int64, size).reshape(-1, len(READINGS))
        for follower in self.followers:
            follower.append(matrix)
        return matrix


def take_until(notes: deque[tuple[int, ...]], iteration: int) -> list[tuple[int, ...]]:
    """Take the notes of iterations before `iteration` from a deque that another thread appends to."""
    taken = []
    while notes and notes[0][0] < iteration:
        taken.append(notes.popleft())
    return taken


def take_rows(rows: deque[tuple[Any, ...]], most: int) -> list[tuple[Any, ...]]:
    """Take at most `most` rows from a deque that another thread appends to."""
    return [rows.popleft() for _ in range(min(len(rows), most))]
