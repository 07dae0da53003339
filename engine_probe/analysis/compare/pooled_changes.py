"""The changes from one sweep to another: their intervals, from the noise that all points of a curve share.

Two repeats at a point say next to nothing of its noise. The points of a curve are measured alike, and the noise of a
rate or a time is in proportion to it, so each side has one relative deviation from all its points (`repeats.py`). The
two sides keep their own, as in Welch's test, since they may be two machines. Shares and counts have the interval of
their own repeats.

Such an interval does not include how far two sweeps of one engine differ. Earlier sweeps show that (`drift.py`).
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from engine_probe.analysis.compare.changes import Change
from engine_probe.analysis.compare.drift import with_drift
from engine_probe.analysis.compare.occasions import geometric_means
from engine_probe.analysis.compare.perplexity import PerplexityChange, per_token
from engine_probe.analysis.statistics.repeats import Noise, noise, relative_change

FEWEST_PAIRS = 3  # points, whose scatter is an interval


def with_common_noise(points: Sequence[Sequence[Change]]) -> list[list[Change]]:
    """Return the changes of each point of a curve, with pooled intervals if there is more than one point."""
    if len(points) < 2:
        return [list(changes) for changes in points]
    names = {change.metric.name for changes in points for change in changes}
    noises = {
        name: both_noises([change for changes in points for change in changes if change.metric.name == name])
        for name in names
    }
    return [[pooled(change, noises[change.metric.name]) for change in changes] for changes in points]


def both_noises(found: Sequence[Change]) -> tuple[Noise, Noise] | None:
    """Return the noise of a metric before and after, from all points. None if it is not in proportion, or not known."""
    if not found[0].metric.in_proportion:
        return None
    before, after = noise([change.old for change in found]), noise([change.new for change in found])
    if before is None or after is None or before.deviation == after.deviation == 0:
        return None
    return before, after


def pooled(change: Change, both: tuple[Noise, Noise] | None) -> Change:
    """Give a change the interval of pooled noise; without repeats of its own on both sides it has none."""
    if both is None or min(change.repeats) < 2:
        return change
    low, high = relative_change(change.old, change.new, *both)
    return replace(change, interval=(change.before * low, change.before * high))


def together(points: Sequence[Sequence[Change]]) -> list[Change]:
    """Return the change of the geometric mean over all points of each rate and time that all points have.

    The points are pairs: each is one observation of the change of the logarithm (Student's t). Points that changed
    differently widen the interval. Where earlier sweeps show the drift, the interval is that of the drift.
    """
    singles = [change for changes in points for change in changes]
    shared = dict.fromkeys(change.metric for change in singles if change.metric.in_proportion)
    alike = ([change for change in singles if change.metric == metric] for metric in shared)
    found = (whole(changes) for changes in alike if len(changes) == len(points))
    return [change for change in found if change]


def whole(points: Sequence[Change]) -> Change | None:
    """Return the change over all points. None with too few for an interval, or with values not above zero."""
    if len(points) < 2 or any(value <= 0 for point in points for value in (point.before, point.after)):
        return None
    old, new = (geometric_means([[getattr(point, side)] for point in points]) for side in ("before", "after"))
    interval = None
    if len(points) >= FEWEST_PAIRS:
        ratios = np.log([point.after / point.before for point in points])
        low, high = PerplexityChange(per_token(ratios, np.ones(len(points)))).interval or (0.0, 0.0)
        interval = old[0] * low, old[0] * high
    change = Change(points[0].metric, old, new, None, interval)
    moments = points[0].moments
    if moments is not None and all(point.moments == moments for point in points):
        sides = zip(*(point.earlier for point in points), strict=True)  # by engine, then by point
        change = with_drift(change, [geometric_means(side) for side in sides], moments)
    return None if change.interval is None else change
