"""The summary of one run: its figures, how stable they are, and what the probe cost."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from engine_probe.analysis.batch.prediction_interval import interval, log_widths
from engine_probe.analysis.batch.step_prices import step_sample
from engine_probe.analysis.money.prices import Prices
from engine_probe.analysis.money.run_costs import NO_PRICES, RunCosts
from engine_probe.analysis.money.work import NO_GPUS, GpuUse, Work
from engine_probe.analysis.run.after_warm_up import AfterWarmUp, after_warm_up, within
from engine_probe.analysis.run.goodput import Goodput, goodput
from engine_probe.analysis.run.latencies import (
    LATENCIES,
    answered,
    is_answered,
    makespan_seconds,
    prefill_rates,
    request_rows,
    without_further,
)
from engine_probe.analysis.run.latency_figures import ByName, LatencyFigures, milliseconds_text
from engine_probe.analysis.run.near_peak import NearPeak, near_peak
from engine_probe.analysis.run.prefix_cache import PrefixCache, prefix_cache
from engine_probe.analysis.run.slo import Slo
from engine_probe.analysis.run.success import Success, success
from engine_probe.analysis.run.timeline import highest_rate
from engine_probe.analysis.run.token_times import TimeSpan, update_end_ns, waiting_requests
from engine_probe.analysis.statistics.arrays import Integers
from engine_probe.analysis.statistics.sample import Sample
from engine_probe.analysis.statistics.student import Interval
from engine_probe.analysis.step.losses import recomputed_share
from engine_probe.analysis.step.operators import LeftOut, left_out_time, profiled_span, profiled_steps
from engine_probe.notebook_view import NotebookView
from engine_probe.record.schema import NO_ANSWERS


class UncountedMeasurement(msgspec.Struct, frozen=True):
    """One measurement, as `run.json` holds it."""

    running: Annotated[int, msgspec.Meta(ge=1)]
    ns: float
    half_width_ns: float


@dataclass(frozen=True)
class UncountedCost:
    """What the probe cost beside what its own clock counted, by `engine_probe overhead` on the same machine."""

    running: int  # requests, of the measurement nearest to the run
    ns: float  # per step
    half_width_ns: float  # of its 95 % interval
    share: float  # of the whole time of this run
    half_width: float


@dataclass(frozen=True)
class Summary(ByName, NotebookView):
    """The figures of a run, all counted in the recording; what it does not show is None.

    Latencies have their names in `vllm bench`: `summary.ttft.p50_ms`, and likewise tpot, itl, e2el, queue, prefill,
    decode.
    """

    status: str
    notes: tuple[str, ...]
    iterations: int
    seconds: float
    requests_answered: int  # with all their sequences
    sequences_answered: int  # more than the requests where one asked for several (n > 1); latencies are of sequences
    requests_other: dict[str, int]  # aborted and failed, by vLLM's finish reason
    success: Success | None  # how many of those that had the time for it were answered; None if that is not known
    output_tokens: int
    prompts_answered: int  # in at least one of their sequences
    prompt_tokens: int  # of these prompts
    answer_tokens: int  # of answered requests
    output_tokens_per_s: float
    highest_output_tokens_per_s: float | None  # in any 0.2 s of the run; None if it is shorter
    total_tokens_per_s: float  # prompt and output tokens of answered requests
    requests_per_s: float
    makespan_seconds: float | None  # first arrival to last answer; None unless all requests came at once, all answered
    step: LatencyFigures
    shares: dict[str, float]  # of the whole time: schedule, execute, update, outside
    mean_running: float
    peak_running: int
    peak_waiting: int
    mean_kv_share: float
    peak_kv_share: float
    preemptions: int
    recomputed_share: float  # of all scheduled tokens
    prefix_cache: PrefixCache | None  # None if it is off
    near_peak: NearPeak | None  # None with too few steps near peak concurrency
    latencies: tuple[LatencyFigures, ...]
    prefill_tokens_per_s: float | None  # of the median request: prompt tokens that were computed / prefill time
    goodput: Goodput | None  # None unless limits were named
    after_warm_up: AfterWarmUp | None  # None for a burst, and for a run that is too short
    after_warm_up_latencies: tuple[LatencyFigures, ...]  # of requests that arrived after the warm-up
    probe_share: float  # of the whole time, by the probe's own clock
    probe_median_ns: float  # per step, by the probe's own clock
    probe_uncounted: UncountedCost | None  # None if it is not measured on that machine
    gpus: GpuUse
    prices: Prices = NO_PRICES  # energy needs none
    within: Mapping[str, float] = field(
        default_factory=dict
    )  # half the 90 % interval of a predicted figure's logarithm, by name

    def interval(self, figure: str, value: float | None) -> Interval | None:
        """Return the interval of a predicted figure: "output tokens/s" or "TTFT p50". None if it was measured."""
        return None if value is None else interval(self.within, figure, value)

    @property
    def tokens_per_prompt(self) -> float | None:
        """Return the mean length of answered prompts. None if none was answered."""
        return self.prompt_tokens / self.prompts_answered if self.prompts_answered else None

    @property
    def tokens_per_answer(self) -> float | None:
        """Return the mean length of answers, of which a request may have several. None if none was given."""
        return self.answer_tokens / self.sequences_answered if self.sequences_answered else None

    @property
    def work(self) -> Work:
        """Return what the run did and took, on which its costs depend."""
        latency = self.e2el.mean_ns
        return Work(
            output_tokens_per_s=self.answer_tokens / self.seconds,
            input_tokens_per_s=self.prompt_tokens / self.seconds,
            requests_per_s=self.requests_per_s,
            latency_s=None if latency is None else latency / 1e9,
            gpus=self.gpus,
            made_tokens_per_s=self.output_tokens / self.seconds,
            ended_requests_per_s=(self.requests_answered + sum(self.requests_other.values())) / self.seconds,
        )

    @property
    def costs(self) -> RunCosts:
        return RunCosts(self.work, self.prices)

    def __repr__(self) -> str:
        return (
            f"<Summary ({self.status}): {self.requests_answered:,} requests answered in "
            f"{self.seconds:.1f} s, {self.output_tokens_per_s:,.1f} output tokens/s; "
            f"TTFT p50 {milliseconds_text(self.ttft.p50_ms)}, TPOT p50 {milliseconds_text(self.tpot.p50_ms)}; "
            f"KV at most {self.peak_kv_share:.0%}, {self.preemptions:,} preemptions>"
        )


def judged(
    summary: Summary, slo: Slo, facts: dict[str, Any], iterations: pa.Table, requests: pa.Table, answers: pa.Table
) -> Summary:
    """Add the prices of an SLO and, if it has limits, the goodput."""
    summary = replace(summary, prices=slo.price_list or NO_PRICES)
    if slo.is_empty:
        return summary
    measured, profiled = without_further(facts, requests), profiled_span(facts, iterations)
    return replace(summary, goodput=goodput(measured, summary.seconds, slo, profiled, answers, summary.costs))


def summarise(
    facts: dict[str, Any],
    status: str,
    notes: list[str],
    iterations: pa.Table,
    requests: pa.Table,
    answers: pa.Table = NO_ANSWERS,
    gpus: GpuUse = NO_GPUS,
) -> Summary:
    """Summarise the tables of a run that is at least one iteration long."""
    column, ends = {name: iterations[name].to_numpy() for name in iterations.column_names}, update_end_ns(iterations)
    whole_ns, profiled = int(ends[-1]) - int(column["start_ns"][0]), profiled_span(facts, iterations)
    seconds, measured = whole_ns / 1e9, without_further(facts, requests)
    rates, near, later = throughput(iterations, requests, left_out_time(iterations, profiled))
    running, blocks = column["running_requests"], (column["kv_blocks_scheduled"], column["kv_blocks_updated"])
    return Summary(
        status=status,
        notes=tuple(notes),
        iterations=iterations.num_rows,
        seconds=seconds,
        sequences_answered=answered(requests).num_rows,
        requests_other=count_others(measured),
        success=success(facts, requests, answers),
        output_tokens=int(column["output_tokens"].sum()),
        **request_totals(requests)._asdict(),
        **rates._asdict(),
        makespan_seconds=makespan_seconds(measured),
        step=step_figures(iterations, profiled),
        shares=time_shares(column, whole_ns),
        mean_running=mean_over_time(running, running - column["finished_requests"], column["start_ns"], ends),
        peak_running=int(running.max()),
        peak_waiting=int(waiting_requests(iterations).max()),
        mean_kv_share=mean_over_time(*blocks, column["start_ns"], ends) / facts["kv"]["blocks"],
        peak_kv_share=int(column["kv_blocks_scheduled"].max()) / facts["kv"]["blocks"],
        preemptions=int(column["preempted_requests"].sum()),
        recomputed_share=recomputed_share(iterations),
        prefix_cache=prefix_cache(facts, iterations, requests),
        near_peak=near,
        latencies=latencies(iterations, measured, profiled),
        prefill_tokens_per_s=prefill_rates(answered(measured), profiled).percentiles((50,))[0],
        goodput=None,
        after_warm_up=later,
        after_warm_up_latencies=latencies(iterations, measured, profiled, later.window) if later else (),
        **probe_costs(facts, column, whole_ns),
        gpus=gpus,
        within=predicted_within(facts, iterations, requests),
    )


def probe_costs(facts: dict[str, Any], column: dict[str, npt.NDArray[Any]], whole_ns: int) -> dict[str, Any]:
    """Return the cost of the probe: as it counted it in each step, and what it cannot count itself."""
    return {
        "probe_share": int(column["probe_ns"].sum()) / whole_ns,
        "probe_median_ns": float(np.median(column["probe_ns"])),
        "probe_uncounted": uncounted_cost(facts, column["running_requests"], whole_ns),
    }


def predicted_within(facts: dict[str, Any], iterations: pa.Table, requests: pa.Table) -> Mapping[str, float]:
    """Return half the intervals of what a twin predicted; nothing for a recording, and for bounds of a datasheet."""
    twin = facts.get("predicted")
    if twin is None or twin.get("bounds"):
        return {}
    return log_widths(twin["step_times"], step_sample(facts, iterations, requests))


class Rates(NamedTuple):
    """Rates over the whole run, and in the 0.2 s of it with most output tokens."""

    output_tokens_per_s: float
    total_tokens_per_s: float
    requests_per_s: float
    highest_output_tokens_per_s: float | None


def throughput(
    iterations: pa.Table, requests: pa.Table, left_out: LeftOut | None
) -> tuple[Rates, NearPeak | None, AfterWarmUp | None]:
    """Return the rates of the whole run, near its peak and after its warm-up, without what a window touches."""
    column = {name: iterations[name].to_numpy() for name in ("start_ns", "running_requests", "output_tokens")}
    begin, ends = int(column["start_ns"][0]), update_end_ns(iterations)
    if left_out is not None:
        column = {name: values[left_out.kept] for name, values in column.items()}
        ends = left_out.closed(pa.chunked_array([ends[left_out.kept]])).to_numpy()
        requests = left_out.without(requests)
    found = request_totals(requests)
    totals = (int(column["output_tokens"].sum()), found.prompt_tokens + found.answer_tokens, found.requests_answered)
    output, both, finished = (total / ((int(ends[-1]) - begin) / 1e9) for total in totals)
    rates = Rates(output, both, finished, highest_rate(begin, ends, column["output_tokens"]))
    later = after_warm_up(begin, ends, column["output_tokens"], answered(requests), requests)
    if later is not None and left_out is not None:
        later = replace(later, begin_ns=left_out.opened(later.begin_ns), end_ns=left_out.opened(later.end_ns))
    return rates, near_peak(column, ends), later


class RequestTotals(NamedTuple):
    requests_answered: int  # in all their sequences
    prompts_answered: int  # in at least one
    prompt_tokens: int
    answer_tokens: int


def request_totals(sequences: pa.Table) -> RequestTotals:
    rows, known = request_rows(sequences), is_answered(sequences)
    of_answers = sequences["output_tokens"].to_numpy()[known]
    of_prompts = sequences["prompt_tokens"].to_numpy()[np.unique(rows[known])]  # sequences share their prompt
    whole = len(np.unique(rows)) - len(np.unique(rows[~known]))
    return RequestTotals(whole, len(of_prompts), int(of_prompts.sum()), int(of_answers.sum()))


def mean_over_time(during: npt.NDArray[Any], after: npt.NDArray[Any], starts: Integers, ends: Integers) -> float:
    """Return the mean of a level over the whole time, given its value during each step and from its end to the next.

    Steps may overlap; then each counts up to the start of the next.
    """
    until = np.append(starts[1:], ends[-1])
    busy = np.minimum(ends, until) - starts
    idle = until - starts - busy
    return float((during @ busy + after @ idle) / (ends[-1] - starts[0]))


def uncounted_cost(facts: dict[str, Any], running: npt.NDArray[Any], whole_ns: int) -> UncountedCost | None:
    """Return the cost measured at the number of running requests closest, in proportion, to the mean of the steps."""
    try:
        known = msgspec.convert((facts.get("hardware") or {}).get("probe_uncounted", []), list[UncountedMeasurement])
    except (msgspec.ValidationError, AttributeError):  # a run.json from elsewhere
        return None
    if not known:
        return None
    ran = max(float(running.mean()), 1.0)
    nearest = min(known, key=lambda each: abs(math.log(each.running / ran)))
    shares = (ns * len(running) / whole_ns for ns in (nearest.ns, nearest.half_width_ns))
    return UncountedCost(nearest.running, nearest.ns, nearest.half_width_ns, *shares)


def time_shares(column: dict[str, npt.NDArray[Any]], whole_ns: int) -> dict[str, float]:
    """Return the shares of the time spent in schedule, execute and update, and outside the core."""
    spent = {name: int(column[f"{name}_ns"].sum()) for name in ("schedule", "execute", "update")}
    spent["outside"] = int(column["gap_ns"][1:].sum())
    return {name: ns / whole_ns for name, ns in spent.items()}


def step_figures(iterations: pa.Table, profiled: TimeSpan | None) -> LatencyFigures:
    ns = update_end_ns(iterations) - iterations["start_ns"].to_numpy()
    sample = Sample.of(ns[~profiled_steps(iterations, profiled)].astype(np.float64))
    return LatencyFigures.of("step", "schedule() to update's end", sample)


def latencies(
    iterations: pa.Table, requests: pa.Table, profiled: TimeSpan | None, arrived: TimeSpan | None = None
) -> tuple[LatencyFigures, ...]:
    """Return every latency of the answered requests (that arrived then), but those that the profiler touched."""
    whole = answered(requests if arrived is None else within(requests, "arrival_ns", arrived))
    samples = ((latency, latency.sample_ns(iterations, whole, profiled)) for latency in LATENCIES)
    return tuple(LatencyFigures.of(latency.name, latency.formula, sample) for latency, sample in samples)


def count_others(requests: pa.Table) -> dict[str, int]:
    """Count the requests with a sequence that ended otherwise than by an answer, by the reason."""
    others = requests.filter(~is_answered(requests))
    ended = set(zip(request_rows(others).tolist(), others["finish_reason"].to_pylist(), strict=True))
    return dict(Counter(reason for _, reason in ended))
