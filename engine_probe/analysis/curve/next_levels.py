"""Which further levels of a sweep would tell more closely where something ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from engine_probe.analysis.curve.saturation import Saturation
from engine_probe.analysis.curve.slo_capacity import MostLoad

RESOLUTION = 0.1  # how far apart, relatively, two levels may be; that of a search (sweep/definition/search.py)
MOST_LEVELS = 4  # in one offer: more are offered again once these are measured


@dataclass(frozen=True)
class Offer:
    """Levels to measure, and why."""

    about: str  # what would be known better
    low: float  # between what it lies as far as is known
    high: float | None  # None: higher than all that was tried
    levels: tuple[float, ...]
    neighbours: bool = False  # low and high are the measured levels next to it, not the range that the fit leaves open


def sharpen_slo(found: MostLoad) -> Offer | None:
    """Between the neighbours where the limits begin to be broken; beyond the last level where they never are."""
    about = "the most load that meets the limits"
    if found.most is None:
        return None  # nothing below the lowest level is known to meet them
    if found.beyond is None:
        return Offer(about, found.most, None, (2 * found.most,))
    levels = split([found.most, found.beyond])
    return Offer(about, found.most, found.beyond, levels) if levels else None


def sharpen_saturation(found: Saturation) -> Offer | None:
    """Around the end of growth; beyond the last level where throughput still grows there."""
    about, loads = "the saturation point", [level.load for level in found.levels]
    if found.saturation is None:
        grows = found.growth is not None and len(loads) > 1
        return Offer(about, loads[-1], None, (2 * loads[-1], 4 * loads[-1])) if grows else None
    end = found.saturation
    if levels := split([load for load in loads if end.low <= load <= end.high]):
        return Offer(about, end.low, end.high, levels)
    # It is looked for at measured levels: where they leave none open the truth lies between the neighbours.
    first = sum(load < end.low for load in loads)
    last = sum(load <= end.high for load in loads)
    around = loads[max(0, first - 1) : last + 1]
    levels = split(around)
    return Offer(about, around[0], around[-1], levels, neighbours=True) if levels else None


def split(loads: Sequence[float]) -> tuple[float, ...]:
    """The widest gap is halved again and again, until none is wide or levels are enough; whole numbers stay whole."""
    whole = all(load == int(load) for load in loads)
    known, added = sorted(loads), list[float]()
    while len(added) < MOST_LEVELS:
        gaps = [
            ((high - low) / low, middle)
            for low, high in pairwise(known)
            if (high - low) / low > RESOLUTION and (middle := between(low, high, whole)) is not None
        ]
        if not gaps:
            break
        added.append(max(gaps)[1])
        known = sorted([*known, added[-1]])
    return tuple(sorted(added))


def between(low: float, high: float, whole: bool) -> float | None:
    """None where two whole numbers have nothing between them."""
    if not whole:
        return float(f"{(low + high) / 2:.3g}")
    return float((low + high) // 2) if high - low > 1 else None
