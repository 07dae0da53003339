"""What each engine contributed to the row of a point that several measured together."""

import msgspec

from engine_probe.record.run_folder import REPLICA_FOLDER
from engine_probe.recordings.cluster import Cluster


class ReplicaResult(msgspec.Struct, frozen=True):
    """One engine in the time in which all ran; its own recording is in `folder`, below the point's."""

    folder: str
    model: str
    place: str  # its machine, and its GPUs
    output_tokens: int
    output_tokens_per_s: float
    median_ttft_seconds: float | None  # of its requests
    seconds: float  # of its whole recording


def replica_results(cluster: Cluster) -> list[ReplicaResult]:
    found = []
    for engine, tokens, rate in zip(cluster.engines, cluster.window.tokens, cluster.window.rates, strict=True):
        summary = engine.analysis.summary
        ttft_ns = summary.ttft.percentiles_ns[50]
        found.append(
            ReplicaResult(
                folder=REPLICA_FOLDER.format(engine.number),
                model=engine.run.model_name,
                place=engine.place,
                output_tokens=tokens,
                output_tokens_per_s=rate,
                median_ttft_seconds=None if ttft_ns is None else ttft_ns / 1e9,
                seconds=summary.seconds,
            )
        )
    return found
