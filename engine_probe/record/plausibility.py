"""Checks for values that no engine can produce; every figure computed from them would be wrong."""

from collections.abc import Iterator
from functools import reduce
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from engine_probe.record.schema import AnswerOutcome

SIGNED = ("temperature_c",)
ANY_INTEGER = ("priority",)  # a client may choose any
LARGEST = 2**60  # 36 years of nanoseconds, an exbibyte of bytes; sums of a few such values fit 64 bits
REQUEST_TIMES = ("arrival_ns", "queued_ns", "first_scheduled_ns", "first_token_ns", "last_token_ns", "finished_ns")
TOKEN_STEPS = ("first_token_iteration", "last_token_iteration")
MOST_GRAPH_MODE = 2
POOL_COLUMNS = ("kv_blocks_scheduled", "kv_blocks_cached_free", "kv_blocks_updated")


def first_impossible_value(table: str, rows: pa.Table, facts: dict[str, Any]) -> str | None:
    """Describe the first impossible value in one clause; None if there is none."""
    return next(_impossible_values(table, rows, facts), None) if rows.num_rows else None


def _impossible_values(table: str, rows: pa.Table, facts: dict[str, Any]) -> Iterator[str]:
    for field in rows.schema:
        yield from _values_out_of_range(field, rows[field.name])
    if table == "iterations":
        yield from _impossible_steps(rows, facts["kv"]["blocks"])
    elif table == "requests":
        yield from _impossible_requests(rows)
    elif table == "telemetry" and _decreases(rows["time_ns"]):
        yield "time_ns falls from one row to the next"
    elif table == "workers" and (code := pc.max(rows["graph_mode"]).as_py() or 0) > MOST_GRAPH_MODE:
        yield f"graph_mode is {code:,}"
    elif table == "answers":
        yield from _impossible_answers(rows)


def _values_out_of_range(field: pa.Field, values: pa.ChunkedArray) -> Iterator[str]:
    if pa.types.is_list(field.type):
        values = pc.list_flatten(values)
    if pa.types.is_integer(values.type) and field.name not in ANY_INTEGER:
        ends = pc.min_max(values).as_py()
        if (ends["min"] or 0) < 0 and field.name not in SIGNED:
            yield f"{field.name} is {ends['min']:,}"
        if (ends["max"] or 0) > LARGEST:
            yield f"{field.name} is {ends['max']:,}"


def _impossible_steps(rows: pa.Table, blocks: int) -> Iterator[str]:
    if not np.array_equal(rows["iteration"].to_numpy(), np.arange(rows.num_rows)):
        yield "iteration does not count the rows"
    if _decreases(rows["start_ns"]):
        yield "start_ns falls from one row to the next"
    if _decreases(_sum(rows, "start_ns", "schedule_ns", "execute_ns", "update_ns")):
        yield "an update ends before the one before it"
    for name in POOL_COLUMNS:
        if (most := pc.max(rows[name]).as_py()) > blocks:
            yield f"{name} is {most:,}, the pool has {blocks:,} blocks"
    tokens = _sum(rows, "prefill_tokens", "decode_tokens", "speculative_tokens")
    if not pc.all(pc.equal(tokens, rows["scheduled_tokens"])).as_py():
        yield "scheduled_tokens is not the sum of its parts"


def _impossible_requests(rows: pa.Table) -> Iterator[str]:
    for before, after in pairwise(REQUEST_TIMES):
        if (pc.min(pc.subtract(rows[after], rows[before])).as_py() or 0) < 0:
            yield f"{after} is before {before}"
    for iterations, counts in (("run_starts", "run_lengths"), ("burst_iterations", "burst_tokens")):
        if not pc.all(pc.equal(pc.list_value_length(rows[iterations]), pc.list_value_length(rows[counts]))).as_py():
            yield f"{iterations} and {counts} differ in number"
    tokens = _sums(rows["run_lengths"]) + _sums(rows["burst_tokens"]) - _counts(rows["burst_tokens"])
    if (tokens > rows["output_tokens"].to_numpy()).any():
        yield "stretches hold more tokens than were generated"


def _impossible_answers(rows: pa.Table) -> Iterator[str]:
    outcomes = pc.is_in(rows["outcome"], pa.array([str(outcome) for outcome in AnswerOutcome]))
    if not pc.all(outcomes).as_py():
        yield f"outcome is {rows['outcome'].filter(pc.invert(outcomes))[0].as_py()!a}"
    lengths = pc.list_value_length(rows["token_ids"])
    for name in ("logprobs", "second_token_ids", "second_logprobs"):
        if pc.any(pc.not_equal(pc.list_value_length(rows[name]), lengths)).as_py():
            yield f"token_ids and {name} differ in number"


def without_lost_steps(requests: pa.Table, steps: int) -> tuple[pa.Table, int]:
    """Remove the token times of requests with tokens in steps beyond the table; return how many requests these are."""
    is_complete = np.ones(requests.num_rows, dtype=bool)
    for iterations, lengths in (("run_starts", "run_lengths"), ("burst_iterations", None)):
        owners = np.repeat(np.arange(requests.num_rows), _counts(requests[iterations]))
        last = pc.list_flatten(requests[iterations]).to_numpy()
        if lengths is not None:
            last = last + pc.list_flatten(requests[lengths]).to_numpy() - 1
        is_complete[owners[last >= steps]] = False
    for name in TOKEN_STEPS:
        is_complete &= pc.fill_null(requests[name], -1).to_numpy() < steps
    lost = int((~is_complete).sum())
    for index, field in enumerate(requests.schema if lost else ()):
        if pa.types.is_list(field.type) or field.name in TOKEN_STEPS:
            empty = pa.scalar([] if pa.types.is_list(field.type) else None, field.type)
            column = pc.if_else(pa.array(is_complete), requests[field.name], empty)
            requests = requests.set_column(index, field, column)
    return requests, lost


def _decreases(values: pa.ChunkedArray) -> bool:
    """Return whether any value is less than the one before it."""
    return bool((np.diff(values.to_numpy()) < 0).any())


def _sum(rows: pa.Table, *names: str) -> pa.ChunkedArray:
    return reduce(pc.add, (rows[name] for name in names))


def _counts(lists: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    counts: npt.NDArray[np.int64] = pc.list_value_length(lists).to_numpy().astype(np.int64)
    return counts


def _sums(lists: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    ends = np.cumsum(_counts(lists))
    total = np.r_[0, np.cumsum(pc.list_flatten(lists).to_numpy().astype(np.int64))]
    return np.diff(total[np.r_[0, ends]])
