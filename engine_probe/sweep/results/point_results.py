"""The rows of a sweep: the figures of a point's recording, or the reason why there are none."""

from pathlib import Path
from statistics import fmean

import msgspec

from engine_probe.analysis.compare.perplexity import perplexity
from engine_probe.analysis.curve.held_load import held_load
from engine_probe.analysis.run.latency_figures import LatencyFigures
from engine_probe.analysis.step.losses import recomputed_share
from engine_probe.errors import EngineProbeError
from engine_probe.perplexity.text import read_text, text_sha256
from engine_probe.perplexity.text_scores import Measured, read_measured
from engine_probe.record.run_folder import COMPLETE, REPLICA_FOLDER
from engine_probe.recordings.cluster import Cluster, open_cluster
from engine_probe.recordings.run import Run, load
from engine_probe.sweep.definition.saturation_stop import Reached
from engine_probe.sweep.definition.sweep_file import Point
from engine_probe.sweep.results.driver_log import Driven, read_driver_log

FAILED, SKIPPED = "failed", "skipped"


class Unmeasured(msgspec.Struct, frozen=True):
    """A point that failed, or whose recording is incomplete, so that no figure of it would be true."""

    id: str
    point: Point
    status: str
    reason: str
    exit_code: int = 1
    folder: str = ""  # of its recording, in the sweep's folder of points


class Unprobed(msgspec.Struct, frozen=True):
    """A point that ran with the probe off: only the driver's clock tells its duration."""

    id: str
    point: Point
    driven: Driven
    status: str = COMPLETE
    reason: str = "ran without the probe, so there is no recording"
    folder: str = ""


class ReplicaResult(msgspec.Struct, frozen=True):
    """One engine in the time in which all ran; its own recording is in `folder`, below the point's."""

    folder: str
    model: str
    place: str  # its machine, and its GPUs
    output_tokens: int
    output_tokens_per_s: float
    median_ttft_seconds: float | None  # of its requests
    seconds: float  # of its whole recording


class PointResult(msgspec.Struct, frozen=True):
    """One measured point: figures of its run's summary and limits, as a report computes them.

    Of a point that several engines measured together: seconds and tokens are those of the time in which all ran, the
    median is over all requests, shares are means over the engines or those of the fullest, and the rest are sums.
    """

    id: str
    point: Point
    status: str
    iterations: int
    seconds: float
    output_tokens: int
    recomputed_tokens: int
    recomputed_share: float  # of all scheduled tokens
    preemptions: int
    mean_running: float
    peak_running: int
    peak_waiting: int  # in the queue, the deferred among them
    peak_kv_share: float
    median_ttft_seconds: float | None  # None where nobody was answered
    limited_by: dict[str, float]  # share of the busy time by the limits met
    driven: Driven | None = None
    held_output_tokens_per_s: float | None = None  # while the load was held; None if it was not, or too short
    still_changing: bool = False  # the throughput never settled, or was still warming up at the end
    untouched_output_tokens_per_s: float | None = None  # outside the window of operators; None without one
    replicas: list[ReplicaResult] = []  # each engine's own figures, if several measured the point together
    folder: str = ""
    highest_output_tokens_per_s: float | None = None  # in any 0.2 s of the run

    @property
    def output_tokens_per_s(self) -> float:
        rate = self.untouched_output_tokens_per_s
        return self.output_tokens / self.seconds if rate is None else rate

    @property
    def reached(self) -> Reached:
        """Return what decides about the next point: the throughput of the steady part, or while the load was held."""
        steady = self.driven.steady if self.driven else None
        rate = self.held_output_tokens_per_s or self.output_tokens_per_s
        if steady and steady.reached and steady.rate:
            rate = steady.rate.output_tokens_per_s
        return Reached(rate, self.recomputed_share)


class Scored(msgspec.Struct, frozen=True):
    """How well an engine predicted a text; the figures of each window are in the point's folder."""

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
    folder: str = ""


Row = PointResult | Unmeasured | Unprobed | Scored


def measure(run: Run, point: Point) -> Row:
    """Return the row of a recorded point."""
    if run.status != COMPLETE:
        return Unmeasured(point.key, point, run.status, "; ".join(run.notes), folder=run.folder.name)
    if not run.iterations.num_rows:
        reason = "it ended before the engine's first step"
        return Unmeasured(point.key, point, FAILED, reason, folder=run.folder.name)
    found = run.analysis()
    summary, profiled = found.summary, run.profiled_span
    work = msgspec.to_builtins(point.workload)
    held = held_load(work, run.iterations, run.requests, summary.after_warm_up, profiled)
    return PointResult(
        id=point.key,
        point=point,
        status=run.status,
        iterations=summary.iterations,
        seconds=summary.seconds,
        output_tokens=summary.output_tokens,
        recomputed_tokens=found.preemption_cost.recomputed_tokens,
        recomputed_share=summary.recomputed_share,
        preemptions=summary.preemptions,
        mean_running=summary.mean_running,
        peak_running=summary.peak_running,
        peak_waiting=summary.peak_waiting,
        peak_kv_share=summary.peak_kv_share,
        median_ttft_seconds=median_seconds(summary.ttft),
        limited_by=found.limits.shares,
        driven=driven_of(run),
        held_output_tokens_per_s=held.output_tokens_per_s if held else None,
        still_changing=summary.after_warm_up is not None and summary.after_warm_up.changing,
        untouched_output_tokens_per_s=summary.output_tokens_per_s if profiled else None,
        folder=run.folder.name,
        highest_output_tokens_per_s=summary.highest_output_tokens_per_s,
    )


def measured_together(folder: Path, point: Point) -> PointResult:
    """Return the row of a point that several engines measured together, or several cores of a twin."""
    cluster = open_cluster(folder, msgspec.to_builtins(point))
    each, window = [engine.analysis for engine in cluster.engines], cluster.window
    limits = {name for one in each for name in one.limits.shares}
    return PointResult(
        id=point.key,
        point=point,
        status=COMPLETE,
        iterations=sum(one.summary.iterations for one in each),
        seconds=window.seconds,
        output_tokens=window.output_tokens,
        recomputed_tokens=sum(one.preemption_cost.recomputed_tokens for one in each),
        recomputed_share=recomputed_share(*(engine.run.iterations for engine in cluster.engines)),
        preemptions=sum(one.summary.preemptions for one in each),
        mean_running=sum(one.summary.mean_running for one in each),
        peak_running=sum(one.summary.peak_running for one in each),
        peak_waiting=sum(one.summary.peak_waiting for one in each),
        peak_kv_share=max(one.summary.peak_kv_share for one in each),
        median_ttft_seconds=median_seconds(cluster.ttft),
        limited_by={name: fmean(one.limits.shares.get(name, 0.0) for one in each) for name in sorted(limits)},
        held_output_tokens_per_s=cluster.output_tokens_per_s if window.held else None,
        replicas=replica_results(cluster),
        folder=folder.name,
    )


def driven_of(run: Run) -> Driven | None:
    """Return the driver's account of a run. None if another program drove it."""
    try:
        return msgspec.convert(run.facts.get("outcome"), Driven)
    except msgspec.ValidationError:
        return None


def of_another(folder: Path, point: Point) -> bool:
    """Return whether the folder has a recording that says it is of another point: a changed sweep may reuse a name."""
    if not point.has_run_json:
        return False  # its key is in the folder's name
    recorded = load(folder).facts.get("point")
    return isinstance(recorded, dict) and recorded.get("id") != point.key


def row_at(folder: Path, point: Point) -> Row:
    """Return the row of what was measured into this folder."""
    if point.quality is not None:
        return scored(folder, point, read_measured(folder))
    if point.together or point.recorded_by_core:
        return measured_together(folder, point)
    if point.probe:
        return measure(load(folder), point)
    return Unprobed(point.key, point, read_driver_log(folder), folder=folder.name)


def scored(folder: Path, point: Point, found: Measured) -> Scored:
    estimate = perplexity(found.window_nll, found.window_tokens)
    return Scored(
        id=point.key,
        point=point,
        perplexity=estimate.value if estimate else None,
        reach=estimate.reach if estimate else None,
        tokens=sum(found.window_tokens),
        windows=len(found.window_tokens),
        not_finite_tokens=found.not_finite_tokens,
        seconds=found.seconds,
        folder=folder.name,
    )


def finished(folder: Path, point: Point) -> PointResult | Unprobed | Scored | None:
    """Return the row of what an earlier run measured into this folder. None if that is incomplete."""
    if not folder.is_dir():
        return None
    try:
        if point.quality is not None and text_sha256(read_text(point.quality)) != read_measured(folder).text_sha256:
            return None  # the file holds another text by now
        if of_another(folder, point):
            return None
        row = row_at(folder, point)
    except EngineProbeError:
        return None
    return None if isinstance(row, Unmeasured) else row


def replica_results(cluster: Cluster) -> list[ReplicaResult]:
    return [
        ReplicaResult(
            folder=REPLICA_FOLDER.format(engine.number),
            model=engine.run.model_name,
            place=engine.place,
            output_tokens=tokens,
            output_tokens_per_s=rate,
            median_ttft_seconds=median_seconds(engine.analysis.summary.ttft),
            seconds=engine.analysis.summary.seconds,
        )
        for engine, tokens, rate in zip(cluster.engines, cluster.window.tokens, cluster.window.rates, strict=True)
    ]


def median_seconds(latency: LatencyFigures) -> float | None:
    median_ns = latency.percentiles_ns[50]
    return None if median_ns is None else median_ns / 1e9
