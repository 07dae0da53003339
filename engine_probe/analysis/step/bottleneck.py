"""The bottleneck of a run, step by step: what kept requests waiting, or else which part of the step took longest.

What requests waited for is in `waiting.py`. A step can have several such limits, and raising one of them alone then
admits no request. The share of a step's tokens that is computed again after a preemption is charged to the KV pool: it
displaces as many tokens of requests that wait. If no request waits, the longer part of the step sets the pace: the
host's (schedule, update, and between them) or the model's. An asynchronous engine overlaps the two, and only device
times can separate them. If the hardware's ceilings are known, a step of the model near one of them is limited by
compute or by memory bandwidth. Of a predicted step the terms of its time are known, and the longest one sets the pace.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from engine_probe.analysis.run.token_times import waiting_requests
from engine_probe.analysis.statistics.arrays import Flags, Integers, Reals
from engine_probe.analysis.step.ceiling_use import BY_COMPUTE, BY_MEMORY, NEAR
from engine_probe.analysis.step.step_time import busy_ns, device_ns
from engine_probe.analysis.step.waiting import waiting
from engine_probe.record.schema import WaitingReason as Reason


@dataclass(frozen=True)
class Limit:
    name: str
    meaning: str
    rule: str
    waited_for: str = ""  # in a sentence; empty for a limit that sets the pace while no request waits


PREDICTED_RULE = "; predicted: its term is the longest"
# Rules name columns of the step's row and limits in run.json.
LIMITS = (
    Limit(
        "KV blocks",
        "too few blocks were free, or tokens lost to a preemption were recomputed",
        "waiting_reason, or before version 5: preempted > 0, or free blocks < blocks of the next request; of other "
        "steps, the recomputed share",
        "KV blocks",
    ),
    Limit(
        "max_num_seqs",
        "the batch was full",
        "waiting > 0 and running = max_num_seqs",
        "a place in the batch (max_num_seqs)",
    ),
    Limit(
        "max_num_active_seqs",
        "the maximum number of active requests was reached",
        "waiting > 0 and running = max_num_active_seqs < max_num_seqs",
        "active requests to end (max_num_active_seqs)",
    ),
    Limit(
        "token budget",
        "the step's token budget was used up",
        "waiting > 0 and scheduled = max_num_batched_tokens",
        "the token budget of a step (max_num_batched_tokens)",
    ),
    Limit(
        "watermark",
        "free blocks were kept for running requests",
        "waiting_reason",
        "blocks that the watermark keeps free",
    ),
    Limit(
        "draft slots",
        "the rest of the token budget was kept for draft tokens",
        "waiting_reason",
        "places for draft tokens in a step",
    ),
    Limit("prefill interval", "vLLM held prefills back", "waiting_reason", "a step in which prefills are let in"),
    Limit("pause", "the engine was paused", "waiting_reason", "the end of a pause"),
    Limit("encoder", "the encoder's budget or cache was used up", "waiting_reason", "the encoder"),
    Limit("deferral", "vLLM held requests back", "deferred > 0", "a grammar, remote KV or a LoRA slot"),
    Limit(
        "unknown",
        "the recording does not show why requests waited",
        "waiting_reason, or before version 5: waiting > 0, and no other limit was met",
        "an unknown reason",
    ),
    Limit(
        "host", "the host took longer than the model", f"execute (device, if timed) is the shorter part{PREDICTED_RULE}"
    ),
    Limit(
        "model", "the model took longer than the host", f"execute is the longer part, near no ceiling{PREDICTED_RULE}"
    ),
    Limit("compute", "matrix products took longest", f"model, {NEAR:.0%} of it at the compute ceiling{PREDICTED_RULE}"),
    Limit(
        "memory bandwidth", "moving weights and KV took longest", f"model, {NEAR:.0%} of it at the bandwidth ceiling"
    ),
    Limit("host or model", "steps overlap, and no device was timed", "asynchronous engine, no device times"),
    Limit(
        "reading weights",
        "reading weights took longest",
        "predicted: reading is longer than computing and than collectives, and weights are the larger part of it",
    ),
    Limit(
        "reading KV cache",
        "reading the KV cache took longest",
        "predicted: the same with the KV cache as the larger part; of measured kernels, longer than all others",
    ),
    Limit("links between GPUs", "collectives took longest", "predicted: collectives are the longest term"),
)
NAMED_IDLE = 0.005  # less would read as 0 %
NAMES = tuple(limit.name for limit in LIMITS)
KV, DEFERRAL, UNKNOWN = map(NAMES.index, ("KV blocks", "deferral", "unknown"))
HOST, MODEL, COMPUTE, BANDWIDTH, PACE, WEIGHT_READING, KV_READING, LINKS = range(UNKNOWN + 1, len(LIMITS))
WAITED_FOR = {limit.name: limit.waited_for for limit in LIMITS if limit.waited_for}
AND = " + "
NAMED = 0.05  # of the busy time: a smaller share is left to the table


@dataclass(frozen=True, eq=False)
class PredictedPace:
    """Which limit's term is the longest of each step, and all terms in nanoseconds, by their names."""

    limit: Integers  # index into NAMES
    terms: Mapping[str, Reals]

    def shares(self, busy: Integers) -> dict[str, float]:
        """Return the terms as shares of the steps' time; those of what is done at the same time add up to more."""
        return {name: float(ns.sum() / busy.sum()) for name, ns in self.terms.items() if ns.any()}


@dataclass(frozen=True, eq=False)
class LimitsFound:
    """The limits of every step, and the share of the busy time under each set of them."""

    of_step: Integers  # index into `sets`
    sets: tuple[tuple[str, ...], ...]  # limits that were met together
    shares: dict[str, float]  # by the names of a set: "KV blocks", "KV blocks + max_num_seqs"; they add up to one
    idle_share: float  # of the whole time: gaps without a request
    doubts: tuple[str, ...] = ()  # about the ceilings that separate compute from memory bandwidth
    doubtful: bool = False  # whether a doubt lowers the trust in a ceiling
    reasons: tuple[tuple[str, int, float], ...] = ()  # as recorded: each with its steps and its share of the busy time
    withheld: str = ""  # why compute and memory bandwidth are not separated although both ceilings were measured
    terms: Mapping[str, float] = field(default_factory=dict)  # of predicted steps, as shares of the busy time

    def bound(self, name: str) -> float:
        """Return the share of the busy time in which this limit was met, alone or with others."""
        return sum(share for names, share in self.shares.items() if name in names.split(AND))

    @cached_property
    def main(self) -> str:
        """Return the limit that was met for the longest time, or the set if it was mostly met with others."""
        name = max(NAMES, key=self.bound)
        if 2 * self.shares.get(name, 0.0) >= self.bound(name):
            return name
        return max((each for each in self.shares if name in each.split(AND)), key=lambda each: self.shares[each])

    @property
    def rests_on_ceilings(self) -> bool:
        return self.main in (NAMES[COMPUTE], NAMES[BANDWIDTH])

    @property
    def main_with_doubt(self) -> str:
        """Return the main limit, marked if it is doubtful, or follows from the terms of a prediction."""
        if self.terms and self.main in PACE_SETTERS:
            return f"{self.main} (predicted)"
        return f"{self.main} (doubtful)" if self.rests_on_ceilings and self.doubtful else self.main


def limits(
    facts: dict[str, Any],
    iterations: pa.Table,
    requests: pa.Table,
    preemptions: pa.Table,
    workers: pa.Table,
    held_up: npt.NDArray[Any] | None = None,
    predicted: PredictedPace | None = None,
) -> LimitsFound:
    """Find the limits of each step of a run.

    `held_up` is the ceiling that limits a step, by the roofline; `predicted` the longest term of a predicted step.
    """
    idle = idle_gaps(iterations)
    idle_ns = np.where(idle, iterations["gap_ns"].to_numpy(), 0)
    busy = busy_ns(iterations, idle)  # overlapping steps do not count twice
    paced = pace(facts, iterations, workers, busy) if predicted is None else predicted.limit
    if held_up is not None and predicted is None:
        paced[(paced == MODEL) & (held_up == BY_COMPUTE)] = COMPUTE
        paced[(paced == MODEL) & (held_up == BY_MEMORY)] = BANDWIDTH
    bits = refused(facts, iterations, requests, preemptions)
    bits = np.where(bits > 0, bits, 1 << paced.astype(np.int64))
    again = np.where(bits & (1 << KV), 0.0, recomputed_share(iterations))
    times = busy * (1 - again)
    sets, of_step = np.unique(bits, return_inverse=True)
    shares = dict.fromkeys(NAMES, 0.0)
    for number, members in enumerate(sets):
        name = AND.join(set_names(int(members)))
        shares[name] = shares.get(name, 0.0) + float(times[of_step == number].sum())
    shares[NAMES[KV]] += float((busy * again).sum())
    total = float(busy.sum())
    found = {name: share / total for name, share in shares.items()}
    names = tuple(set_names(int(members)) for members in sets)
    idle_share = float(idle_ns.sum() / (idle_ns.sum() + total))
    terms = {} if predicted is None else predicted.shares(busy)
    return LimitsFound(of_step, names, found, idle_share, reasons=waiting_reasons(iterations, busy), terms=terms)


def waiting_reasons(iterations: pa.Table, busy: Integers) -> tuple[tuple[str, int, float], ...]:
    """Return the recorded reasons for which requests waited, the most frequent first; none before version 5."""
    if iterations["waiting_reason"].null_count:
        return ()
    recorded = iterations["waiting_reason"].to_numpy()
    found = [
        (reason.words, int((recorded == reason).sum()), float(busy[recorded == reason].sum()))
        for reason in Reason
        if reason is not Reason.NOBODY and (recorded == reason).any()
    ]
    return tuple((name, steps, ns / float(busy.sum())) for name, steps, ns in sorted(found, key=lambda each: -each[1]))


def set_names(bits: int) -> tuple[str, ...]:
    return tuple(name for place, name in enumerate(NAMES) if bits >> place & 1)


def recomputed_share(iterations: pa.Table) -> Reals:
    """Return the share of each step's tokens that had been computed before a preemption."""
    scheduled = iterations["scheduled_tokens"].to_numpy()
    share: Reals = iterations["recomputed_tokens"].to_numpy() / np.maximum(scheduled, 1)
    return share


def pace(facts: dict[str, Any], iterations: pa.Table, workers: pa.Table, busy: Integers) -> npt.NDArray[np.int8]:
    """Host or model for every step: by device time where every step has it, else by the parts of the step."""
    device = device_ns(iterations, workers)
    if device is None and facts["engine"]["asynchronous"]:
        return np.full(len(busy), PACE, dtype=np.int8)
    working = iterations["execute_ns"].to_numpy() if device is None else device
    return np.where(2 * working < busy, HOST, MODEL).astype(np.int8)


def refused(facts: dict[str, Any], iterations: pa.Table, requests: pa.Table, preemptions: pa.Table) -> Integers:
    """Return a bit for each limit that requests waited for in a step; zero where nobody waited."""
    found = waiting(facts, iterations, requests, preemptions)
    bits = np.zeros(iterations.num_rows, dtype=np.int64)
    for place, constraint in enumerate(fields(found)):  # LIMITS begin with the same, in the same order
        bits |= getattr(found, constraint.name).astype(np.int64) << place
    return bits


def idle_gaps(iterations: pa.Table) -> Flags:
    """Gaps before which every request had been answered: nothing to do is no limit of the engine."""
    held = iterations["running_requests"].to_numpy() + waiting_requests(iterations)
    empty = held - iterations["finished_requests"].to_numpy() <= 0
    before: Flags = np.r_[False, empty[:-1]]
    return before


PACE_SETTERS = {
    NAMES[HOST]: "The host",
    NAMES[MODEL]: "The model",
    NAMES[COMPUTE]: "Compute",
    NAMES[BANDWIDTH]: "Memory bandwidth",
    NAMES[PACE]: "The host or the model",
    NAMES[WEIGHT_READING]: "Memory bandwidth (reading weights)",
    NAMES[KV_READING]: "Memory bandwidth (reading the KV cache)",
    NAMES[LINKS]: "The links between GPUs",
}


def sentence(found: LimitsFound) -> str:
    """Name the bottleneck: what requests waited for, or what set the pace if none did."""
    text = pace_words(found) if found.main in PACE_SETTERS else waiting_words(found)
    if found.idle_share < NAMED_IDLE:
        return text
    return f"{text} The engine had no request for {found.idle_share:.0%} of the whole time."


def waiting_words(found: LimitsFound) -> str:
    main = found.main
    names = main.split(AND)
    if len(names) == 1:
        included = ", preemptions and recomputed tokens included" if main == NAMES[KV] else ""
        text = f"Requests waited for {WAITED_FOR[main]} in {found.bound(main):.0%} of the busy time{included}."
        return text + also_waited(found, "They also waited", main)
    together = " and for ".join(WAITED_FOR[name] for name in names)
    text = f"In {found.shares[main]:.0%} of the busy time requests waited for {together} at once."
    if {*names} & {NAMES[DEFERRAL], NAMES[UNKNOWN]}:
        return text
    return f"{text} Raising only one of these limits would have admitted no request."


def also_waited(found: LimitsFound, begin: str, main: str = "") -> str:
    """Say what requests waited for, except one limit."""
    named = [
        f"for {words} in {found.bound(name):.0%}"
        for name, words in WAITED_FOR.items()
        if name != main and found.bound(name) >= NAMED
    ]
    return f" {begin} {', '.join(named)}." if named else ""


def pace_words(found: LimitsFound) -> str:
    name = found.main
    if found.terms:
        return predicted_words(found)
    text = (
        f"{PACE_SETTERS[name]} was the bottleneck in {found.shares[name]:.0%} of the busy time: no request waited, "
        f"and {LIMITS[NAMES.index(name)].meaning}."
    )
    if found.rests_on_ceilings and found.doubts:
        verdict = "This is doubtful, as are the ceilings" if found.doubtful else "This rests on the ceilings"
        text += f" {verdict} of compute and bandwidth: {'; '.join(found.doubts)}."
    if found.withheld and name == NAMES[MODEL]:
        text += f" It is not known whether compute or memory bandwidth was the bottleneck: {found.withheld}."
    return text + also_waited(found, "Requests waited")


def predicted_words(found: LimitsFound) -> str:
    """Name the longest term of predicted steps, and all terms beside it."""
    name = found.main
    terms = ", ".join(f"{term} {share:.0%}" for term, share in found.terms.items())
    beside = " (what is read and computed at the same time counts in both)" if sum(found.terms.values()) > 1.005 else ""
    return (
        f"Predicted: {PACE_SETTERS[name][0].lower()}{PACE_SETTERS[name][1:]} is the bottleneck in "
        f"{found.shares[name]:.0%} of the busy time, in which no request waits. Terms, as shares of that time"
        f"{beside}: {terms}."
    ) + also_waited(found, "Requests waited")
