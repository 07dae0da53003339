"""What no engine can have done: values that would make every figure that follows from them wrong."""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

SIGNED = ("temperature_c",)
ANY_INTEGER = ("priority",)  # a client's own choice
MOST = 2**60  # of nanoseconds 36 years, of bytes an exbibyte: sums of a few stay within 64 bits
LIFE = ("arrival_ns", "queued_ns", "first_scheduled_ns", "first_token_ns", "last_token_ns", "finished_ns")
TOKEN_STEPS = ("first_token_iteration", "last_token_iteration")
POOL = ("kv_blocks_scheduled", "kv_blocks_cached_free", "kv_blocks_updated")


def impossible(table: str, rows: pa.Table, facts: dict[str, Any]) -> str | None:
    """One clause about the first value that cannot be; None where all can."""
    return next(_impossible(table, rows, facts), None) if rows.num_rows else None


def _impossible(table: str, rows: pa.Table, facts: dict[str, Any]) -> Iterator[str]:
    for field in rows.schema:
        yield from _out_of_range(field, rows[field.name])
    if table == "iterations":
        yield from _steps(rows, facts["kv"]["blocks"])
    elif table == "requests":
        yield from _lives(rows)
    elif table == "telemetry" and _falls(rows["time_ns"]):
        yield "time_ns falls from one row to the next"


def _out_of_range(field: pa.Field, values: pa.ChunkedArray) -> Iterator[str]:
    if pa.types.is_list(field.type):
        values = pc.list_flatten(values)
    if pa.types.is_integer(values.type) and field.name not in ANY_INTEGER:
        ends = pc.min_max(values).as_py()
        if (ends["min"] or 0) < 0 and field.name not in SIGNED:
            yield f"{field.name} is {ends['min']:,}"
        if (ends["max"] or 0) > MOST:
            yield f"{field.name} is {ends['max']:,}"


def _steps(rows: pa.Table, blocks: int) -> Iterator[str]:
    if not np.array_equal(rows["iteration"].to_numpy(), np.arange(rows.num_rows)):
        yield "iteration does not count the rows"
    if _falls(rows["start_ns"]):
        yield "start_ns falls from one row to the next"
    if _falls(_sum(rows, "start_ns", "schedule_ns", "execute_ns", "update_ns")):
        yield "an update ends before the one before it"
    for name in POOL:
        if (most := pc.max(rows[name]).as_py()) > blocks:
            yield f"{name} is {most:,}, the pool has {blocks:,} blocks"
    told = _sum(rows, "prefill_tokens", "decode_tokens", "speculative_tokens")
    if not pc.all(pc.equal(told, rows["scheduled_tokens"])).as_py():
        yield "scheduled_tokens is not the sum of its parts"


def _lives(rows: pa.Table) -> Iterator[str]:
    for before, after in pairwise(LIFE):
        if (pc.min(pc.subtract(rows[after], rows[before])).as_py() or 0) < 0:
            yield f"{after} is before {before}"
    for places, counts in (("run_starts", "run_lengths"), ("burst_iterations", "burst_tokens")):
        if not pc.all(pc.equal(pc.list_value_length(rows[places]), pc.list_value_length(rows[counts]))).as_py():
            yield f"{places} and {counts} differ in number"
    told = _sums(rows["run_lengths"]) + _sums(rows["burst_tokens"]) - _counts(rows["burst_tokens"])
    if (told > rows["output_tokens"].to_numpy()).any():
        yield "stretches hold more tokens than were generated"


def without_lost_steps(requests: pa.Table, steps: int) -> tuple[pa.Table, int]:
    """Take the token times off requests that got tokens in steps which are not there; return how many these are."""
    known = np.ones(requests.num_rows, dtype=bool)
    for places, lengths in (("run_starts", "run_lengths"), ("burst_iterations", None)):
        owners = np.repeat(np.arange(requests.num_rows), _counts(requests[places]))
        last = pc.list_flatten(requests[places]).to_numpy()
        if lengths is not None:
            last = last + pc.list_flatten(requests[lengths]).to_numpy() - 1
        known[owners[last >= steps]] = False
    for name in TOKEN_STEPS:
        known &= pc.fill_null(requests[name], -1).to_numpy() < steps
    lost = int((~known).sum())
    for index, field in enumerate(requests.schema if lost else ()):
        if pa.types.is_list(field.type) or field.name in TOKEN_STEPS:
            nothing = pa.scalar([] if pa.types.is_list(field.type) else None, field.type)
            requests = requests.set_column(index, field, pc.if_else(pa.array(known), requests[field.name], nothing))
    return requests, lost


def _falls(values: pa.ChunkedArray) -> bool:
    """Whether any value is less than the one before it."""
    return bool((np.diff(values.to_numpy()) < 0).any())


def _sum(rows: pa.Table, *names: str) -> pa.ChunkedArray:
    return reduce(pc.add, (rows[name] for name in names))


def _counts(lists: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    counts: npt.NDArray[np.int64] = pc.list_value_length(lists).to_numpy().astype(np.int64)
    return counts


def _sums(lists: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """Of each list."""
    ends = np.cumsum(_counts(lists))
    total = np.r_[0, np.cumsum(pc.list_flatten(lists).to_numpy().astype(np.int64))]
    return np.diff(total[np.r_[0, ends]])
