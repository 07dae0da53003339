"""`stop.saturated`: ends a load axis where throughput no longer grows; higher levels are skipped."""

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Annotated

import msgspec

from engine_probe.files.key_meaning import about
from engine_probe.workload.lengths import Positive


class Saturated(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Skip the levels of a load axis above the one at which throughput stops growing."""

    axis: Annotated[str, about("The load axis; its values must ascend.", "workload.concurrency")] = (
        "workload.concurrency"
    )
    growth: Annotated[
        float, about("Relative growth of throughput below which a level counts as no growth.", 0.05, ge=0)
    ] = 0.02
    levels: Annotated[Positive, about("Number of levels without growth after which the axis ends.", 1)] = 2
    recomputed: Annotated[
        float,
        about(
            "One level without growth is enough where this share of its tokens was recomputed after preemptions.",
            0.2,
            gt=0,
            le=1,
        ),
    ] = 0.1


class Reached(msgspec.Struct, frozen=True):
    """The result of one measurement of a level."""

    output_tokens_per_s: float
    recomputed_share: float


def saturated_at(asked: Saturated, levels: Mapping[float, Sequence[Reached]]) -> float | None:
    """Return the level after which throughput no longer grew, by the means of its runs so far. None while it grows."""
    best: float | None = None
    best_rate, further = 0.0, 0
    for level in sorted(levels):
        rate = mean(one.output_tokens_per_s for one in levels[level])
        if best is None or rate > best_rate * (1 + asked.growth):
            best, best_rate, further = level, rate, 0
            continue
        further += 1
        overloaded = mean(one.recomputed_share for one in levels[level]) >= asked.recomputed
        if overloaded or further >= asked.levels:
            return best
    return None
