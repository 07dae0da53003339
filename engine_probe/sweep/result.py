"""What the points came to: every figure is counted in a recording, and what cannot be counted is not said."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np

from engine_probe.analysis.metrics import TTFT, answered
from engine_probe.analysis.perplexity import perplexity
from engine_probe.analysis.regions import region_sentences
from engine_probe.analysis.saturation import Level, Saturation, saturation
from engine_probe.errors import EngineProbeError
from engine_probe.quality.measured import Measured, read_measured
from engine_probe.quality.text import read_text, text_sha256
from engine_probe.record.folder import COMPLETE
from engine_probe.run import Run, load
from engine_probe.sweep.driven import Driven, read_driven
from engine_probe.sweep.plan import Point
from engine_probe.sweep.saturated import Reached
from engine_probe.workload.load import AT_ONCE

Pressure = Literal["free", "waits", "recomputes"]
RECOMPUTES_SHARE = 0.1  # of all scheduled tokens
LOAD_OR_REPEAT = re.compile(r"[\d.]+(e[+-]?\d+)? (at once|users|requests/s|in all|of \d+)|as the trace says")
FAILED, SKIPPED = "failed", "skipped"


class Unmeasured(msgspec.Struct, frozen=True):
    """A point that failed, or whose recording is not whole: no figure of it would be true."""

    id: str
    point: Point
    status: str
    reason: str
    exit_code: int = 1


class Unwatched(msgspec.Struct, frozen=True):
    """A point that ran without the probe: the driver's clock is all there is."""

    id: str
    point: Point
    driven: Driven
    status: str = COMPLETE
    reason: str = "ran without the probe, so there is no recording"


class PointResult(msgspec.Struct, frozen=True):
    """One point, measured."""

    id: str
    point: Point
    status: str
    iterations: int
    seconds: float
    output_tokens: int
    scheduled_tokens: int
    recomputed_tokens: int
    preemptions: int
    mean_running: float
    peak_waiting: int
    kv_waits: int  # iterations in which a request waited although batch and token budget had room
    peak_kv_share: float
    median_ttft_seconds: float | None  # None where nobody was answered
    driven: Driven | None = None

    @property
    def output_tokens_per_s(self) -> float:
        return self.output_tokens / self.seconds

    @property
    def recomputed_share(self) -> float:
        return self.recomputed_tokens / self.scheduled_tokens

    @property
    def reached(self) -> Reached:
        """What a decision about the next point goes by: the steady part, where there is one."""
        known = self.driven.steady if self.driven else None
        rate = known.rate.output_tokens_per_s if known and known.reached and known.rate else self.output_tokens_per_s
        return Reached(rate, self.recomputed_share)

    @property
    def kv_pressure(self) -> Pressure:
        """What the pool did to this point, counted; where on the curve it lies (its region) is another question."""
        if self.recomputed_share >= RECOMPUTES_SHARE:
            return "recomputes"
        return "waits" if self.kv_waits or self.preemptions else "free"


class Scored(msgspec.Struct, frozen=True):
    """How well an engine predicted a text; what it said of each window is in the point's folder."""

    id: str
    point: Point
    perplexity: float | None  # None where a token has no finite probability
    reach: float | None  # half the 95 % interval
    tokens: int
    windows: int
    not_finite_tokens: int
    seconds: float
    status: str = COMPLETE
    driven: None = None  # no workload was
    reason: str = "a text was predicted, so there is no recording"


Row = PointResult | Unmeasured | Unwatched | Scored


def measure(run: Run, point: Point) -> Row:
    if run.status != COMPLETE:
        return Unmeasured(run.folder.name, point, run.status, "; ".join(run.notes))
    rows = run.iterations
    if not rows.num_rows:
        return Unmeasured(run.folder.name, point, "failed", "it ended before the engine's first step")
    column = {name: rows[name].to_numpy() for name in rows.column_names}
    limits = run.facts["limits"]
    duration = column["schedule_ns"] + column["execute_ns"] + column["update_ns"]
    kv_waits = (
        (column["waiting_requests"] > 0)
        & (column["running_requests"] < limits["max_num_seqs"])
        & (column["scheduled_tokens"] < limits["max_num_batched_tokens"])
    )
    (median_ttft_ns,) = TTFT.sample_ns(rows, answered(run.requests)).percentiles((50,))
    return PointResult(
        id=run.folder.name,
        point=point,
        status=run.status,
        iterations=rows.num_rows,
        seconds=float(column["start_ns"][-1] + duration[-1] - column["start_ns"][0]) / 1e9,
        output_tokens=int(column["output_tokens"].sum()),
        scheduled_tokens=int(column["scheduled_tokens"].sum()),
        recomputed_tokens=int(column["recomputed_tokens"].sum()),
        preemptions=int(column["preempted_requests"].sum()),
        mean_running=float(np.average(column["running_requests"], weights=duration)),
        peak_waiting=int(column["waiting_requests"].max()),
        kv_waits=int(kv_waits.sum()),
        peak_kv_share=int(column["kv_blocks_scheduled"].max()) / run.facts["kv"]["blocks"],
        median_ttft_seconds=None if median_ttft_ns is None else median_ttft_ns / 1e9,
        driven=driven_of(run),
    )


def driven_of(run: Run) -> Driven | None:
    """What the driver said of it; None where something else drove."""
    try:
        return msgspec.convert(run.facts.get("outcome"), Driven)
    except msgspec.ValidationError:
        return None


def row_at(place: Path, point: Point) -> Row:
    """What was measured into this folder."""
    if point.quality is not None:
        return scored(place, point, read_measured(place))
    if point.probe:
        return measure(load(place), point)
    return Unwatched(place.name, point, read_driven(place))


def scored(place: Path, point: Point, found: Measured) -> Scored:
    known = perplexity(found.window_nll, found.window_tokens)
    return Scored(
        id=place.name,
        point=point,
        perplexity=known.value if known else None,
        reach=known.reach if known else None,
        tokens=sum(found.window_tokens),
        windows=len(found.window_tokens),
        not_finite_tokens=found.not_finite_tokens,
        seconds=found.seconds,
    )


def finished(place: Path, point: Point) -> PointResult | Unwatched | Scored | None:
    """What an earlier run of the same sweep measured here, if it is whole."""
    if not place.is_dir():
        return None
    try:
        if point.quality is not None and text_sha256(read_text(point.quality)) != read_measured(place).text_sha256:
            return None  # the file holds another text by now
        row = row_at(place, point)
    except EngineProbeError:
        return None
    return None if isinstance(row, Unmeasured) else row


def interpretation(results: list[PointResult]) -> str:
    """A sentence for each curve over the load; empty where the points show nothing."""
    curves: dict[str, list[PointResult]] = {}
    for result in sorted(results, key=lambda result: result.point.load):
        curves.setdefault(curve(result.point), []).append(result)
    sentences = []
    for name, whole in curves.items():
        if len(curves) > 1 and len({result.point.load for result in whole}) == 1:
            continue  # no curve, a single point of several
        facts = [fact for fact in (waiting(whole), preemption(whole), best(whole)) if fact]
        sentence = "; ".join(facts)
        start = f"{name}: " if name and len(curves) > 1 else ""
        regions = region_sentences(curve_of(whole), whole[0].point.load_in)
        sentences.append(" ".join([f"{start}{sentence[:1].upper()}{sentence[1:]}.", *regions]))
    return "\n".join(sentences)


def curve_of(results: list[PointResult]) -> Saturation:
    """The levels of one curve, the repeats of each together, read for knee, peak and regions."""
    levels: dict[float, list[PointResult]] = {}
    for result in results:
        levels.setdefault(result.point.load, []).append(result)
    return saturation([level_of(load, repeats) for load, repeats in levels.items()])


def level_of(load: float, repeats: list[PointResult]) -> Level:
    rates = [result.output_tokens_per_s for result in repeats]
    return Level(
        load=load,
        output_tokens_per_s=float(np.mean(rates)),
        peak_running=max(round(result.mean_running) for result in repeats),  # of the pool nothing is derived here
        peak_kv_share=max(result.peak_kv_share for result in repeats),
        waited_for_kv=any(result.kv_pressure != "free" for result in repeats),
        repeated=tuple(rates),
    )


def curve(point: Point) -> str:
    """What its points have in common beside the load and repetition."""
    words = point.label.split(", ")
    return ", ".join(word for word in words if not LOAD_OR_REPEAT.fullmatch(word))


def waiting(whole: list[PointResult]) -> str:
    if first := next((result for result in whole if result.kv_pressure != "free"), None):
        if not first.point.load:
            return "requests waited for KV blocks"
        return f"the KV pool limits from {first.point.load:g} {first.point.load_in}"
    if not whole:
        return ""
    most = max(result.peak_kv_share for result in whole)
    return f"no request waited for KV blocks, of which at most {most:.0%} were in use"


def preemption(whole: list[PointResult]) -> str:
    hit = [result for result in whole if result.preemptions]
    if not hit:
        return ""
    worst = max(hit, key=lambda result: result.recomputed_share)
    twice = f"{worst.recomputed_share:.0%} of the tokens were computed a second time"
    if not worst.point.load:
        return f"requests were preempted, and {twice}"
    unit = "requests" if worst.point.load_in == AT_ONCE else worst.point.load_in
    return f"preemption begins at {hit[0].point.load:g}, and at {worst.point.load:g} {unit} {twice}"


def best(whole: list[PointResult]) -> str:
    if len({result.point.load for result in whole}) < 2:  # nothing to compare with
        return ""
    levels = curve_of(whole).levels  # the mean over the repeats of each
    top, last = max(levels, key=lambda level: level.output_tokens_per_s), levels[-1]
    said = f"throughput is highest at {top.load:g} ({top.output_tokens_per_s:.1f} tokens/s)"
    if last is top:
        return f"{said}, the most that was tried"
    return f"{said} and {1 - last.output_tokens_per_s / top.output_tokens_per_s:.0%} lower at {last.load:g}"
