"""Further levels that would locate the end of growth or of an SLO more precisely."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from engine_probe.analysis.curve.saturation import Saturation
from engine_probe.analysis.curve.slo_capacity import MostLoad

RESOLUTION = 0.1  # relative distance of two levels that is close enough, as in a search
MOST_LEVELS = 4  # in one offer; further ones are offered once these are measured


@dataclass(frozen=True)
class Offer:
    """Levels to measure, and what they would locate."""

    about: str
    low: float  # the range in which it is known to lie
    high: float | None  # None: above all measured levels
    levels: tuple[float, ...]


def sharpen_slo(found: MostLoad) -> Offer | None:
    """Offer levels between the highest that meets the limits and the next; beyond the last if all meet them."""
    about = "the highest load that meets the limits"
    if not found.most:
        return None  # nothing below the lowest level is known to meet them, and a trace has no other load
    if found.beyond is None:
        return Offer(about, found.most, None, (2 * found.most,))
    levels = split([found.most, found.beyond])
    return Offer(about, found.most, found.beyond, levels) if levels else None


def sharpen_saturation(found: Saturation) -> Offer | None:
    """Offer levels around the end of growth; beyond the last if throughput still grows there."""
    about, loads = "the saturation point", [level.load for level in found.levels]
    if found.saturation is None:
        grows = found.growth is not None and len(loads) > 1
        return Offer(about, loads[-1], None, (2 * loads[-1], 4 * loads[-1])) if grows else None
    end = found.saturation
    inside = [load for load in loads if end.low <= load <= end.high]
    levels = split(inside) if end.low else (1.0, *split([1.0, *inside])[: MOST_LEVELS - 1])
    return Offer(about, end.low, end.high, levels) if levels else None


def split(loads: Sequence[float]) -> tuple[float, ...]:
    """Halve the widest gap until none is wide or there are enough levels; whole numbers stay whole."""
    whole = all(load == int(load) for load in loads)
    levels, added = sorted(loads), list[float]()
    while len(added) < MOST_LEVELS:
        gaps = [
            ((high - low) / low, middle)
            for low, high in pairwise(levels)
            if (high - low) / low > RESOLUTION and (middle := between(low, high, whole)) is not None
        ]
        if not gaps:
            break
        added.append(max(gaps)[1])
        levels = sorted([*levels, added[-1]])
    return tuple(sorted(added))


def between(low: float, high: float, whole: bool) -> float | None:
    """Return the middle. None if there is no whole number between two whole numbers."""
    if not whole:
        return float(f"{(low + high) / 2:.3g}")
    return float((low + high) // 2) if high - low > 1 else None
