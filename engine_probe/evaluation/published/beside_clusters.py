"""Published clusters beside what was measured of the same engines."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from engine_probe.evaluation.published.clusters import PublishedCluster
from engine_probe.evaluation.published.documents import PublishedDocument, Stated
from engine_probe.evaluation.published.published_comparison import differences, plain_model
from engine_probe.recordings.cluster_levels import ClusterLevel, ClusterPart


@dataclass(frozen=True)
class BesideCluster:
    """A published cluster, the document's rows of its parts, and the configuration that was measured, if any."""

    published: PublishedCluster
    stated: tuple[Stated, ...]
    measured: ClusterLevel | None
    differs: tuple[str, ...]

    @property
    def values(self) -> list[float]:
        return [float(row.value) for row in self.stated if isinstance(row.value, int | float)]

    @property
    def ratio(self) -> float | None:
        """Return measured / published. None for another number of engines, which would be another cluster."""
        found, numbers = self.measured, [part.engines for part in self.published.parts]
        if found is None or [len(part.engines) for part in found.parts] != numbers:
            return None
        return found.output_tokens_per_s.mean / sum(self.values)


def beside_clusters(
    clusters: Sequence[PublishedCluster],
    setting: Mapping[str, str | int],
    document: PublishedDocument,
    levels: Sequence[ClusterLevel],
) -> list[BesideCluster]:
    found = []
    for cluster in clusters:
        stated = tuple(document.stated(part.key) for part in cluster.parts)
        level = next((level for level in levels if same_kinds(cluster, level)), None)
        differs = () if level is None else tuple(dict.fromkeys(differing(cluster, level, setting)))
        found.append(BesideCluster(cluster, stated, level, differs))
    return found


def same_kinds(cluster: PublishedCluster, level: ClusterLevel) -> bool:
    """Return whether a configuration has the models and ranks of a published one, in its order."""
    if len(cluster.parts) != len(level.parts):
        return False
    return all(
        plain_model(part.engines[0].run.model_name) in (published.model, published.stand_in)
        and tensor_parallel_size(part) == published.tensor_parallel_size
        for published, part in zip(cluster.parts, level.parts, strict=True)
    )


def tensor_parallel_size(part: ClusterPart) -> int:
    parallel = part.engines[0].run.facts["engine"]["arguments"].get("parallel_config") or {}
    return int(parallel.get("tensor_parallel_size") or 1)


def differing(cluster: PublishedCluster, level: ClusterLevel, setting: Mapping[str, str | int]) -> Iterator[str]:
    for published, part in zip(cluster.parts, level.parts, strict=True):
        if published.engines != len(part.engines):
            yield f"{len(part.engines)} engines for {published.engines}"
        more = {"precision": published.precision} if published.precision else {}
        yield from differences({**setting, **more}, part.engines[0].run)
