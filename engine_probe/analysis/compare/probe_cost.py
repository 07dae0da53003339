"""The cost of the probe over whole points: pairs with and without it, both timed by the driver's clock."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine_probe.analysis.statistics.repeats import reach_of_mean

FEWEST_PAIRS = 3
DIFFER_IN_A_PAIR = ("probe", "label", "curve")


@dataclass(frozen=True)
class Timed:
    """How long a point took by the driver's clock, and its pair."""

    pair: str
    probed: bool
    seconds: float


@dataclass(frozen=True)
class ProbeCost:
    """The extra time of points with the probe, relative to without: the mean over pairs and half its interval."""

    pairs: int
    longer: float
    half_width: float | None  # None with too few pairs

    @property
    def is_significant(self) -> bool:
        return self.half_width is not None and abs(self.longer) > self.half_width


def pair_of(asked: Mapping[str, Any]) -> str:
    """Return what identifies a pair: all settings of a point except whether the probe is on."""
    return json.dumps({name: value for name, value in asked.items() if name not in DIFFER_IN_A_PAIR}, sort_keys=True)


def probe_cost(points: Iterable[Timed]) -> ProbeCost | None:
    """Compare points that ran with and without the probe. None without a pair."""
    on, off = dict[str, float](), dict[str, float]()
    for point in points:
        (on if point.probed else off)[point.pair] = point.seconds
    longer = [on[pair] / off[pair] - 1 for pair in on if pair in off]
    if not longer:
        return None
    half_width = reach_of_mean(longer) if len(longer) >= FEWEST_PAIRS else None
    return ProbeCost(len(longer), float(np.mean(longer)), half_width)


def probe_cost_line(found: ProbeCost) -> str:
    """Return the sentence about the probe's cost and its significance."""
    line = f"The probe changed the time of the same work by {found.longer:+.1%}"
    if found.half_width is None:
        are = "1 pair is" if found.pairs == 1 else f"{found.pairs} pairs are"
        return f"{line}; {are} too few for a confidence interval."
    verdict = "" if found.is_significant else ", which is not significant"
    return f"{line} ± {found.half_width:.1%}, with 95% confidence from {found.pairs} pairs{verdict}."
