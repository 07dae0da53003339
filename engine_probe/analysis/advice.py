"""What a sweep's own rows advise, by role. Each sentence names its rows; where they are thin nothing is said.

Thin is: a region less than nine tenths sure, a difference that repeats do not confirm (or, without repeats, below a
tenth), a pool that was never full.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from engine_probe.analysis.points import PointFigures
from engine_probe.analysis.repeats import Repeated, repeated
from engine_probe.analysis.saturation import Saturation

Role = Literal["developer", "architect", "provider", "hardware maker"]
ROLES: tuple[Role, ...] = ("developer", "architect", "provider", "hardware maker")

SURE = 0.9
CLEAR = 0.1  # relative: without repeats less is no difference
RECOMPUTED = 0.05  # of all scheduled tokens
OTHER_LOAD = 1.5  # the ratio of two saturation points that asks for pools of their own
NEARLY_FULL = 0.75  # of the pool: less says nothing of the room that is needed
SAME_POOL = 1.25  # the ratio of two pools' bytes
MAIN = 0.5  # of the busy time


@dataclass(frozen=True)
class Advice:
    role: Role
    text: str
    rows: tuple[str, ...]


@dataclass(frozen=True)
class Case:
    """One curve, and what its engine is."""

    label: str
    unit: str
    found: Saturation
    figures: Sequence[PointFigures]
    model: str
    kv_bytes_per_token: float
    kv_tokens: int
    ranks: int

    def at(self, load: float) -> list[PointFigures]:
        return [each for each in self.figures if each.load == load]

    def rate(self, load: float) -> Repeated | None:
        return repeated([each.summary.output_tokens_per_s for each in self.at(load)])

    def row(self, load: float) -> str:
        return f"{load:g} {self.unit}{f', {self.label}' if self.label else ''}"


def advice(cases: Sequence[Case]) -> list[Advice]:
    """In the order of roles."""
    found = [each for case in cases for each in of_one(case)]
    found += [each for rule in (second_card, own_pools, kv_per_token) for each in rule(cases)]
    return sorted(found, key=lambda each: ROLES.index(each.role))


def of_one(case: Case) -> Iterator[Advice]:
    for rule in (hold_there, headroom, watch_the_pool, what_would_help, keep_what_is_thrown_out):
        yield from rule(case)


def hold_there(case: Case) -> Iterator[Advice]:
    """Admission held at the saturation point, where what follows is sure."""
    found = case.found
    if found.saturation is None or found.growth is None:
        return
    best, last = found.saturation.load, found.levels[-1].load
    if last <= best or found.sureness(last) < SURE or case.unit != "requests at once":
        return
    here, there = case.rate(best), case.rate(last)
    if here is None or there is None or not here.mean:
        return
    loss = 1 - there.mean / here.mean
    waits = first_token(case, best), first_token(case, last)
    told = f", and the median first token takes {waits[1] / waits[0]:.1f} times as long" if all(waits) else ""
    if found.region(last) == "overload" and differs(here, there):
        yield Advice(
            "architect",
            f"Hold concurrency at {best:g} (--max-num-seqs {best:g}, or before the engine): at {last:g} throughput is "
            f"{loss:.0%} lower{told}.",
            (case.row(best), case.row(last)),
        )
    elif found.region(last) == "plateau" and told:
        yield Advice(
            "architect",
            f"Beyond {best:g} at once more requests bring no throughput, only waiting: at {last:g}{told[5:]}.",
            (case.row(best), case.row(last)),
        )


def first_token(case: Case, load: float) -> float:
    values = [each.percentile_ns("TTFT", 50) for each in case.at(load)]
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else 0.0


def headroom(case: Case) -> Iterator[Advice]:
    kv = case.found.kv
    smooth = [level for level in case.found.levels if kv.reached is None or level.load < kv.reached]
    if kv.reached is None or not smooth or not NEARLY_FULL <= smooth[-1].peak_kv_share < 1:
        return  # never full, or nothing measured close below, or full and nobody waited
    last = smooth[-1]
    waited = max(each.kv_share for each in case.at(kv.reached))
    yield Advice(
        "architect",
        f"Leave {1 - last.peak_kv_share:.0%} of the KV pool free: with {last.load:g} {case.unit} it was at most "
        f"{last.peak_kv_share:.0%} full and nobody waited for blocks; with {kv.reached:g} that limited {waited:.0%} of "
        "the busy time.",
        (case.row(last.load), case.row(kv.reached)),
    )


def watch_the_pool(case: Case) -> Iterator[Advice]:
    kv = case.found.kv
    if kv.reached is None or not kv.derived or kv.after is None:
        return
    low = min(kv.derived)
    lost = [each for each in case.at(kv.reached) if each.summary.preemptions]
    then = " and were preempted" if lost else ""
    yield Advice(
        "provider",
        f"Route by KV occupancy: one engine holds about {low:,.0f} such requests, and at {kv.reached:g} {case.unit} "
        f"requests waited for blocks{then}. Beyond that another engine is what helps.",
        (case.row(kv.after), case.row(kv.reached)),
    )


def what_would_help(case: Case) -> Iterator[Advice]:
    """At the best level; only what limits most of the time, in every repeat."""
    best = case.found.best
    if best is None:
        return
    mains = {each.limits.main for each in case.at(best.load)}
    shares = [max(each.limits.shares.values()) for each in case.at(best.load)]
    if len(mains) != 1 or min(shares) < MAIN:
        return
    (main,) = mains
    share = f"{min(shares):.0%} of the busy time at the highest throughput"
    rows = (case.row(best.load),)
    if main == "KV blocks":
        yield Advice("hardware maker", f"Memory for KV limits {share}: more of it would be used.", rows)
    elif main == "host":
        yield Advice("developer", f"The host limits {share}: larger steps or asynchronous scheduling first.", rows)
    elif main == "max_num_seqs":
        yield Advice("developer", f"max_num_seqs limits {share}: raise it before buying anything.", rows)
    elif main == "token budget":
        yield Advice("developer", f"max_num_batched_tokens limits {share}: raise it and measure TPOT beside.", rows)


def keep_what_is_thrown_out(case: Case) -> Iterator[Advice]:
    worst = max(case.figures, key=lambda each: each.summary.recomputed_share, default=None)
    if worst is None or worst.summary.recomputed_share < RECOMPUTED:
        return
    least = min(each.summary.recomputed_share for each in case.at(worst.load))
    if least < RECOMPUTED:
        return
    yield Advice(
        "hardware maker",
        f"A second tier that keeps KV of preempted requests would save at most {least:.0%} of the scheduled tokens at "
        f"{worst.load:g} {case.unit}: so many were computed a second time.",
        (case.row(worst.load),),
    )


def second_card(cases: Sequence[Case]) -> Iterator[Advice]:
    """Two curves that differ in their ranks: what each added card gave, at the lowest and the highest shared load."""
    for one in cases:
        for more in cases:
            if more.ranks <= one.ranks or one.model != more.model or without_ranks(one) != without_ranks(more):
                continue
            shared = sorted({each.load for each in one.figures} & {each.load for each in more.figures})
            if len(shared) < 2:
                continue
            gains = [gain(one, more, load) for load in (shared[0], shared[-1])]
            if None in gains:
                continue
            low, high = (each for each in gains if each is not None)
            each_card = high * one.ranks / more.ranks
            yield Advice(
                "provider",
                f"{more.ranks} ranks instead of {one.ranks} give {low:.2f} times the throughput at {shared[0]:g} and "
                f"{high:.2f} times at {shared[-1]:g} {one.unit}: {each_card:.2f} times per card there.",
                tuple(case.row(load) for case in (one, more) for load in (shared[0], shared[-1])),
            )


def without_ranks(case: Case) -> list[str]:
    return [word for word in case.label.split(", ") if not word.startswith("tensor_parallel_size ")]


def gain(one: Case, more: Case, load: float) -> float | None:
    here, there = one.rate(load), more.rate(load)
    return there.mean / here.mean if here and there and here.mean else None


def own_pools(cases: Sequence[Case]) -> Iterator[Advice]:
    """Workloads of one model whose best loads lie far apart, both sure."""
    told = [(case, case.found.saturation) for case in cases if case.found.saturation and sure(case)]
    for at, (one, end) in enumerate(told):
        for other, beyond in told[at + 1 :]:
            if one.model != other.model or one.ranks != other.ranks or end is None or beyond is None:
                continue
            low, high = sorted([(end.high, end.load, one), (beyond.low, beyond.load, other)], key=lambda each: each[1])
            if high[1] < OTHER_LOAD * low[1] or (end.low <= beyond.high and beyond.low <= end.high):
                continue
            yield Advice(
                "architect",
                f"Give these workloads pools of their own: growth ends at {low[1]:g} for {low[2].label} and at "
                f"{high[1]:g} for {high[2].label}; one limit would hold the second back or overload the first.",
                (low[2].row(low[1]), high[2].row(high[1])),
            )


def sure(case: Case) -> bool:
    return case.found.saturation is not None and case.found.saturation.sureness >= SURE


def kv_per_token(cases: Sequence[Case]) -> Iterator[Advice]:
    """Models by what a token of KV costs, where pools of the same memory filled."""
    told = sorted(
        ((case.kv_bytes_per_token, min(case.found.kv.derived or (0,)), case) for case in cases if measured_full(case)),
        key=lambda each: each[0],
    )
    if len({case.model for _, _, case in told}) < 2:
        return
    (few, holds, small), (many, held, large) = told[0], told[-1]
    pools = (few * small.kv_tokens, many * large.kv_tokens)
    if many <= few or max(pools) > SAME_POOL * min(pools) or holds <= held:
        return  # the same memory has to have held more of the cheaper ones
    yield Advice(
        "developer",
        f"Choose models by KV bytes per token: {small.model} takes {few / 1024:,.4g} KiB and its pool of "
        f"{small.kv_tokens:,} tokens held {holds:,.0f} requests; {large.model} takes {many / 1024:,.4g} KiB and "
        f"{large.kv_tokens:,} tokens held {held:,.0f}.",
        tuple(case.row(case.found.kv.reached or 0) for case in (small, large)),
    )


def measured_full(case: Case) -> bool:
    return case.found.kv.reached is not None and case.found.kv.derived is not None


def differs(here: Repeated, there: Repeated) -> bool:
    """Intervals apart where repeats give them, else a clear difference."""
    if None not in (here.low, here.high, there.low, there.high):
        return (there.high or 0) < (here.low or 0) or (here.high or 0) < (there.low or 0)
    return abs(there.mean / here.mean - 1) >= CLEAR
