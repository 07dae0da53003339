"""One run in a few figures that judge themselves: how many, how much they spread, and what watching cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from engine_probe.analysis.run.goodput import Goodput, goodput
from engine_probe.analysis.run.latencies import ANSWERED, LATENCIES, answered, mean_over_time
from engine_probe.analysis.run.latency_figures import ByName, LatencyFigures, milliseconds_text
from engine_probe.analysis.run.prefix_cache import PrefixCache, prefix_cache
from engine_probe.analysis.run.slo import Slo
from engine_probe.analysis.run.steady_state import SteadyState, steady_state, within
from engine_probe.analysis.run.token_times import update_end_ns, waiting_requests
from engine_probe.analysis.statistics.sample import Sample

SLICES = 10
UNSTABLE = 0.1  # half the quartile distance of the slices over their median
STEADY_SHARE = 0.9  # of the most requests that ever ran at once


@dataclass(frozen=True)
class Steadiness:
    """The part of the run in which (nearly) as many requests ran as ever: throughput in ten equal parts of it."""

    seconds: float
    output_tokens_per_s: float
    spread: float  # relative: half the quartile distance of the parts over their median

    @property
    def unstable(self) -> bool:
        return self.spread > UNSTABLE


@dataclass(frozen=True)
class Summary(ByName):
    """Every figure is counted in the recording; what the recording does not show is None.

    Latencies go by their names in `vllm bench`: `summary.ttft.p50_ms`, and so tpot, itl, e2el, queue, prefill, decode.
    """

    status: str
    notes: tuple[str, ...]
    iterations: int
    seconds: float
    requests_answered: int
    requests_other: dict[str, int]  # aborted and failed, by vLLM's word for it
    output_tokens: int
    prompt_tokens: int  # of answered requests
    answer_tokens: int  # of answered requests
    output_tokens_per_s: float
    total_tokens_per_s: float  # prompts and answers of answered requests
    requests_per_s: float
    step: LatencyFigures
    shares: dict[str, float]  # of the whole time: schedule, execute, update, gap
    mean_running: float
    peak_running: int
    peak_waiting: int
    mean_kv_share: float
    peak_kv_share: float
    preemptions: int
    recomputed_share: float  # of all scheduled tokens
    prefix_cache: PrefixCache | None  # None where it is off
    steadiness: Steadiness | None
    latencies: tuple[LatencyFigures, ...]
    goodput: Goodput | None  # None unless limits were named
    steady: SteadyState | None  # None where all came before any was answered, or in too short a time
    steady_latencies: tuple[LatencyFigures, ...]  # of requests that arrived in it; empty without it
    probe_share: float  # of the whole time
    probe_median_ns: float

    def __repr__(self) -> str:
        return (
            f"<Summary ({self.status}): {self.requests_answered:,} requests answered in "
            f"{self.seconds:.1f} s, {self.output_tokens_per_s:,.1f} output tokens/s; "
            f"TTFT p50 {milliseconds_text(self.ttft.p50_ms)}, TPOT p50 {milliseconds_text(self.tpot.p50_ms)}; "
            f"KV at most {self.peak_kv_share:.0%}, {self.preemptions:,} preemptions>"
        )

    def _repr_html_(self) -> str:
        from engine_probe.report.renderers.notebook import summary_html

        return summary_html(self)


def summarise(
    facts: dict[str, Any],
    status: str,
    notes: list[str],
    iterations: pa.Table,
    requests: pa.Table,
    slo: Slo | None = None,
) -> Summary:
    """Summarise the tables of a run that is at least one iteration long."""
    column = {name: iterations[name].to_numpy() for name in iterations.column_names}
    ends = update_end_ns(iterations)
    begin, end = int(column["start_ns"][0]), int(ends[-1])
    seconds = (end - begin) / 1e9
    steps_ns = (ends - column["start_ns"]).astype(np.float64)
    whole = answered(requests)
    output, scheduled = int(column["output_tokens"].sum()), int(column["scheduled_tokens"].sum())
    prompt, told = (pc.sum(whole[name]).as_py() or 0 for name in ("prompt_tokens", "output_tokens"))
    blocks = facts["kv"]["blocks"]
    steady = steady_state(begin, ends, column["output_tokens"], whole, requests)
    return Summary(
        status=status,
        notes=tuple(notes),
        iterations=iterations.num_rows,
        seconds=seconds,
        requests_answered=whole.num_rows,
        requests_other=count_others(requests),
        output_tokens=output,
        prompt_tokens=prompt,
        answer_tokens=told,
        output_tokens_per_s=output / seconds,
        total_tokens_per_s=(told + prompt) / seconds,
        requests_per_s=whole.num_rows / seconds,
        step=LatencyFigures.of("step", "schedule() to update's end", Sample.of(steps_ns)),
        shares=time_shares(column, end - begin),
        mean_running=mean_over_time(iterations["running_requests"], steps_ns),
        peak_running=int(column["running_requests"].max()),
        peak_waiting=int(waiting_requests(iterations).max()),
        mean_kv_share=mean_over_time(iterations["kv_blocks_scheduled"], steps_ns) / blocks,
        peak_kv_share=int(column["kv_blocks_scheduled"].max()) / blocks,
        preemptions=int(column["preempted_requests"].sum()),
        recomputed_share=int(column["recomputed_tokens"].sum()) / scheduled if scheduled else 0.0,
        prefix_cache=prefix_cache(facts, iterations, requests),
        steadiness=steadiness(column, ends),
        latencies=latencies(iterations, whole),
        goodput=goodput(requests, seconds, slo) if slo else None,
        steady=steady,
        steady_latencies=latencies(iterations, within(whole, "arrival_ns", steady.window)) if steady else (),
        probe_share=int(column["probe_ns"].sum()) / (end - begin),
        probe_median_ns=float(np.median(column["probe_ns"])),
    )


def time_shares(column: dict[str, npt.NDArray[Any]], whole_ns: int) -> dict[str, float]:
    """Return which shares of the time went into schedule, execute and update, and which passed outside the core."""
    spent = {name: int(column[f"{name}_ns"].sum()) for name in ("schedule", "execute", "update")}
    spent["outside"] = int(column["gap_ns"][1:].sum())
    return {name: ns / whole_ns for name, ns in spent.items()}


def latencies(iterations: pa.Table, whole: pa.Table) -> tuple[LatencyFigures, ...]:
    """Of requests that were answered."""
    samples = ((latency, latency.sample_ns(iterations, whole)) for latency in LATENCIES)
    return tuple(LatencyFigures.of(latency.name, latency.formula, sample) for latency, sample in samples)


def count_others(requests: pa.Table) -> dict[str, int]:
    reasons = requests["finish_reason"].value_counts().to_pylist()
    return {row["values"]: row["counts"] for row in reasons if row["values"] not in ANSWERED}


def steadiness(column: dict[str, npt.NDArray[Any]], ends: npt.NDArray[np.int64]) -> Steadiness | None:
    """None where the plateau is too short to be cut into ten parts of several iterations."""
    running = column["running_requests"]
    full = np.flatnonzero(running >= STEADY_SHARE * running.max())
    first, last = int(full[0]), int(full[-1])
    if last - first < 3 * SLICES:
        return None
    # Tokens up to a moment, between two iterations as if they came evenly.
    moments = np.linspace(ends[first], ends[last], SLICES + 1)
    tokens = np.interp(moments, ends[first : last + 1], np.cumsum(column["output_tokens"][first : last + 1]))
    seconds = (int(ends[last]) - int(ends[first])) / 1e9
    rates = Sample.of(np.diff(tokens) / (seconds / SLICES))
    (median,) = rates.percentiles((50,))
    if not median:
        return None
    return Steadiness(seconds, float(tokens[-1] - tokens[0]) / seconds, (rates.spread() or 0.0) / median)
