"""Changes at several points of a curve, judged with the pooled noise of all points.

Two repeats at a point say next to nothing of its noise. The points of a curve are measured alike, and the noise of a
rate or a time is in proportion to it, so each side has one relative deviation from all its points (`repeats.py`). The
two sides keep their own, as in Welch's test, since they may be two machines. Shares and counts are judged point by
point.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from engine_probe.analysis.compare.changes import Change, corrected
from engine_probe.analysis.compare.perplexity import PairedChange, per_token
from engine_probe.analysis.statistics.repeats import BothNoises, noise

IN_PROPORTION = ("tokens/s", "requests/s", "ms")  # units of metrics whose noise is in proportion to them


def with_common_noise(points: Sequence[Sequence[Change]]) -> list[list[Change]]:
    """Return the changes of each point of a curve, judged with pooled noise if there is more than one point."""
    if len(points) < 2:
        return [list(changes) for changes in points]
    names = {change.metric.name for changes in points for change in changes}
    noises = {
        name: both_noises([change for changes in points for change in changes if change.metric.name == name])
        for name in names
    }
    return [[judged(change, noises[change.metric.name]) for change in changes] for changes in points]


def both_noises(found: Sequence[Change]) -> BothNoises | None:
    if found[0].metric.unit not in IN_PROPORTION:
        return None
    before, after = noise([change.old for change in found]), noise([change.new for change in found])
    return BothNoises(before, after) if before and after else None


def judged(change: Change, both: BothNoises | None) -> Change:
    """Judge a change with pooled noise; without repeats of its own on both sides it stays unjudged."""
    if both is None or change.p is None:
        return change
    p, (low, high) = both.difference(change.old, change.new)
    return replace(change, p=p, interval=(change.before * low, change.before * high), noise=both)


def together(points: Sequence[Sequence[Change]]) -> list[Change]:
    """Return the change of the geometric mean over all points of each rate and time, with the points as pairs.

    Each point is one observation of the change of the logarithm (Student's t), so that no repeats are needed; points
    that changed differently widen the interval. Corrected for the number of metrics (Holm).
    """
    shared = [
        metric
        for metric in dict.fromkeys(change.metric for changes in points for change in changes)
        if metric.unit in IN_PROPORTION
    ]
    found = (
        paired([change for changes in points for change in changes if change.metric == metric]) for metric in shared
    )
    return corrected([change for change in found if change])


def paired(points: Sequence[Change]) -> Change | None:
    """Return the change over points taken as pairs. None with fewer than three, or with values not above zero."""
    if len(points) < 3 or any(value <= 0 for point in points for value in (point.before, point.after)):
        return None
    before, after = (np.log([getattr(point, side) for point in points]) for side in ("before", "after"))
    moved = PairedChange(per_token(after - before, np.ones(len(points))))
    old, new = (float(np.exp(side.mean())) for side in (before, after))
    low, high = moved.interval or (moved.relative, moved.relative)
    return Change(points[0].metric, (old,), (new,), moved.p(), (old * low, old * high), paired=moved)
