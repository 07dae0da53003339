"""What the figures say, in sentences; each names the figure it rests on, and none is said without one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from engine_probe.analysis.curve.regions import region_sentences
from engine_probe.analysis.curve.saturation import KvSaturation, Level, Saturation
from engine_probe.analysis.run_analysis import RunAnalysis
from engine_probe.analysis.step.bottleneck import sentence
from engine_probe.analysis.step.losses import PreemptionTax, Straggler
from engine_probe.text_format import duration
from engine_probe.workload.load import CONCURRENCY

ROUGH = 0.05  # root mean square of the relative errors


def run_verdicts(found: RunAnalysis) -> Iterator[str]:
    yield sentence(found.limits)
    if found.tax.preemptions:
        yield preemption_verdict(found.tax)
    if found.kv_fragmentation is not None:
        yield f"{found.kv_fragmentation:.1%} of the token slots in used KV blocks were empty (fragmentation)."
    if cache := found.summary.prefix_cache:
        yield f"The prefix cache already held {cache.share:.1%} of the prompt tokens at first admission."
    if made := found.composition:
        parts = ", ".join(f"{share:.0%} {name}" for name, share in made.token_shares.items() if share)
        yield f"An average step processed {made.mean_tokens:.1f} tokens of {made.mean_requests:.1f} requests: {parts}."
    if found.straggler:
        yield straggler_verdict(found.straggler)
    if found.device_idle_share is not None:
        yield (
            f"The device stood idle in {found.device_idle_share:.1%} of the time in which there were requests: between "
            "its steps (CUDA events, slowest rank)."
        )


def preemption_verdict(tax: PreemptionTax) -> str:
    share = f" ({tax.recomputed_share:.1%} of all)" if tax.recomputed_share is not None else ""
    never = f" {tax.never_resumed:,} never ran again." if tax.never_resumed else ""
    return (
        f"Preemption hit {tax.requests:,} requests: {tax.recomputed_tokens:,} tokens were computed "
        f"twice{share}, about {duration(tax.recompute_ns)} of model time if all tokens of a step cost alike; the "
        f"requests were away {duration(tax.away_ns)} in sum, the longest {duration(tax.worst[0].away_ns)}.{never}"
    )


def straggler_verdict(found: Straggler) -> str:
    return (
        f"Rank {found.rank} of {found.ranks} took longest in {found.last_share:.0%} of the steps ({found.clock} time; "
        f"{1 / found.ranks:.0%} would be chance); the slowest rank was {duration(found.behind_ns)} behind the median."
    )


def sweep_verdicts(found: Saturation, unit: str) -> Iterator[str]:
    """First where growth ends, then what the KV pool did, then what is to be said against it."""
    growth_ends = list(region_sentences(found, unit))
    yield from reversed(growth_ends)
    single = all(len(level.repeated) < 2 for level in found.levels)
    if found.best:
        over = found.interval(found.best)
        reach = f" ± {over.reach / over.mean:.0%}" if over.reach is not None else ""
        rate = f"{found.best.output_tokens_per_s:,.1f}{reach}"
        yield f"Highest throughput: {rate} output tokens/s at {found.best.load:g} {unit}."
        if unit == CONCURRENCY and found.levels[0].load == 1 and found.best is not found.levels[0]:
            times = found.best.output_tokens_per_s / found.levels[0].output_tokens_per_s
            yield f"That is {times:,.1f} times the throughput of one request after the other."
        yield from headroom_verdict(found, unit)
        if alike := found.not_different:
            yield alike_verdict(found, alike, unit)
    yield from kv_verdict(found.kv, unit)
    if found.best and single:
        yield "One run of each level: how far repeats would lie apart is not known."
    if single and found.growth and found.growth.relative_error > ROUGH:  # with repeats a test says it, in the notes
        yield (
            f"The line behind these points misses the levels by {found.growth.relative_error:.1%}: "
            "the curve has another shape, trust its levels more than its regions."
        )
    for note in found.notes:
        yield f"{note[:1].upper()}{note[1:]}."


def alike_verdict(found: Saturation, alike: Sequence[Level], unit: str) -> str:
    assert found.noise is not None
    loads = ", ".join(f"{level.load:g}" for level in alike)
    return (
        f"Not told apart from it by their repeats: {loads} {unit} (t-test at 5 %; repeats scatter by "
        f"{found.noise.deviation:.1%}, taken from all levels together: {found.noise.freedom} degrees of freedom)."
    )


def headroom_verdict(found: Saturation, unit: str) -> Iterator[str]:
    """How much of the pool the best level leaves free, or what leaving some of it free costs."""
    room, best = found.with_room, found.best
    if room is None or best is None:
        return
    free = f"{1 - room.peak_kv_share:.0%}"
    if room is best:
        yield f"At its best level {free} of the KV pool stayed free."
    elif room not in found.not_different:
        less = 1 - room.output_tokens_per_s / best.output_tokens_per_s
        yield (
            f"At {best.load:g} the KV pool was full; {room.load:g} {unit} left {free} of it free, with {less:.0%} less "
            "throughput."
        )


def kv_verdict(kv: KvSaturation, unit: str) -> Iterator[str]:
    if kv.reached is not None:
        after = f", and at {kv.after:g} none did" if kv.after is not None else ", the least that was tried"
        yield f"Requests waited for KV blocks, or lost them, from {kv.reached:g} {unit} on{after}."
    if kv.derived is None:
        return
    low, high = (f"{value:,.0f}" for value in kv.derived)
    about = low if low == high else f"{low} to {high}"
    verb = "Predicted, not measured: the" if kv.predicted else "The"
    yield f"{verb} pool is full with {about} concurrent requests (most running / most of the pool in use, below that)."
