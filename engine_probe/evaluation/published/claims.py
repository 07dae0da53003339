"""Claims that were published in words, each beside what a sweep measured of it.

A claim about load holds if its test over the points of the curve rejects "load has no effect" in the claim's direction.
The tests are those of the sweep's own sections (`load_effect`, `quality`). "Not shown" is no proof of the opposite.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec
import numpy as np

from engine_probe.analysis.answers.quality.answer_verdicts import FAULTS
from engine_probe.analysis.compare.load_effect import Effect, Effects
from engine_probe.analysis.run.gpu_health import GpuHealth, first_gpu
from engine_probe.analysis.statistics.matched_odds import Stratum, matched_odds
from engine_probe.analysis.statistics.student import SIGNIFICANT
from engine_probe.evaluation.quality import CORRECT, CurveQuality
from engine_probe.recordings.sweep_point import SweptPoint
from engine_probe.text_format import byte_size, counted, duration, percent

Holds = Literal["holds", "not shown", "does not hold", "not measured"]
FAILURES, LATENCY = "requests not answered", "E2EL, median"  # outcomes of the tests of load
FILLED = 0.9  # of a GPU's memory: "over 90 %" in the stress test
ONE_LOAD, NO_TEXT = "needs at least two loads", 'needs keep = "text" and a set of questions'


class Claim(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A published claim: its words, its figures if it has some, and the measure that judges it."""

    claim: str
    measure: str
    published: str = ""
    section: str = ""  # of the document
    doubt: str = ""


@dataclass(frozen=True)
class Evidence:
    """What was measured of one curve."""

    points: Sequence[SweptPoint]
    effects: Effects
    quality: CurveQuality | None

    def effect(self, name: str) -> Effect | None:
        return next((effect for effect in self.effects.tested if effect.outcome.name == name), None)

    @property
    def loads(self) -> tuple[float, float]:
        loads = [point.load for point in self.points if point.analysis]
        return min(loads), max(loads)


@dataclass(frozen=True)
class Finding:
    """What was measured of a claim, in words, and whether the claim holds."""

    holds: Holds
    words: str


@dataclass(frozen=True)
class JudgedClaim:
    claim: Claim
    finding: Finding


def judged_claims(claims: Sequence[Claim], evidence: Evidence) -> list[JudgedClaim]:
    """Judge every claim. Empty if no point was measured."""
    if not any(point.analysis for point in evidence.points):
        return []
    return [JudgedClaim(claim, MEASURES[claim.measure](evidence)) for claim in claims]


def rises(name: str, form: Callable[[float], str]) -> Callable[[Evidence], Finding]:
    """Return the measure of a value that is claimed to rise with load."""

    def finding(evidence: Evidence) -> Finding:
        effect = evidence.effect(name)
        if effect is None:
            return Finding("not measured", ONE_LOAD)
        low, high = evidence.loads
        words = f"{form(effect.lowest)} at {low:g}, {form(effect.highest)} at {high:g}; p = {effect.p:.2g}"
        if effect.rejected:
            return Finding("holds" if effect.size > 0 else "does not hold", words)
        return Finding("does not hold" if effect.verdict == "not different" else "not shown", words)

    return finding


def faster_than_load(evidence: Evidence) -> Finding:
    """Judge whether latency grows faster than load does: in proportion to it, requests only wait for their turn."""
    effect = evidence.effect(LATENCY)
    low, high = evidence.loads
    if effect is None or not effect.lowest or low == high:
        return Finding("not measured", ONE_LOAD)
    slower, more = effect.highest / effect.lowest, high / low
    words = f"{slower:.1f} times the latency at {more:g} times the load"
    return Finding("holds" if slower > more else "does not hold", words)


def worse_answers(name: str) -> Callable[[Evidence], Finding]:
    """Return the measure of a fault that is claimed to come with load, or of accuracy that is claimed to go."""

    def finding(evidence: Evidence) -> Finding:
        quality = evidence.quality
        levels = [(level.load, level.rate(name)) for level in quality.levels] if quality else []
        known = [(load, rate) for load, rate in levels if rate is not None]
        if quality is None or not known:
            return Finding("not measured", why_not_judged(quality, name) if quality else NO_TEXT)
        words = ", ".join(f"{rate.share:.0%} at {load:g}" for load, rate in known)
        if len(known) < 2:
            return Finding("not measured", f"{words}; {ONE_LOAD}")
        rising = [c.more > c.less for c in quality.changes if c.name == name and c.significant]
        if not rising:
            return Finding("not shown", words)
        return Finding("holds" if any(up != (name == CORRECT) for up in rising) else "does not hold", words)

    return finding


def why_not_judged(quality: CurveQuality, name: str) -> str:
    """Return why no answer has this verdict, with the number of answers for each reason."""
    verdicts = (getattr(answer.verdicts, name) for level in quality.levels for answer in level.answers)
    reasons = Counter(verdict.reason for verdict in verdicts).most_common()
    return f"no answer can be judged ({', '.join(f'{reason}: {count}' for reason, count in reasons)})"


def lost_kv_cache(evidence: Evidence) -> Finding:
    """Judge whether requests that lost their KV cache are answered worse than those that kept it, by question."""
    runs = [(point, point.run, point.analysis.summary) for point in evidence.points if point.run and point.analysis]
    if not any(summary.preemptions for _, _, summary in runs):
        fullest = max(summary.peak_kv_share for _, _, summary in runs)
        return Finding("not measured", f"no request lost its KV cache; the pool was at most {percent(fullest)} full")
    answers: dict[str, list[tuple[bool, bool]]] = {}  # by question: whether preempted, and wrong
    judged = evidence.quality.runs if evidence.quality else {}
    for point, run, _ in runs:
        lost = set(run.preemptions["request_id"].to_pylist())
        for answer in judged[point.id].answers if point.id in judged else ():
            if (value := answer.verdicts.correct.value) is not None:
                answers.setdefault(answer.question_id, []).append((answer.request_id in lost, not value))
    if not answers:
        return Finding("not measured", NO_TEXT)
    both = [each for each in answers.values() if len({preempted for preempted, _ in each}) == 2]
    if not both:
        return Finding("not measured", "no question was answered with its KV cache lost once and kept once")
    tables = [np.array(each) for each in both]
    known = matched_odds([Stratum(table[:, 0].astype(np.float64), table[:, 1]) for table in tables])
    rights = (share([not wrong for each in both for lost, wrong in each if lost is kind]) for kind in (True, False))
    words = "right: {} preempted, {} others, on the same {}".format(*rights, counted(len(both), "question"))
    if known is None:
        return Finding("not shown", f"{words}; each was always right or always wrong")
    worse = known.ratio > 1 and known.p < SIGNIFICANT
    return Finding("holds" if worse else "not shown", f"{words}; p = {known.p:.2g}")


def share(rights: Sequence[bool]) -> str:
    return f"{sum(rights)} of {len(rights)}"


def full_memory(evidence: Evidence) -> Finding:
    """Judge whether the model fills the memory before any user comes, or vLLM has set it aside for KV blocks."""
    run = next(point.run for point in evidence.points if point.run)
    rows = [row for row in run.facts.get("memory") or () if row["total_bytes"] and row["device"] != "cpu"]
    if not rows:
        return Finding("not measured", "needs a GPU")
    row = rows[0]
    total, weights, pool = row["total_bytes"], row["weights_bytes"] or 0, row["kv_pool_bytes"] or 0
    words = (
        f"vLLM reserves {(row['reserved_bytes'] or 0) / total:.1%} of {byte_size(total)} by its setting: "
        f"{weights / total:.1%} weights, {pool / total:.1%} KV blocks for users"
    )
    return Finding("holds" if weights > FILLED * total else "does not hold", words)


def continuous(evidence: Evidence) -> Finding:
    """Say what would judge a claim about another kind of arrivals: a sweep of its own."""
    run = next(point.run for point in evidence.points if point.run)
    kind = ((run.facts.get("workload") or {}).get("arrivals") or {}).get("kind", "concurrency kept in flight")
    return Finding("not measured", f"arrivals here: {kind}; compare with a sweep of the other kind")


def healthy(evidence: Evidence) -> Finding:
    """Judge whether the GPU ran cool, at its highest clocks and below its limit."""
    gpu = first_gpu([point.run.telemetry for point in evidence.points if point.run])
    if gpu is None:
        return Finding("not measured", "needs a GPU")
    if gpu.any_reduced is None:
        return Finding("not measured", "reasons for reduced clocks were not recorded")
    return Finding("does not hold" if gpu.any_reduced else "holds", "; ".join(health_words(gpu.any_reduced, gpu)))


def health_words(reduced: float, gpu: GpuHealth) -> Iterator[str]:
    yield f"clocks reduced in {percent(reduced)} of the samples"
    if gpu.temperature_c:
        yield f"at most {gpu.temperature_c.most:g} °C"
    if gpu.power_w:
        yield f"{gpu.power_w.mean:.0f} W on average"


def milliseconds(value: float) -> str:
    return duration(value * 1e6)


MEASURES: dict[str, Callable[[Evidence], Finding]] = {
    "failures": rises(FAILURES, percent),
    "latency": rises(LATENCY, milliseconds),
    "faster_than_load": faster_than_load,
    "accuracy": worse_answers(CORRECT),
    **{name: worse_answers(name) for name in FAULTS},
    "lost_kv_cache": lost_kv_cache,
    "full_memory": full_memory,
    "healthy": healthy,
    "continuous": continuous,
}
