"""Advice for operators: how to route requests, and when to add an engine or a GPU."""

from collections.abc import Sequence
from typing import Any

from engine_probe.analysis.advice.curve_case import Case, Sentences
from engine_probe.engine.parallelism import SIZES
from engine_probe.workload.load import level_words

ROLE = "provider"


def route_by_kv(case: Case) -> Sentences:
    kv, holds = case.found.kv, case.holds
    if holds is None or kv.after is None or kv.reached is None:
        return
    lost = [each for each in case.at(kv.reached) if each.summary.preemptions]
    then = " and were preempted" if lost else ""
    yield (
        f"One engine holds about {holds:,.0f} of these requests. Add another engine beyond {holds:,.0f}: at "
        f"{level_words(kv.reached, case.unit)}, some requests waited for KV blocks{then}.",
        (case.row(kv.after), case.row(kv.reached)),
    )


def back_to_its_history(case: Case) -> Sentences:
    loss = case.cache_loss
    if loss is None:
        return
    yield (
        "Route a conversation back to the engine that holds its history, and give each engine no more than "
        f"{level_words(loss.kept.load, case.unit)}; monitor the prefix cache hit rate: it is "
        f"{loss.kept.share:.0%} there and {loss.first.share:.0%} at {loss.first.load:g}.",
        (case.row(loss.kept.load), case.row(loss.first.load)),
    )


def second_gpu(cases: Sequence[Case]) -> Sentences:
    """Compare curves with different numbers of ranks at the lowest and the highest shared load."""
    for one in cases:
        for more in cases:
            if more.ranks <= one.ranks or one.model != more.model or without_ranks(one) != without_ranks(more):
                continue
            shared = sorted({each.load for each in one.figures} & {each.load for each in more.figures})
            if len(shared) < 2:
                continue
            low, high = (gain(one, more, load) for load in (shared[0], shared[-1]))
            if low is None or high is None:
                continue
            per_gpu = high * one.ranks / more.ranks
            yield (
                f"{more.ranks} ranks instead of {one.ranks} give {low:.2f} times the throughput at {shared[0]:g} and "
                f"{high:.2f} times at {shared[-1]:g} {one.unit}: {per_gpu:.2f} times per GPU there.",
                tuple(case.row(load) for case in (one, more) for load in (shared[0], shared[-1])),
            )


def without_ranks(case: Case) -> dict[str, Any]:
    return {name: value for name, value in case.settings.items() if name not in SIZES}


def gain(one: Case, more: Case, load: float) -> float | None:
    here, there = (
        next((level.output_tokens_per_s for level in case.found.levels if level.load == load), None)
        for case in (one, more)
    )
    return there / here if here and there else None


OF_ONE = (route_by_kv, back_to_its_history)
OF_SEVERAL = (second_gpu,)
