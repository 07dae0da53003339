"""Advice for whoever chooses the concurrency and the size of the KV pool."""

from collections.abc import Sequence

from engine_probe.analysis.advice.curve_case import CLEAR, SURE, Case, Sentences
from engine_probe.analysis.curve.saturation import Level
from engine_probe.text_format import byte_size
from engine_probe.workload.load import CONCURRENCY, level_words

ROLE = "architect"

OTHER_LOAD = 1.5  # ratio of two saturation points from which separate pools are advised
NEARLY_FULL = 0.75  # of the pool; a lower peak says nothing about the headroom needed
FINE = 0.15  # largest relative difference that repeats may leave undetected to show that nothing is gained


def hold_there(case: Case) -> Sentences:
    """Advise a limit of concurrency if higher levels have surely less throughput, or the same and more waiting."""
    found = case.found
    if found.best is None or case.unit != CONCURRENCY or case.cache_loss:
        return  # the histories of waiting conversations are lost, whichever batch runs
    best, last = found.best, found.levels[-1]
    if falls(case, last):
        loss = 1 - last.output_tokens_per_s / best.output_tokens_per_s
        waits = longer(case, best, last)
        yield (
            f"Limit concurrency to {best.load:g} (--max-num-seqs {best.load:g}, or in a proxy): at {last.load:g} "
            f"throughput is {loss:.0%} lower{f', and {waits}' if waits else ''}.",
            (case.row(best.load), case.row(last.load)),
        )
        return
    least, how = level_from(case)
    if least is not None and (waits := longer(case, least, last)):
        yield (
            f"Beyond concurrency {least.load:g} throughput no longer grows{how}; waiting time grows: at {last.load:g} "
            f"{waits}.",
            (case.row(least.load), case.row(last.load)),
        )


def falls(case: Case, last: Level) -> bool:
    found = case.found
    if found.best is None or last is found.best:
        return False
    if found.noise:
        return found.fallen is last
    loss = 1 - last.output_tokens_per_s / found.best.output_tokens_per_s
    return found.region(last.load) == "overload" and found.sureness(last.load) >= SURE and loss >= CLEAR


def level_from(case: Case) -> tuple[Level | None, str]:
    """Return the lowest level from which on throughput is the same, and how that is known. None if it is not."""
    found, last = case.found, case.found.levels[-1]
    if found.noise and found.best:
        alike = [level for level in found.levels if level is found.best or level in found.not_different]
        shown = found.noise.shows(found.levels.index(alike[0]), len(found.levels) - 1)
        gapless = len(alike) == sum(level.load >= alike[0].load for level in found.levels)
        certain = gapless and alike[0] is not last and shown <= FINE
        return (alike[0], f" (a change of {shown:.0%} would have been detected)") if certain else (None, "")
    if found.saturation is None or found.region(last.load) != "plateau" or found.sureness(last.load) < SURE:
        return None, ""
    return next((level for level in found.levels if level.load == found.saturation.load), None), ""


def longer(case: Case, here: Level, there: Level) -> str:
    before, after = (case.first_token_ns(level.load) for level in (here, there))
    return f"the median first token takes {after / before:.1f} times as long" if before and after > before else ""


def room_for_histories(case: Case) -> Sentences:
    """Advise a lower concurrency or a larger pool if the pool evicts the histories of waiting conversations."""
    loss, pool = case.cache_loss, case.pool
    if loss is None:
        return
    best, last, size = case.found.best, case.found.levels[-1], ""
    lower = ""
    if best and best.load == loss.kept.load and falls(case, last):
        lower = f", and throughput is {1 - last.output_tokens_per_s / best.output_tokens_per_s:.0%} lower"
    if (holds := case.holds) and case.unit == CONCURRENCY:
        blocks = loss.last.load * pool.blocks / holds
        size = (
            f" All {loss.last.load:g} would fit into {blocks:,.0f} blocks ({byte_size(blocks * pool.block_bytes)}), "
            f"derived from {pool.blocks / holds:,.3g} each; it has {pool.blocks:,}."
        )
    yield (
        f"Limit concurrency to {loss.kept.load:g} in a proxy, or enlarge the KV pool: at {loss.last.load:g}, the "
        f"prefix cache hit rate is {loss.last.share:.0%} of the prompt tokens instead of {loss.kept.share:.0%}, "
        f"and {loss.computed_again:.0%} of the scheduled tokens are prompts computed again{lower}.{size}",
        (case.row(loss.kept.load), case.row(loss.last.load)),
    )


def room_for_all(case: Case) -> Sentences:
    """Give the pool size at which the highest level would not wait for KV blocks."""
    kv, pool, holds = case.found.kv, case.pool, case.holds
    if holds is None or kv.after is None or kv.reached is None or case.unit != CONCURRENCY or case.cache_loss:
        return
    most = case.found.levels[-1].load
    blocks = most * pool.blocks / holds
    yield (
        f"For concurrency {most:g} without waiting the KV pool needs {blocks:,.0f} blocks "
        f"({byte_size(blocks * pool.block_bytes)}), derived from "
        f"{pool.blocks / holds:,.3g} for each request at {kv.after:g}; it has {pool.blocks:,}.",
        (case.row(kv.after), case.row(kv.reached)),
    )


def headroom(case: Case) -> Sentences:
    kv = case.found.kv
    smooth = [level for level in case.found.levels if kv.reached is None or level.load < kv.reached]
    if kv.reached is None or not smooth or not NEARLY_FULL <= smooth[-1].peak_kv_share < 1:
        return  # never full, or no level close below, or full without waiting
    last = smooth[-1]
    waited = max(each.kv_share for each in case.at(kv.reached))
    yield (
        f"Leave {1 - last.peak_kv_share:.0%} of the KV pool free: with {level_words(last.load, case.unit)} it was at "
        f"most {last.peak_kv_share:.0%} full and no request waited for blocks; with {kv.reached:g}, some waited in "
        f"{waited:.0%} of the busy time.",
        (case.row(last.load), case.row(kv.reached)),
    )


def own_pools(cases: Sequence[Case]) -> Sentences:
    """Advise separate pools for workloads of one model whose saturation points surely lie far apart."""
    ends = [(case, end) for case in cases if (end := case.found.saturation) and end.sureness >= SURE]
    for at, (one, end) in enumerate(ends):
        for other, beyond in ends[at + 1 :]:
            if one.model != other.model or one.ranks != other.ranks:
                continue
            low, high = sorted([(end.high, end.load, one), (beyond.low, beyond.load, other)], key=lambda each: each[1])
            if high[1] < OTHER_LOAD * low[1] or (end.low <= beyond.high and beyond.low <= end.high):
                continue
            yield (
                f"Give these workloads separate engines: growth ends at {low[1]:g} for {low[2].label} and at "
                f"{high[1]:g} for {high[2].label}; a common limit would throttle the second or overload the first.",
                (low[2].row(low[1]), high[2].row(high[1])),
            )


OF_ONE = (hold_there, room_for_histories, headroom, room_for_all)
OF_SEVERAL = (own_pools,)
