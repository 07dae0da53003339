"""Every latency of a request, declared once: name, unit, formula, function; and its phases as spans of time."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from engine_probe.analysis.run.token_times import TimeSpan, gap_sample
from engine_probe.analysis.statistics.arrays import Flags, Integers
from engine_probe.analysis.statistics.sample import Sample
from engine_probe.record.schema import ANSWERED
from engine_probe.workload.load import FURTHER

SEQUENCE = r"^\d+_.*-[0-9a-f]{8}$"  # vLLM's id of one of a request's sequences: its index, then the request's
PHASES = (
    ("queued", "queued_ns", "first_scheduled_ns"),
    ("prefill", "first_scheduled_ns", "first_token_ns"),
    ("decode", "first_token_ns", "last_token_ns"),
)
PREEMPTED = "preempted"


@dataclass(frozen=True)
class Latency:
    name: str
    meaning: str
    formula: str
    of_requests: Callable[[pa.Table], pa.ChunkedArray] | None  # ns of each request; None for a latency of tokens
    begin: str = "first_token_ns"  # the columns between which it lies
    end: str = "last_token_ns"

    def sample_ns(self, iterations: pa.Table, requests: pa.Table, without: TimeSpan | None = None) -> Sample:
        """Return the latencies of these answered requests; a request without one is left out.

        So is a latency that a time to leave out touches, in which a profiler ran.
        """
        if self.of_requests is None:
            return gap_sample(iterations, requests, without)
        untouched = outside(requests, self.begin, self.end, without)
        return Sample.of(pc.drop_null(self.of_requests(untouched)).to_numpy())


def outside(requests: pa.Table, begin: str, end: str, without: TimeSpan | None) -> pa.Table:
    """Return the requests whose time between two columns does not overlap `without`."""
    if without is None:
        return requests
    before = pc.less_equal(requests[end], without[0])
    return requests.filter(pc.or_(before, pc.greater_equal(requests[begin], without[1])))


def between(begin: str, end: str) -> Callable[[pa.Table], pa.ChunkedArray]:
    """Return a function for the time between two columns of the requests table."""

    def of_requests(requests: pa.Table) -> pa.ChunkedArray:
        return pc.subtract(requests[end], requests[begin])

    return of_requests


def time_per_output_token(requests: pa.Table) -> pa.ChunkedArray:
    decode = pc.cast(pc.subtract(requests["last_token_ns"], requests["first_token_ns"]), pa.float64())
    gaps = pc.subtract(requests["output_tokens"], 1)
    return pc.divide(decode, pc.if_else(pc.greater(gaps, 0), gaps, None))


def latency(name: str, meaning: str, formula: str, begin: str, end: str) -> Latency:
    return Latency(name, meaning, formula, between(begin, end), begin, end)


time_to_first_token = between("arrival_ns", "first_token_ns")
TTFT = latency("TTFT", "time to first token", "first token - arrival", "arrival_ns", "first_token_ns")
LATENCIES = (
    TTFT,
    Latency("TPOT", "time per output token", "decode / (tokens - 1)", time_per_output_token),
    Latency("ITL", "inter-token latency", "delivery - previous delivery", None),
    latency("E2EL", "end-to-end latency", "last token - arrival", "arrival_ns", "last_token_ns"),
    latency("queue", "time in the queue", "first step - queued", "queued_ns", "first_scheduled_ns"),
    latency("prefill", "prefill time", "first token - first step", "first_scheduled_ns", "first_token_ns"),
    latency("decode", "decode time", "last token - first token", "first_token_ns", "last_token_ns"),
)


def prefill_rates(requests: pa.Table, without: TimeSpan | None = None) -> Sample:
    """Return for each of these answered requests its prompt tokens per second of prefill, without cached tokens.

    A request whose prefill took no time that is known is left out.
    """
    whole = outside(requests, "first_scheduled_ns", "first_token_ns", without)
    seconds = pc.divide(pc.cast(pc.subtract(whole["first_token_ns"], whole["first_scheduled_ns"]), pa.float64()), 1e9)
    computed = pc.cast(pc.subtract(whole["prompt_tokens"], whole["cached_tokens"]), pa.float64())
    rates = pc.divide(computed, pc.if_else(pc.greater(seconds, 0), seconds, None))
    return Sample.of(pc.drop_null(rates).to_numpy())


def answered(requests: pa.Table) -> pa.Table:
    """Return the answered requests, without aborted and failed ones."""
    return requests.filter(is_answered(requests))


def makespan_seconds(requests: pa.Table) -> float | None:
    """Return the time from the first arrival of a burst to its last answer.

    None if a request arrived after the first token of another, or was not answered.
    """
    whole = answered(requests)
    if not requests.num_rows or whole.num_rows < requests.num_rows or requests["arrival_ns"].null_count:
        return None
    arrivals, last_token = pc.min_max(requests["arrival_ns"]).as_py(), pc.max(requests["last_token_ns"]).as_py()
    first_token = pc.min(requests["first_token_ns"]).as_py()
    if first_token is None or arrivals["max"] > first_token:
        return None
    seconds: float = (last_token - arrivals["min"]) / 1e9
    return seconds


def without_further(facts: dict[str, Any], requests: pa.Table) -> pa.Table:
    """Leave out the requests that only held the load to the end: of these, short answers alone were completed."""
    work = facts.get("workload")
    if not isinstance(work, dict) or not work.get("hold"):
        return requests
    return requests.filter(pc.invert(pc.starts_with(requests["request_id"], FURTHER)))


def is_answered(requests: pa.Table) -> Flags:
    known: Flags = pc.is_in(requests["finish_reason"], pa.array(ANSWERED)).to_numpy()
    return known


def request_rows(sequences: pa.Table) -> Integers:
    """Return for each row the first row of the same request.

    vLLM runs each of the n sequences that answer a request as a request of its own.
    """
    rows = np.arange(sequences.num_rows)
    several = np.flatnonzero(pc.match_substring_regex(sequences["request_id"], SEQUENCE).to_numpy())
    first: dict[str, int] = {}
    for row, name in zip(several.tolist(), sequences["request_id"].take(several).to_pylist(), strict=True):
        rows[row] = first.setdefault(name.partition("_")[2], row)
    return rows


def count_requests(sequences: pa.Table) -> int:
    return len(np.unique(request_rows(sequences)))


def request_spans(requests: pa.Table, preemptions: pa.Table, key: str) -> Iterator[tuple[str, pa.Table]]:
    """Yield each phase with its spans (key, begin_ns, end_ns); `key` is an integer column of requests.

    A phase without a recorded beginning is left out. A phase that an abort ended, or a preemption without a resumption,
    lasts until the scheduler freed the request.
    """
    for name, since, until in PHASES:
        begun = requests.filter(pc.is_valid(requests[since]))
        ends = pc.coalesce(begun[until], begun["finished_ns"])
        yield name, pa.table({key: begun[key], "begin_ns": begun[since], "end_ns": ends})
    keys = requests.select(["request_id", key, "finished_ns"])
    rows = preemptions.select(["request_id", "preempted_ns", "resumed_ns"]).join(keys, "request_id", join_type="inner")
    ends = pc.coalesce(rows["resumed_ns"], rows["finished_ns"])
    yield PREEMPTED, pa.table({key: rows[key], "begin_ns": rows["preempted_ns"], "end_ns": ends})
