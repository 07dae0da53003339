"""What watching costs a whole point: pairs with and without the probe, both by the driver's clock."""

from __future__ import annotations

import json
from collections.abc import Iterable

import msgspec
import numpy as np

from engine_probe.sweep.result import PointResult, Row, Unwatched

FEWEST_PAIRS = 3
CONFIDENCE = 0.95


class Watching(msgspec.Struct, frozen=True):
    """How much longer the watched took, as a share of the unwatched: the mean of the pairs and half its interval."""

    pairs: int
    longer: float
    half_width: float | None  # None: too few pairs to say

    @property
    def told_from_nothing(self) -> bool:
        return self.half_width is not None and abs(self.longer) > self.half_width


def watching(rows: Iterable[Row]) -> Watching | None:
    """A pair has the same engine, workload and repeat. None where there is none."""
    on, off = dict[str, float](), dict[str, float]()
    for row in rows:
        if isinstance(row, PointResult | Unwatched) and row.driven is not None:
            place = on if row.point.probe else off
            content = [row.point.engine.spec.key, msgspec.to_builtins(row.point.workload), row.point.repeat]
            place[json.dumps(content, sort_keys=True)] = row.driven.seconds
    longer = np.array([on[pair] / off[pair] - 1 for pair in on if pair in off])
    if not len(longer):
        return None
    return Watching(len(longer), float(longer.mean()), half_width(longer) if len(longer) >= FEWEST_PAIRS else None)


def half_width(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
    """Of the confidence interval of the mean, by Student's t."""
    from scipy.special import stdtrit

    quantile = float(stdtrit(len(values) - 1, (1 + CONFIDENCE) / 2))
    return quantile * float(values.std(ddof=1) / np.sqrt(len(values)))


def watching_line(found: Watching) -> str:
    said = f"Watched, the same work took {found.longer:+.1%} longer"
    if found.half_width is None:
        return f"{said}; {found.pairs} pairs are too few to say how sure that is."
    judged = "" if found.told_from_nothing else ", which they do not tell from nothing"
    return f"{said}, ± {found.half_width:.1%} with 95 % confidence from {found.pairs} pairs{judged}."
