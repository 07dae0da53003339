"""The part of a run near peak concurrency, and how stable its throughput was."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from engine_probe.analysis.statistics.arrays import Integers
from engine_probe.analysis.statistics.sample import Sample

PARTS = 10
UNSTABLE = 0.1  # half the interquartile range of the parts' throughput over their median
PEAK_SHARE = 0.9  # of the most requests that ever ran concurrently


@dataclass(frozen=True)
class NearPeak:
    """The time from the first step near peak concurrency to the last, in ten equal parts."""

    seconds: float
    output_tokens_per_s: float
    median_per_s: float  # of the parts' throughput
    spread: float  # half the interquartile range of the parts' throughput over their median

    @property
    def unstable(self) -> bool:
        return self.spread > UNSTABLE


def near_peak(column: dict[str, npt.NDArray[Any]], ends: Integers) -> NearPeak | None:
    """Return the part of a run near peak concurrency. None if it has too few steps for ten parts."""
    running = column["running_requests"]
    steps = np.flatnonzero(running >= PEAK_SHARE * running.max())
    first, last = int(steps[0]), int(steps[-1])
    if last - first < 3 * PARTS:
        return None
    # Between the ends of two steps tokens count as evenly spread.
    moments = np.linspace(ends[first], ends[last], PARTS + 1)
    tokens = np.interp(moments, ends[first : last + 1], np.cumsum(column["output_tokens"][first : last + 1]))
    seconds = (int(ends[last]) - int(ends[first])) / 1e9
    rates = Sample.of(np.diff(tokens) / (seconds / PARTS))
    (median,) = rates.percentiles((50,))
    if not median:
        return None
    return NearPeak(seconds, float(tokens[-1] - tokens[0]) / seconds, median, (rates.spread() or 0.0) / median)
