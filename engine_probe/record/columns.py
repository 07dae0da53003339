"""The columns of `iterations`, computed by the writer from the hot path's readings and notes."""

from typing import Any

import numpy as np
import numpy.typing as npt

from engine_probe.record.recorder import FLOWS, LEVELS, READINGS
from engine_probe.record.schema import SCHEMAS

Column = npt.NDArray[np.int64]
Notes = list[tuple[int, ...]]


class Expander:
    """Expands batches in their order; remembers the last note, whose levels hold until the next one."""

    def __init__(self) -> None:
        self._next = 0
        self._last_note = (0,) * (1 + len(FLOWS) + len(LEVELS))

    def expand(self, rows: Column, changes: Notes, finished: Notes, kv_blocks: int) -> dict[str, Column]:
        """Return the columns of the next `len(rows)` iterations."""
        count, first = len(rows), self._next
        iterations = np.arange(first, first + count)
        raw: dict[str, Column] = dict(zip(READINGS, rows.T, strict=True))
        after_update = raw["update_noted_ns"] - raw["update_returned_ns"]
        flows = dict(zip(FLOWS, scatter(changes, first, count, len(FLOWS)), strict=True))
        notes = np.array([self._last_note, *changes], dtype=np.int64)
        since = notes[np.searchsorted(notes[:, 0], iterations, side="right") - 1]
        levels: dict[str, Column] = dict(zip(LEVELS, since.T[1 + len(FLOWS) :], strict=True))
        self._next, self._last_note = first + count, changes[-1] if changes else self._last_note
        return {
            **flows,
            **levels,
            "iteration": iterations,
            "start_ns": raw["called_ns"],
            "gap_ns": raw["called_ns"] - raw["left_core_ns"],
            "schedule_ns": raw["returned_ns"] - raw["called_ns"],
            "execute_ns": raw["update_called_ns"] - raw["returned_ns"],
            "update_ns": raw["update_returned_ns"] - raw["update_called_ns"],
            "waiting_requests": levels["queued_requests"] - levels["deferred_requests"],
            "finished_requests": scatter(finished, first, count, 1)[0],
            "decode_tokens": levels["scheduled_requests"] - flows["prefilling_requests"],
            "output_tokens": raw["delivered_tokens"],
            "kv_blocks_scheduled": kv_blocks - raw["free_blocks"],
            "kv_blocks_updated": kv_blocks - raw["free_blocks_after"],
            "kv_tokens_live": levels["kv_tokens_live"] + (iterations - since[:, 0]) * levels["scheduled_tokens"],
            "probe_ns": raw["noted_ns"] - raw["returned_ns"] + after_update + raw["events_ns"],
        }


def scatter(notes: Notes, first: int, count: int, width: int) -> Column:
    """Turn the first `width` values of notes (iteration, values ...) into columns, zero where there is no note."""
    dense = np.zeros((width, count), dtype=np.int64)
    if notes:
        table = np.array(notes, dtype=np.int64)
        dense[:, table[:, 0] - first] = table[:, 1 : width + 1].T
    return dense


def narrow(columns: dict[str, Column]) -> list[npt.NDArray[Any]]:
    """Return the columns in the order and types of the schema; raise OverflowError for a value that does not fit."""
    narrowed: list[npt.NDArray[Any]] = []
    for field in SCHEMAS["iterations"]:
        wide = columns[field.name]
        narrowed.append(np.ascontiguousarray(wide.astype(field.type.to_pandas_dtype())))
        if not np.array_equal(narrowed[-1], wide):
            raise OverflowError(f"iterations.{field.name} holds a value beyond {field.type}")
    return narrowed
