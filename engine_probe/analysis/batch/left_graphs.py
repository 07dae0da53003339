"""Where the decode steps of a sweep outgrow the largest CUDA graph, and whether growth ends there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engine_probe.analysis.batch.graphs import GraphUse
from engine_probe.analysis.curve.saturation import Saturation

MOSTLY = 0.5  # of the busy time


@dataclass(frozen=True)
class LeftGraphs:
    """The loads between which decode steps leave the graphs."""

    within: float  # the highest load with most of the time in steps that graphs can hold
    beyond: float  # the next, from which on most of the time is spent in decode steps that no graph holds
    share: float  # of the busy time at `beyond`, the least of its repeats
    largest: int  # tokens of the largest graph
    at_knee: bool  # growth ends in a range that has these loads in common
    waited_for_kv: bool  # requests waited for KV blocks at `beyond` as well


def left_graphs(uses: Mapping[float, Sequence[GraphUse | None]], found: Saturation) -> LeftGraphs | None:
    """Find the change, given the use of graphs by load. None unless all repeats show it, at all higher loads too."""
    known = {load: [use for use in repeats if use] for load, repeats in sorted(uses.items())}
    if any(len(known[load]) < len(repeats) for load, repeats in uses.items()):
        return None
    least = {load: min(use.decode_beyond for use in repeats) for load, repeats in known.items()}
    most = {load: max(use.decode_beyond for use in repeats) for load, repeats in known.items()}
    below = [load for load in known if most[load] < MOSTLY]
    above = [load for load in known if least[load] >= MOSTLY]
    if not below or not above or len(below) + len(above) < len(known) or max(below) > min(above):
        return None
    within, beyond = max(below), min(above)
    largest = known[beyond][0].largest
    assert largest is not None  # else no step can have more tokens than it
    end, kv = found.saturation, found.kv.reached
    return LeftGraphs(
        within,
        beyond,
        least[beyond],
        largest,
        at_knee=end is not None and end.low <= beyond and end.high >= within,
        waited_for_kv=kv is not None and kv <= beyond,
    )
