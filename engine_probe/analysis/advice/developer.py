"""Advice for whoever chooses a model and writes its prompts."""

from collections.abc import Sequence

from engine_probe.analysis.advice.curve_case import Case, Sentences
from engine_probe.analysis.curve.levels import cache_of
from engine_probe.text_format import byte_size, counted

ROLE = "developer"

MAIN = 0.5  # of the busy time
SAME_POOL = 1.25  # ratio of two pools' bytes that still count as the same memory
HITS = 0.1  # share of prompt tokens found in the prefix cache
NEEDS = {
    "host": "The host took longer than the model in {share}: try larger steps or asynchronous scheduling first.",
    "max_num_seqs": "Requests waited for max_num_seqs alone in {share}: raise it before buying anything.",
    "token budget": "Requests waited for max_num_batched_tokens alone in {share}: raise it, and compare TPOT.",
}


def what_would_help(case: Case) -> Sentences:
    """Advise by the main limit at the best level, if it is the main limit in every repeat."""
    main, least = main_limit(case)
    if main in NEEDS and case.found.best:
        share = f"{least:.0%} of the busy time at the highest throughput"
        yield NEEDS[main].format(share=share), (case.row(case.found.best.load),)


def main_limit(case: Case) -> tuple[str, float]:
    """Return the main limit at the best level and its lowest share over repeats; empty if repeats disagree."""
    if case.found.best is None:
        return "", 0.0
    there = case.at(case.found.best.load)
    mains = {each.limits.main for each in there}
    if len(mains) > 1:
        return "", 0.0
    (main,) = mains
    least = min(each.limits.shares[main] for each in there)
    return (main, least) if least >= MAIN else ("", 0.0)


def choose_by_kv(case: Case) -> Sentences:
    """Advise to choose a model or KV dtype by KV bytes per token, if the pool was full."""
    holds, kv, pool = case.holds, case.found.kv, case.pool
    if holds is None or kv.after is None or kv.reached is None:
        return
    each = pool.blocks / holds
    yield (
        f"The KV pool limits concurrency: a request takes {each:,.3g} of its {counted(pool.blocks, 'block')}, so it "
        f"holds {counted(round(holds), 'request')}. KV cache per token: {byte_size(pool.bytes_per_token, 4)}"
        f"{pool.derivation}. Halving that doubles the number of requests in the same memory.",
        (case.row(kv.after), case.row(kv.reached)),
    )


def same_beginnings(case: Case) -> Sentences:
    """Advise to keep the beginnings of prompts unchanged, if the prefix cache finds much of them."""
    if case.found.best is None:
        return
    load = case.found.best.load
    for level in cache_of(case.figures):
        if level.load == load and level.share >= HITS:
            yield (
                f"Keep the beginnings of prompts unchanged (system prompt and history first, what changes last): "
                f"{level.share:.0%} of the prompt tokens were found in the prefix cache and not computed.",
                (case.row(load),),
            )


def kv_per_token(cases: Sequence[Case]) -> Sentences:
    """Compare models by KV bytes per token, if pools of about the same memory were full."""
    by_size = sorted(
        ((case.pool.bytes_per_token, holds, case) for case in cases if (holds := case.holds) is not None),
        key=lambda each: each[0],
    )
    if len({case.model for _, _, case in by_size}) < 2:
        return
    (few, many_held, small), (many, few_held, large) = by_size[0], by_size[-1]
    pools = (few * small.pool.tokens, many * large.pool.tokens)
    if many <= few or max(pools) > SAME_POOL * min(pools) or many_held <= few_held:
        return  # unless the same memory held more requests of the cheaper model
    yield (
        f"Choose models by KV bytes per token: {small.model} takes {byte_size(few, 4)} and its pool of "
        f"{small.pool.tokens:,} tokens held {many_held:,.0f} requests; {large.model} takes {byte_size(many, 4)} and "
        f"{large.pool.tokens:,} tokens held {few_held:,.0f}.",
        tuple(case.row(case.found.kv.reached or 0) for case in (small, large)),
    )


OF_ONE = (what_would_help, choose_by_kv, same_beginnings)
OF_SEVERAL = (kv_per_token,)
