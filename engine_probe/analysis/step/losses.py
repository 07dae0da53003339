"""The losses of a run: preemption, half-empty KV blocks, prefill beside decode, a slow rank.

All are counted in the recording, except the time of recomputing, which is an estimate.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from engine_probe.analysis.run.token_times import update_end_ns
from engine_probe.analysis.statistics.arrays import Integers
from engine_probe.analysis.statistics.correlated_mean import surely_positive
from engine_probe.analysis.step.collectives import of_all_ranks

WORST = 5


@dataclass(frozen=True)
class PreemptedRequest:
    request_id: str
    preemptions: int
    away_ns: int  # from each preemption to the step that gave the request tokens again


@dataclass(frozen=True)
class PreemptionCost:
    preemptions: int
    requests: int
    never_resumed: int
    lost_tokens: int  # whose KV was freed
    recomputed_tokens: int
    recomputed_share: float  # of all scheduled tokens
    away_ns: int  # sum over the requests
    recompute_ns: float  # estimate: each step's execute time x recomputed / scheduled tokens
    worst: tuple[PreemptedRequest, ...]  # longest away first
    causes: dict[str, int]  # number of preemptions by their cause, the most frequent first; empty before version 5


def recomputed_share(*iterations: pa.Table) -> float:
    """Return the share of all scheduled tokens, of one run or of several, that a preemption had lost before."""
    recomputed, scheduled = (
        sum(int(steps[f"{name}_tokens"].to_numpy().sum()) for steps in iterations)
        for name in ("recomputed", "scheduled")
    )
    return recomputed / max(1, scheduled)


def preemption_cost(iterations: pa.Table, preemptions: pa.Table) -> PreemptionCost:
    recomputed, scheduled = (iterations[f"{name}_tokens"].to_numpy() for name in ("recomputed", "scheduled"))
    again = recomputed > 0
    away = pc.subtract(preemptions["resumed_ns"], preemptions["preempted_ns"])
    rows = pa.table({"request_id": preemptions["request_id"], "away_ns": away})
    by_request = rows.group_by("request_id").aggregate([("away_ns", "sum"), ("away_ns", "count"), ([], "count_all")])
    worst = by_request.sort_by([("away_ns_sum", "descending"), ("request_id", "ascending")]).slice(0, WORST)
    spent = iterations["execute_ns"].to_numpy()[again] * (recomputed[again] / scheduled[again])
    return PreemptionCost(
        preemptions=preemptions.num_rows,
        requests=by_request.num_rows,
        never_resumed=preemptions["resumed_ns"].null_count,
        lost_tokens=pc.sum(preemptions["lost_tokens"]).as_py() or 0,
        recomputed_tokens=int(recomputed.sum()),
        recomputed_share=recomputed_share(iterations),
        away_ns=pc.sum(away).as_py() or 0,
        recompute_ns=float(spent.sum()),
        worst=tuple(
            PreemptedRequest(row["request_id"], row["count_all"], row["away_ns_sum"] or 0) for row in worst.to_pylist()
        ),
        causes=dict(Counter(preemptions["cause"].drop_null().to_pylist()).most_common()),
    )


@dataclass(frozen=True)
class Composition:
    """The scheduled tokens by kind, and the steps that carried them."""

    token_shares: dict[str, float]  # prefill, recomputed, decode, speculative; of all scheduled tokens
    steps: dict[str, int]  # with tokens: only prefill, only decode, both
    time_shares: dict[str, float]  # of the busy time, by the same kinds
    mean_ns: dict[str, float]  # from the end of the step before; zero without steps of the kind
    mean_tokens: float  # per step
    mean_requests: float


def composition(iterations: pa.Table, busy: Integers) -> Composition | None:
    """Return the composition of a run's steps, given the busy time of each. None if nothing was scheduled."""
    names = ("prefill", "recomputed", "decode", "speculative", "scheduled")
    tokens = {name: iterations[f"{name}_tokens"].to_numpy() for name in names}
    total = int(tokens["scheduled"].sum())
    if not total:
        return None
    parts = {**tokens, "prefill": tokens["prefill"] - tokens["recomputed"]}
    filling, decoding = tokens["prefill"] > 0, tokens["decode"] > 0
    kinds = {"prefill": filling & ~decoding, "decode": decoding & ~filling, "both": filling & decoding}
    spent = {name: int(busy[kind].sum()) for name, kind in kinds.items()}
    steps = {name: int(kind.sum()) for name, kind in kinds.items()}
    carrying = tokens["scheduled"] > 0
    return Composition(
        token_shares={name: int(parts[name].sum()) / total for name in names[:-1]},
        steps=steps,
        time_shares={name: ns / int(busy.sum()) for name, ns in spent.items()},
        mean_ns={name: ns / max(1, steps[name]) for name, ns in spent.items()},
        mean_tokens=float(tokens["scheduled"][carrying].mean()),
        mean_requests=float(iterations["scheduled_requests"].to_numpy()[carrying].mean()),
    )


def kv_fragmentation(facts: dict[str, Any], iterations: pa.Table) -> float | None:
    """Return the share of empty token slots in used KV blocks: 1 - live tokens / (blocks x block size), over time.

    A block that several requests share counts for each, as its tokens do. None for models with several kinds of cache,
    in which a token has more than one slot, and if no block was in use.
    """
    if facts["kv"]["groups"] != 1:
        return None
    blocks = iterations["kv_blocks_scheduled"].to_numpy() + iterations["kv_blocks_shared"].to_numpy()
    slots = blocks.astype(np.float64) * facts["kv"]["block_size_tokens"]
    live = iterations["kv_tokens_live"].to_numpy()
    ns = update_end_ns(iterations) - iterations["start_ns"].to_numpy()
    if not (slots * ns).sum() or (live > slots).any():
        return None
    return 1 - float((live * ns).sum() / (slots * ns).sum())


@dataclass(frozen=True)
class Straggler:
    """The rank that began its forward last most often: collectives end together, so all others waited for it."""

    rank: int
    last_share: float  # of the steps; 1 / ranks by chance
    ranks: int
    behind_ns: float  # mean over all steps of the last rank's begin less the median rank's
    clock: str  # "device" if every row has the device's begin, else "host"
    late: bool = False  # it was last surely more often than by chance


def straggler(facts: dict[str, Any], workers: pa.Table) -> Straggler | None:
    """Return the rank that the others waited for. None with one rank, or without a forward that all ranks recorded.

    Nor with pipeline parallelism, whose stages begin one after the other.
    """
    parallel = facts["engine"]["arguments"].get("parallel_config") or {}
    ranks = pc.unique(workers["rank"]).sort().to_pylist()
    if len(ranks) < 2 or (parallel.get("pipeline_parallel_size") or 1) != 1:
        return None
    on_device = workers["device_start_ns"].null_count == 0
    begins = workers["device_start_ns"] if on_device else workers["forward_start_ns"]
    timed = pa.table({"iteration": workers["iteration"], "rank": workers["rank"], "ns": begins})
    rows = of_all_ranks(timed.filter(pc.is_valid(timed["ns"])), len(ranks))
    if not rows.num_rows:
        return None
    begun = rows["ns"].to_numpy().reshape(-1, len(ranks))
    last = begun.argmax(axis=1)
    counts = np.bincount(last, minlength=len(ranks))
    first = begun.min(axis=1, keepdims=True)  # distances, whose mean a float holds exactly enough
    behind = float(((begun - first).max(axis=1) - np.median(begun - first, axis=1)).mean())
    worst, clock = int(counts.argmax()), "device" if on_device else "host"
    late = surely_positive((last == worst) - 1 / len(ranks))
    return Straggler(ranks[worst], int(counts[worst]) / len(begun), len(ranks), behind, clock, late)
