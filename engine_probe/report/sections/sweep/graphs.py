"""Where decode steps outgrow the CUDA graphs over the load, in the verdict of a sweep."""

from collections.abc import Iterator

from engine_probe.analysis.batch.left_graphs import LeftGraphs
from engine_probe.recordings.curve import Curve
from engine_probe.workload.load import level_words


def graphs_verdict(curve: Curve) -> Iterator[str]:
    if found := curve.left_graphs:
        yield left_graphs_words(found, curve.unit)


def left_graphs_words(found: LeftGraphs, unit: str) -> str:
    left = (
        f"Decode steps outgrow the largest CUDA graph ({found.largest:,} tokens) between {found.within:g} and "
        f"{level_words(found.beyond, unit)}, where {found.share:.0%} of the time goes to decode steps outside graphs"
    )
    if not found.at_knee:
        return f"{left}."
    kv = "requests also wait for KV blocks there" if found.waited_for_kv else "no request waits for KV blocks there"
    return f"{left}; throughput stops growing in the same range, and {kv}."
