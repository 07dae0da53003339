"""What limits a run, step by step: what kept requests waiting, and where nothing did, what a step's time went into.

A request that waits after schedule() returned was refused by something, and the row of that step shows by what: the
batch was full (`max_num_seqs`), the token budget was spent (`max_num_batched_tokens`), or neither, and then the pool
had no blocks for it. Where nobody waits the engine serves all it has, at the pace of the longer part of its step: the
host's (schedule, update, and between them) or the model's. An asynchronous engine does both at once, and only device
times tell them apart there. Where the hardware's ceilings are known, a model's step near one of them is held up
by compute or by memory bandwidth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from engine_probe.analysis.run.token_times import waiting_requests
from engine_probe.analysis.step.ceiling_use import BY_COMPUTE, BY_MEMORY, NEAR
from engine_probe.analysis.step.step_time import busy_ns, device_ns

Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Limit:
    name: str
    meaning: str
    rule: str


# The first whose rule holds is a step's limit. What a rule names are columns of its row, and limits in run.json.
LIMITS = (
    Limit(
        "KV blocks", "requests waited for KV blocks, or lost them", "preempted > 0, or waiting > 0 and no other limit"
    ),
    Limit("max_num_seqs", "the batch was full", "waiting > 0 and running = max_num_seqs"),
    Limit("token budget", "the step's tokens were spent", "waiting > 0 and scheduled = max_num_batched_tokens"),
    Limit(
        "untold",
        "requests waited, and the recording does not show for what",
        "waiting > 0, blocks enough for any request",
    ),
    Limit(
        "host",
        "no request waited; the host took longer than the model",
        "execute (device, if timed) is the shorter part",
    ),
    Limit(
        "model", "no request waited; the model took longer than the host", "execute is the longer part, near no ceiling"
    ),
    Limit(
        "compute",
        "no request waited; the matrix products took longest",
        f"model, {NEAR:.0%} of it at the compute ceiling",
    ),
    Limit(
        "memory bandwidth",
        "no request waited; moving weights and KV took longest",
        f"model, {NEAR:.0%} of it at the bandwidth ceiling",
    ),
    Limit(
        "host or model",
        "no request waited; steps overlap, and no device was timed",
        "asynchronous engine, no device times",
    ),
)
NAMED_IDLE = 0.005  # less would read as 0 %
NAMES = tuple(limit.name for limit in LIMITS)
KV, SEQS, BUDGET, UNTOLD, HOST, MODEL, COMPUTE, BANDWIDTH, PACE = range(len(LIMITS))


@dataclass(frozen=True, eq=False)
class LimitsFound:
    """A limit for every step, and the share of the busy time under each."""

    of_step: npt.NDArray[np.int8]  # index into LIMITS
    shares: dict[str, float]
    idle_share: float  # of the whole time: gaps in which there was no request
    doubts: tuple[str, ...] = ()  # about the ceilings that tell compute from memory bandwidth
    doubtful: bool = False  # whether one of those lowers the trust, or they only say what is not known
    withheld: str = ""  # why the two are not told apart although both ceilings were measured

    @property
    def main(self) -> str:
        return max(self.shares, key=lambda name: self.shares[name])

    @property
    def rests_on_ceilings(self) -> bool:
        return self.main in (NAMES[COMPUTE], NAMES[BANDWIDTH])

    @property
    def main_with_doubt(self) -> str:
        """The limit for a cell of a table."""
        return f"{self.main} (doubtful)" if self.rests_on_ceilings and self.doubtful else self.main


def limits(
    facts: dict[str, Any],
    iterations: pa.Table,
    requests: pa.Table,
    workers: pa.Table,
    held_up: npt.NDArray[Any] | None = None,
) -> LimitsFound:
    """Of a run at least one step long; `held_up` is what holds each step up, by its roofline."""
    idle = idle_gaps(iterations)
    idle_ns = np.where(idle, iterations["gap_ns"].to_numpy(), 0)
    busy = busy_ns(iterations, idle)  # steps that overlap are not counted twice
    found = pace(facts, iterations, workers, busy)
    if held_up is not None:
        found[(found == MODEL) & (held_up == BY_COMPUTE)] = COMPUTE
        found[(found == MODEL) & (held_up == BY_MEMORY)] = BANDWIDTH
    for limit, steps in refused(facts, iterations, requests).items():
        found[steps] = limit
    times = np.bincount(found, weights=busy, minlength=len(LIMITS))
    shares = dict(zip(NAMES, (times / times.sum()).tolist(), strict=True))
    return LimitsFound(found, shares, float(idle_ns.sum() / (idle_ns.sum() + times.sum())))


def pace(facts: dict[str, Any], iterations: pa.Table, workers: pa.Table, busy: Integers) -> npt.NDArray[np.int8]:
    """Host or model for every step: by device time where every step has it, else by the parts of the step."""
    device = device_ns(iterations, workers)
    if device is None and facts["engine"]["asynchronous"]:
        return np.full(len(busy), PACE, dtype=np.int8)
    working = iterations["execute_ns"].to_numpy() if device is None else device
    return np.where(2 * working < busy, HOST, MODEL).astype(np.int8)


def refused(facts: dict[str, Any], iterations: pa.Table, requests: pa.Table) -> dict[int, Flags]:
    """Steps in which requests waited, by what they waited for; no step is in two."""
    column = {name: iterations[name].to_numpy() for name in ("scheduled_tokens", "running_requests")}
    waiting = iterations["waiting_requests"].to_numpy() > 0
    preempted = iterations["preempted_requests"].to_numpy() > 0
    full = column["running_requests"] >= facts["limits"]["max_num_seqs"]
    left = facts["limits"]["max_num_batched_tokens"] - column["scheduled_tokens"]
    free = facts["kv"]["blocks"] - iterations["kv_blocks_scheduled"].to_numpy()
    most_tokens = pc.max(pc.add(requests["prompt_tokens"], requests["output_tokens"])).as_py()
    most = most_tokens or facts["model"]["max_model_len"]
    # Blocks for the longest request were free, or a prompt that may not be cut did not fit into the step.
    scheduler = facts["engine"]["arguments"].get("scheduler_config") or {}
    uncut = not scheduler.get("enable_chunked_prefill", True)
    unexplained = free >= -(-most // facts["kv"]["block_size_tokens"])
    if uncut:
        unexplained |= left < most
    rest = waiting & ~preempted & ~full & (left > 0)
    return {
        KV: preempted | (rest & ~unexplained),
        SEQS: waiting & ~preempted & full,
        BUDGET: waiting & ~preempted & ~full & (left <= 0),
        UNTOLD: rest & unexplained,
    }


def idle_gaps(iterations: pa.Table) -> Flags:
    """Gaps before which every request had been answered: nothing to do is no limit of the engine."""
    held = iterations["running_requests"].to_numpy() + waiting_requests(iterations)
    empty = held - iterations["finished_requests"].to_numpy() <= 0
    before: Flags = np.r_[False, empty[:-1]]
    return before


def sentence(found: LimitsFound) -> str:
    """What limits the run, in words."""
    name = found.main
    (limit,) = (limit for limit in LIMITS if limit.name == name)
    said = f"Limited by {name} in {found.shares[name]:.0%} of the busy time: {limit.meaning}."
    if found.rests_on_ceilings and found.doubts:
        verdict = "This is doubtful, as are the ceilings" if found.doubtful else "This rests on the ceilings"
        said += f" {verdict} of compute and bandwidth: {'; '.join(found.doubts)}."
    if found.withheld and name == NAMES[MODEL]:
        said += f" It is not known whether compute or memory bandwidth limited it: {found.withheld}."
    if found.idle_share < NAMED_IDLE:
        return said
    return f"{said} The engine had no request for {found.idle_share:.0%} of the whole time."
