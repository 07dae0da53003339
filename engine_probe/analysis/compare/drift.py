"""The drift between occasions, as earlier measurements of the same engines on the same machine show it.

A change from one sweep to another is the difference of two occasions. Sweeps that were measured earlier tell how far
two occasions differ where nothing changed: the deviation of their means, relative for rates and times. It includes the
noise within a sweep. The interval is Student's, for one measurement on each side.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from engine_probe.analysis.compare.changes import Change, Metric
from engine_probe.analysis.statistics.repeats import Noise, noise
from engine_probe.analysis.statistics.student import Interval, quantile, two_sided_p


def with_drift(change: Change, earlier: Sequence[Sequence[float]]) -> Change:
    """Return the change with the interval of the drift; unchanged if the earlier occasions show none."""
    found = apart(change.metric, earlier, change.before, change.after)
    if found is None:
        return change
    return replace(change, interval=found[1], earlier=tuple(map(tuple, earlier)))


def apart(
    metric: Metric, earlier: Sequence[Sequence[float]], before: float, after: float
) -> tuple[float, Interval] | None:
    """Return the two-sided p and the interval of the difference of two occasions. None if the drift is not known.

    Earlier values that are all the same do not show how a figure varies.
    """
    drift = deviation(metric, earlier)
    if drift is None or (metric.in_proportion and min(before, after) <= 0):
        return None
    error = math.sqrt(2) * drift.deviation
    half = quantile(drift.freedom) * error
    if not metric.in_proportion:
        distance = after - before
        return two_sided_p(distance, error, drift.freedom), (distance - half, distance + half)
    distance = math.log(after / before)
    low, high = (before * math.expm1(min(distance + reach, 700.0)) for reach in (-half, half))
    return two_sided_p(distance, error, drift.freedom), (low, high)


def deviation(metric: Metric, earlier: Sequence[Sequence[float]]) -> Noise | None:
    """Return the standard deviation of occasions around the mean of their engine: relative for rates and times."""
    freedom = sum(len(values) - 1 for values in earlier)
    if freedom < 1:
        return None
    if metric.in_proportion:
        found = noise(earlier)
    else:
        squares = sum(float(np.sum((np.asarray(values) - np.mean(values)) ** 2)) for values in earlier)
        found = Noise(math.sqrt(squares / freedom), freedom)
    return found if found and found.deviation else None
