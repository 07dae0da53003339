"""How the throughput of a cluster grows with the number of its engines."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from engine_probe.analysis.statistics.repeats import Repeated, noise, relative_change, repeated
from engine_probe.analysis.statistics.student import Interval


@dataclass(frozen=True)
class ScalingLevel:
    """A number of engines; `efficiency` is their throughput over that of one engine times their number."""

    engines: int
    output_tokens_per_s: Repeated
    efficiency: float
    interval: Interval | None  # 95 %; None without repeats of both


def scaling(rates: Mapping[int, Sequence[float]]) -> list[ScalingLevel]:
    """Return the levels in ascending order, given the throughput of each repeat.

    Empty without a single engine, and if that gave no tokens.
    """
    alone = rates.get(1, ())
    if len(rates) < 2 or not any(alone):
        return []
    levels = []
    for engines in sorted(rates):
        found = repeated(rates[engines])
        if found is None:
            continue
        efficiency = found.mean / (engines * float(np.mean(alone)))
        levels.append(ScalingLevel(engines, found, efficiency, interval_of(alone, rates[engines], engines)))
    return levels


def interval_of(alone: Sequence[float], together: Sequence[float], engines: int) -> Interval | None:
    before, after = noise([alone]), noise([together])
    if engines == 1 or before is None or after is None:
        return None
    low, high = relative_change(alone, together, before, after)
    return (1 + low) / engines, (1 + high) / engines
