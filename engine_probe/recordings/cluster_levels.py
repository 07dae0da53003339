"""The configurations of a sweep whose points several engines measured: which engines at which load, over repeats."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from engine_probe.analysis.cluster.balance import Balance, balance
from engine_probe.analysis.cluster.scaling import ScalingLevel, scaling
from engine_probe.analysis.run.latency_figures import LatencyFigures
from engine_probe.analysis.statistics.grouped import grouped
from engine_probe.analysis.statistics.repeats import Repeated, repeated
from engine_probe.engine.parallelism import DATA, SPLIT_WEIGHTS
from engine_probe.recordings.cluster import Cluster, ClusterEngine, ClusterGoodput, goodput_of, gpus_of, latencies_of
from engine_probe.recordings.sweep import Swept
from engine_probe.recordings.sweep_point import SweptPoint
from engine_probe.workload.load import load_of

RANKS = {"tensor_parallel_size": "TP", "pipeline_parallel_size": "PP", DATA: "DP"}


@dataclass(frozen=True)
class ClusterPart:
    """The engines of one kind, over all repeats of a configuration."""

    repeats: tuple[tuple[ClusterEngine, ...], ...]
    rates: tuple[tuple[float, ...], ...]  # of each engine in each repeat

    @property
    def engines(self) -> tuple[ClusterEngine, ...]:
        """Return the engines of the first repeat."""
        return self.repeats[0]

    @property
    def name(self) -> str:
        """Name them by number, model and ranks: `6 × llama-3-70b TP 2`."""
        return f"{len(self.engines)} × {self.kind}"

    @property
    def kind(self) -> str:
        run = self.engines[0].run
        parallel = run.facts["engine"]["arguments"].get("parallel_config") or {}
        ranks = [f"{RANKS[name]} {parallel[name]}" for name in (*SPLIT_WEIGHTS, DATA) if (parallel.get(name) or 1) > 1]
        return " ".join([run.model_name, *ranks])

    @property
    def output_tokens_per_s(self) -> Repeated | None:
        return repeated([sum(rates) for rates in self.rates])

    @property
    def load(self) -> tuple[float, str]:
        """Return the load of each engine, and its unit; on average, where they divide one."""
        load, unit = load_of(dict(self.engines[0].work))
        return load / self.engines[0].sharing, unit

    @property
    def gpus(self) -> int | None:
        """Return the GPUs of these engines. None on CPUs, or if a recording does not tell."""
        return gpus_of(self.engines)

    @cached_property
    def goodputs(self) -> list[ClusterGoodput]:
        """Return the goodput of each repeat; empty unless limits were named."""
        return [found for engines in self.repeats if (found := goodput_of(engines)) is not None]

    @cached_property
    def latencies(self) -> list[tuple[LatencyFigures, ...]]:
        """Return every latency over all requests of these engines, of each repeat."""
        return [latencies_of(engines) for engines in self.repeats]

    def mean_ns(self, latency: str, percent: int) -> Repeated | None:
        """Return the mean over the repeats of a percentile over all requests of these engines."""
        return mean_percentile(self.latencies, latency, percent)

    @property
    def tested(self) -> bool:
        """Return whether repeats can show an engine to differ: each had the same machine and GPUs in all of them."""
        return len(self.repeats) > 1 and len({tuple(each.place for each in engines) for engines in self.repeats}) == 1

    @cached_property
    def throughput_balance(self) -> Balance | None:
        return balance(self.rates)

    @cached_property
    def ttft_balance(self) -> Balance | None:
        """Return the balance of the median TTFT. None if an engine has none."""
        medians = [[engine.analysis.summary.ttft.percentiles_ns[50] for engine in engines] for engines in self.repeats]
        return balance([[one or 0.0 for one in row] for row in medians])


@dataclass(frozen=True)
class ClusterLevel:
    """A configuration at one load; repeats measure it again."""

    points: tuple[SweptPoint, ...]
    clusters: tuple[Cluster, ...]

    @property
    def name(self) -> str:
        return self.points[0].name

    @property
    def engines(self) -> int:
        return len(self.clusters[0].engines)

    @property
    def gpus(self) -> int | None:
        return self.clusters[0].gpus

    @property
    def output_tokens_per_s(self) -> Repeated:
        found = repeated([cluster.output_tokens_per_s for cluster in self.clusters])
        assert found is not None
        return found

    @cached_property
    def goodputs(self) -> list[ClusterGoodput]:
        """Return the goodput of each repeat; empty unless limits were named."""
        return [found for cluster in self.clusters if (found := cluster.goodput) is not None]

    @cached_property
    def parts(self) -> list[ClusterPart]:
        return [
            ClusterPart(
                tuple(tuple(cluster.engines[place] for place in places) for cluster in self.clusters),
                tuple(tuple(cluster.window.rates[place] for place in places) for cluster in self.clusters),
            )
            for places in self.clusters[0].kinds
        ]

    @property
    def configuration(self) -> str:
        return " + ".join(part.name for part in self.parts)

    def mean_ns(self, latency: str, percent: int) -> Repeated | None:
        """Return the mean over the repeats of a percentile over all requests of all engines."""
        return mean_percentile([cluster.latencies for cluster in self.clusters], latency, percent)


def mean_percentile(repeats: Sequence[Sequence[LatencyFigures]], latency: str, percent: int) -> Repeated | None:
    found = [each for figures in repeats for each in figures if each.name == latency]
    return repeated([each.percentiles_ns[percent] for each in found])


def cluster_levels(swept: Swept) -> list[ClusterLevel]:
    """Return the configurations in the sweep's order; none if no point was measured by several engines."""
    return [
        ClusterLevel(tuple(points), tuple(point.cluster for point in points if point.cluster))
        for points in grouped(swept.clusters, lambda point: (point.label, point.load)).values()
    ]


def scaling_of(levels: Sequence[ClusterLevel]) -> list[ScalingLevel]:
    """Return how throughput grows with the number of engines. Empty unless that alone differs, and one is measured."""
    kinds = {part.kind for level in levels for part in level.parts}
    loads = {level.parts[0].load for level in levels}
    numbers = [level.engines for level in levels]
    if len(kinds) > 1 or len(loads) > 1 or len(set(numbers)) < len(numbers):
        return []
    return scaling({level.engines: [one.output_tokens_per_s for one in level.clusters] for level in levels})
