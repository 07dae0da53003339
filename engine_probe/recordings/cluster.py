"""A point that several engines measured together: their recordings on one clock, and the figures of all of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec

from engine_probe.analysis.cluster.window import CommonWindow, common_window, engine_times
from engine_probe.analysis.compare.changes import METRICS, SUCCESS_RATE
from engine_probe.analysis.curve.held_load import held_load
from engine_probe.analysis.run.latencies import LATENCIES, answered
from engine_probe.analysis.run.latency_figures import ByName, LatencyFigures, milliseconds
from engine_probe.analysis.run.slo import Slo
from engine_probe.analysis.run.success import Success, summed
from engine_probe.analysis.run_analysis import RunAnalysis
from engine_probe.analysis.statistics.grouped import grouped
from engine_probe.analysis.statistics.sample import Sample
from engine_probe.engine.parallelism import DATA, recorded_rank_count
from engine_probe.errors import InputError, reason_of
from engine_probe.record.run_folder import COMPLETE, REPLICA_FOLDER, WALL_CLOCK_AHEAD
from engine_probe.recordings.run import Run, load
from engine_probe.workload.load import load_of

MOST_ENGINES = 1024  # of one kind at a point
MOST_AHEAD_NS = 10**18  # thirty years


class ClockAhead(msgspec.Struct, frozen=True):
    """How far a machine's wall clock was ahead of the sweep's machine, and how exactly that is known."""

    ns: Annotated[int, msgspec.Meta(ge=-MOST_AHEAD_NS, le=MOST_AHEAD_NS)]
    error_ns: Annotated[int, msgspec.Meta(ge=0, le=MOST_AHEAD_NS)]


@dataclass(frozen=True)
class ClusterEngine:
    """One of the engines, with its own recording."""

    number: int  # from 1
    kind: int  # 0: the sweep's own engine; then those of its mix
    run: Run
    analysis: RunAnalysis
    work: Mapping[str, Any]  # its workload
    sharing: int = 1  # engines among which that is divided

    @property
    def gpus(self) -> int | None:
        """Return how many GPUs it used; 0 on CPUs. None if its recording does not tell."""
        return recorded_rank_count(self.run.facts) if self.run.facts.get("hardware", {}).get("gpus") else 0

    @property
    def place(self) -> str:
        """Name the machine, and the GPUs or cores that the engine had."""
        facts = self.run.facts
        gpus = ", ".join(str(gpu.get("index", "")) for gpu in facts.get("hardware", {}).get("gpus") or [])
        host = str(facts["process"]["host"])
        return f"{host} GPU {gpus}" if gpus else host


@dataclass(frozen=True)
class ClusterGoodput:
    """How many requests of all engines met all limits of an SLO; it is met where each engine meets it."""

    requests_per_s: float
    kept: int
    judged: int
    met: bool | None

    @property
    def share(self) -> float | None:
        return self.kept / self.judged if self.judged else None


@dataclass(frozen=True)
class Cluster(ByName):
    """The figures of a point: the sum in the window in which all engines run, and latencies of all requests.

    Latencies have their names in `vllm bench`, as those of a run: `cluster.ttft.p50_ms`.
    """

    engines: tuple[ClusterEngine, ...]
    window: CommonWindow
    latencies: tuple[LatencyFigures, ...]
    success: Success | None  # None if it is not known of every engine

    @property
    def output_tokens_per_s(self) -> float:
        return self.window.output_tokens_per_s

    @property
    def metrics(self) -> dict[str, float | None]:
        """Return those metrics of a run that a cluster has, too, by their names in tables and JSON."""
        found: dict[str, float | None] = {"output_tokens_per_s": self.output_tokens_per_s}
        found[SUCCESS_RATE] = self.success.rate if self.success else None
        if goodput := self.goodput:
            found |= {"goodput_requests_per_s": goodput.requests_per_s, "goodput_share": goodput.share}
        for latency in self.latencies:
            for percent, ns in latency.percentiles_ns.items():
                found[f"{latency.name.lower()}_p{percent}_ms"] = milliseconds(ns)
        known = {metric.name for metric in METRICS}
        return {name: value for name, value in found.items() if name in known}

    @property
    def gpus(self) -> int | None:
        """Return the GPUs of all engines. None on CPUs, or if a recording does not tell."""
        return gpus_of(self.engines)

    @property
    def goodput(self) -> ClusterGoodput | None:
        """Return the goodput of all engines. None unless limits were named."""
        return goodput_of(self.engines)

    @property
    def kinds(self) -> list[list[int]]:
        """Return the places, from 0, of the engines of each kind."""
        return list(grouped(range(len(self.engines)), lambda place: self.engines[place].kind).values())


def measured_together(asked: Mapping[str, Any]) -> bool:
    """Return whether a point's settings ask for several engines, or for several cores of a twin."""
    return asked.get("replicas", 1) != 1 or bool(asked.get("mix")) or twin_cores(asked) != 1


def twin_cores(asked: Mapping[str, Any]) -> int:
    """Return the data-parallel cores of a twin, each of which has a recording; 1 for a real engine."""
    engine = asked.get("engine")
    if not isinstance(engine, Mapping) or not engine.get("twin") or not asked.get("probe", True):
        return 1
    found = (engine.get("arguments") or {}).get(DATA, 1)
    return found if isinstance(found, int) and 0 < found <= MOST_ENGINES else 1


def workloads(asked: Mapping[str, Any]) -> list[tuple[int, Mapping[str, Any]]]:
    """Return kind and workload of each engine that a point asks for. Raise `InputError` if no sweep wrote that."""
    try:
        own = asked.get("workload", asked)
        cores = twin_cores(asked)
        parts = [(asked.get("replicas", 1) if cores == 1 else cores, own)]
        parts += [(one.get("replicas", 1), one.get("workload") or own) for one in asked.get("mix") or ()]
        if not all(isinstance(count, int) and 0 < count <= MOST_ENGINES for count, _ in parts):
            raise ValueError("replicas")
        for _, work in parts:
            load_of(dict(work))
    except (AttributeError, TypeError, ValueError) as error:
        raise InputError(f"its engines are not what a sweep writes ({reason_of(error)})") from error
    return [(kind, work) for kind, (count, work) in enumerate(parts) for _ in range(count)]


def open_cluster(folder: Path, asked: Mapping[str, Any], slo: Slo | None = None) -> Cluster:
    """Open the recordings below a point's folder. Raise `InputError` if one is missing or incomplete."""
    runs = [load(folder / REPLICA_FOLDER.format(number + 1)) for number in range(len(workloads(asked)))]
    for number, run in enumerate(runs, 1):
        if run.status != COMPLETE:
            raise InputError(f"engine {number} of {len(runs)}: {'; '.join(run.notes)}")
        if not run.iterations.num_rows:
            raise InputError(f"engine {number} of {len(runs)}: it ended before the engine's first step")
    return cluster_of(runs, [run.analysis(slo) for run in runs], workloads(asked), twin_cores(asked))


def cluster_of(
    runs: Sequence[Run],
    analyses: Sequence[RunAnalysis],
    kinds: Sequence[tuple[int, Mapping[str, Any]]],
    sharing: int = 1,
) -> Cluster:
    """Return the figures of engines that ran at the same time; `sharing` of them divide one workload."""
    engines = tuple(
        ClusterEngine(number, kind, run, analysis, work, sharing)
        for number, (run, analysis, (kind, work)) in enumerate(zip(runs, analyses, kinds, strict=True), 1)
    )
    ahead = clocks_ahead(runs)
    times = [engine_times(one.run.iterations, held_span(one), ns) for one, ns in zip(engines, ahead, strict=True)]
    window = common_window(times)
    if window is None:
        raise InputError("its engines never ran at the same time, so there is no sum: give each more requests")
    known = [one.analysis.summary.success for one in engines]
    counted = [one for one in known if one is not None]
    return Cluster(engines, window, latencies_of(engines), summed(counted) if len(counted) == len(known) else None)


def gpus_of(engines: Sequence[ClusterEngine]) -> int | None:
    counts = [engine.gpus for engine in engines]
    return None if None in counts else sum(count or 0 for count in counts) or None


def goodput_of(engines: Sequence[ClusterEngine]) -> ClusterGoodput | None:
    found = [one for engine in engines if (one := engine.analysis.summary.goodput) is not None]
    if not found or len(found) < len(engines):
        return None
    met = [one.met for one in found]
    return ClusterGoodput(
        sum(one.requests_per_s for one in found),
        sum(one.kept for one in found),
        sum(one.judged for one in found),
        False if False in met else None if None in met else True,
    )


def latencies_of(engines: Sequence[ClusterEngine]) -> tuple[LatencyFigures, ...]:
    """Return every latency over the answered requests of all these engines together."""
    runs = [engine.run for engine in engines]
    tables = [(run.iterations, answered(run.measured_requests), run.profiled_span) for run in runs]
    samples = ((latency, Sample.joined([latency.sample_ns(*each) for each in tables])) for latency in LATENCIES)
    return tuple(LatencyFigures.of(latency.name, latency.formula, sample) for latency, sample in samples)


def held_span(engine: ClusterEngine) -> tuple[int, int] | None:
    """Return when the engine held its load. None if it did not, or for too short a time."""
    run, later = engine.run, engine.analysis.summary.after_warm_up
    held = held_load(engine.work, run.iterations, run.requests, later, run.profiled_span)
    return (held.begin_ns, held.end_ns) if held else None


def clocks_ahead(runs: Sequence[Run]) -> list[int]:
    """Return how far each recording's clock is ahead of the common one.

    Engines of one machine share its monotonic clock. Those of several are laid on the wall clock of the sweep's
    machine, with which a fleet compares those of the others; without that they are taken to agree.
    """
    if len({run.facts["process"]["host"] for run in runs}) == 1:
        return [0] * len(runs)
    ahead = [clock.ns if (clock := wall_clock_ahead(run)) else 0 for run in runs]
    clocks = [run.facts["clock"] for run in runs]
    return [clock["monotonic_ns"] - clock["wall_ns"] + ns for clock, ns in zip(clocks, ahead, strict=True)]


def wall_clock_ahead(run: Run) -> ClockAhead | None:
    """Return how far the wall clock of a recording was ahead. None if it was not compared."""
    try:
        return msgspec.convert(run.facts.get(WALL_CLOCK_AHEAD), ClockAhead)
    except msgspec.ValidationError:
        return None
