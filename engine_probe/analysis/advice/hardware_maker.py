"""Advice for makers of hardware: more memory, a second tier of it, or separate devices for prefill."""

from engine_probe.analysis.advice.curve_case import Case, Sentences
from engine_probe.analysis.advice.developer import main_limit
from engine_probe.text_format import byte_size
from engine_probe.workload.load import level_words

ROLE = "hardware maker"

RECOMPUTED = 0.05  # of all scheduled tokens
STEPS = 30  # of a kind, for a meaningful mean
SLOWER = 1.5  # ratio of a mixed step to a decode-only one
OFTEN = 0.1  # of the busy time


def more_memory(case: Case) -> Sentences:
    main, least = main_limit(case)
    if main == "KV blocks" and case.found.best:
        yield (
            f"Requests waited for KV blocks in {least:.0%} of the time at the highest throughput: a larger KV "
            "pool would be used.",
            (case.row(case.found.best.load),),
        )


def tier_for_histories(case: Case) -> Sentences:
    """Give the size and bandwidth of a second tier that would hold the histories of waiting conversations."""
    loss = case.cache_loss
    if loss is None or loss.computed_again < RECOMPUTED:
        return
    runs = case.at(loss.last.load)
    tokens = (loss.kept.share - loss.last.share) * sum(run.prompt_tokens for run in loss.last.runs) / len(runs)
    size, seconds = tokens * case.pool.bytes_per_token, sum(each.summary.seconds for each in runs) / len(runs)
    yield (
        f"A second tier that keeps the KV of waiting conversations would save up to {loss.computed_again:.0%} of "
        f"the scheduled tokens at {level_words(loss.last.load, case.unit)}: {tokens:,.0f} prompt tokens a run, "
        f"{byte_size(size)} of KV, read back at {byte_size(size / seconds)}/s.",
        (case.row(loss.kept.load), case.row(loss.last.load)),
    )


def tier_for_preempted(case: Case) -> Sentences:
    worst = max(case.figures, key=lambda each: each.summary.recomputed_share, default=None)
    if worst is None:
        return
    least = min(each.summary.recomputed_share for each in case.at(worst.load))
    if least < RECOMPUTED:
        return
    yield (
        f"A second tier that keeps KV of preempted requests would save at most {least:.0%} of the scheduled tokens at "
        f"{level_words(worst.load, case.unit)}, which were recomputed.",
        (case.row(worst.load),),
    )


def prompts_elsewhere(case: Case) -> Sentences:
    """Advise separate devices for prefill, if mixed steps are much slower and frequent."""
    if case.found.best is None:
        return
    points = case.at(case.found.best.load)
    compositions = [each.composition for each in points if each.composition]
    steps = [each.steps[kind] for each in compositions for kind in ("both", "decode")]
    if len(compositions) < len(points) or min(steps) < STEPS:
        return
    slower = min(each.mean_ns["both"] / each.mean_ns["decode"] for each in compositions)
    share = min(each.time_shares["both"] for each in compositions)
    if slower >= SLOWER and share >= OFTEN:
        yield (
            "Prefill on separate devices would speed up decoding: mixed steps (prefill and decode) take "
            f"{slower:.1f} times as long as decode-only steps, and {share:.0%} of the busy time at the highest "
            "throughput.",
            (case.row(case.found.best.load),),
        )


OF_ONE = (more_memory, tier_for_histories, tier_for_preempted, prompts_elsewhere)
OF_SEVERAL = ()
