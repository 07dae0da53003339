"""The bottleneck of a run, step by step: what kept requests waiting, or else which part of the step took longest.

If requests wait after schedule() returned, the step's row shows why: the batch was full (`max_num_seqs`), the token
budget was spent (`max_num_batched_tokens`), or neither, and then the pool had no free blocks. If no request waits, the
longer part of the step sets the pace: the host's (schedule, update, and between them) or the model's. An asynchronous
engine overlaps the two, and only device times can separate them. If the hardware's ceilings are known, a step of the
model near one of them is limited by compute or by memory bandwidth.
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


# A step's limit is the first whose rule holds. Rules name columns of the step's row and limits in run.json.
LIMITS = (
    Limit(
        "KV blocks",
        "requests waited for KV blocks or were preempted",
        "preempted > 0, or waiting > 0 and no other limit",
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
NAMED_IDLE = 0.005  # a smaller share would show as 0 %
NAMES = tuple(limit.name for limit in LIMITS)
KV, SEQS, BUDGET, UNTOLD, HOST, MODEL, COMPUTE, BANDWIDTH, PACE = range(len(LIMITS))


@dataclass(frozen=True, eq=False)
class LimitsFound:
    """The limit of every step, and the share of the busy time under each limit."""

    of_step: npt.NDArray[np.int8]  # index into LIMITS
    shares: dict[str, float]
    idle_share: float  # of the whole time: gaps without a request
    doubts: tuple[str, ...] = ()  # about the ceilings that separate compute from memory bandwidth
    doubtful: bool = False  # whether a doubt lowers the trust in a ceiling
    withheld: str = ""  # why compute and memory bandwidth are not separated although both ceilings were measured

    @property
    def main(self) -> str:
        return max(self.shares, key=lambda name: self.shares[name])

    @property
    def rests_on_ceilings(self) -> bool:
        return self.main in (NAMES[COMPUTE], NAMES[BANDWIDTH])

    @property
    def main_with_doubt(self) -> str:
        """Return the main limit, marked if it is doubtful."""
        return f"{self.main} (doubtful)" if self.rests_on_ceilings and self.doubtful else self.main


def limits(
    facts: dict[str, Any],
    iterations: pa.Table,
    requests: pa.Table,
    workers: pa.Table,
    held_up: npt.NDArray[Any] | None = None,
) -> LimitsFound:
    """Find the limit of each step of a run; `held_up` is the ceiling that limits each step, by the roofline."""
    idle = idle_gaps(iterations)
    idle_ns = np.where(idle, iterations["gap_ns"].to_numpy(), 0)
    busy = busy_ns(iterations, idle)  # overlapping steps do not count twice
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
    """Return host or model for every step, by device time if every step has it, else by the parts of the step."""
    device = device_ns(iterations, workers)
    if device is None and facts["engine"]["asynchronous"]:
        return np.full(len(busy), PACE, dtype=np.int8)
    working = iterations["execute_ns"].to_numpy() if device is None else device
    return np.where(2 * working < busy, HOST, MODEL).astype(np.int8)


def refused(facts: dict[str, Any], iterations: pa.Table, requests: pa.Table) -> dict[int, Flags]:
    """Return the steps in which requests waited, by what they waited for; no step has two limits."""
    column = {name: iterations[name].to_numpy() for name in ("scheduled_tokens", "running_requests")}
    waiting = iterations["waiting_requests"].to_numpy() > 0
    preempted = iterations["preempted_requests"].to_numpy() > 0
    full = column["running_requests"] >= facts["limits"]["max_num_seqs"]
    left = facts["limits"]["max_num_batched_tokens"] - column["scheduled_tokens"]
    free = facts["kv"]["blocks"] - iterations["kv_blocks_scheduled"].to_numpy()
    most_tokens = pc.max(pc.add(requests["prompt_tokens"], requests["output_tokens"])).as_py()
    most = most_tokens or facts["model"]["max_model_len"]
    # Blocks for the longest request were free, or a prompt that may not be chunked did not fit into the step.
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
    """Return the gaps before which every request had ended: an engine without work is not limited."""
    held = iterations["running_requests"].to_numpy() + waiting_requests(iterations)
    empty = held - iterations["finished_requests"].to_numpy() <= 0
    before: Flags = np.r_[False, empty[:-1]]
    return before


def sentence(found: LimitsFound) -> str:
    """Return the sentence about the main limit of a run."""
    name = found.main
    (limit,) = (limit for limit in LIMITS if limit.name == name)
    words = f"Limited by {name} in {found.shares[name]:.0%} of the busy time: {limit.meaning}."
    if found.rests_on_ceilings and found.doubts:
        verdict = "This is doubtful, as are the ceilings" if found.doubtful else "This rests on the ceilings"
        words += f" {verdict} of compute and bandwidth: {'; '.join(found.doubts)}."
    if found.withheld and name == NAMES[MODEL]:
        words += f" It is not known whether compute or memory bandwidth limited it: {found.withheld}."
    if found.idle_share < NAMED_IDLE:
        return words
    return f"{words} The engine had no request for {found.idle_share:.0%} of the whole time."
