"""The cost of the probe over whole points: pairs with and without it, both timed by the driver's clock."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

FEWEST_PAIRS = 3
CONFIDENCE = 0.95
OF_NO_PAIR = ("probe", "label", "curve")  # what the two of a pair differ in


@dataclass(frozen=True)
class Timed:
    """How long a point took by the driver's clock, and which pair it is of."""

    pair: str
    probed: bool
    seconds: float


@dataclass(frozen=True)
class ProbeCost:
    """How much longer points took with the probe, relative to without: the mean of the pairs and half its interval."""

    pairs: int
    longer: float
    half_width: float | None  # None: too few pairs to say

    @property
    def told_from_nothing(self) -> bool:
        return self.half_width is not None and abs(self.longer) > self.half_width


def pair_of(asked: Mapping[str, Any]) -> str:
    """Return what identifies a pair: everything that was asked, but whether the probe is on."""
    return json.dumps({name: value for name, value in asked.items() if name not in OF_NO_PAIR}, sort_keys=True)


def probe_cost(points: Iterable[Timed]) -> ProbeCost | None:
    """Compare points that ran with and without the probe. None where there is no pair."""
    on, off = dict[str, float](), dict[str, float]()
    for point in points:
        (on if point.probed else off)[point.pair] = point.seconds
    longer = np.array([on[pair] / off[pair] - 1 for pair in on if pair in off])
    if not len(longer):
        return None
    return ProbeCost(len(longer), float(longer.mean()), half_width(longer) if len(longer) >= FEWEST_PAIRS else None)


def half_width(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
    """Return half the confidence interval of the mean, by Student's t."""
    from scipy.special import stdtrit

    quantile = float(stdtrit(len(values) - 1, (1 + CONFIDENCE) / 2))
    return quantile * float(values.std(ddof=1) / np.sqrt(len(values)))


def probe_cost_line(found: ProbeCost) -> str:
    """Say what the pairs show, and how sure it is."""
    said = f"With the probe the same work took {found.longer:+.1%} longer"
    if found.half_width is None:
        are = "1 pair is" if found.pairs == 1 else f"{found.pairs} pairs are"
        return f"{said}; {are} too few to say how sure that is."
    judged = "" if found.told_from_nothing else ", which they do not tell from nothing"
    return f"{said}, ± {found.half_width:.1%} with 95 % confidence from {found.pairs} pairs{judged}."
