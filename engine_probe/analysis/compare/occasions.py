"""Changes between occasions: each side was measured several times, and each of these times counts once.

The repeats of one sweep share what the machine did during that sweep, so they do not show how far two sweeps of the
same engine differ. The means of whole sweeps do. Their variance is not pooled over the points of a curve, because the
points share the drift of their sweep: all points together are one number of each sweep.
"""

from collections.abc import Sequence

import numpy as np

from engine_probe.analysis.compare.changes import METRICS, Change, tested
from engine_probe.analysis.statistics.rank_tests import corrected


def together_between(points: Sequence[Sequence[Change]]) -> list[Change]:
    """Return the change of the geometric mean over all points, one number of each occasion.

    Only rates and times that all points have and that are above zero. Throughput is the planned test; the others are
    corrected for their number (Holm).
    """
    if len(points) < 2:
        return []
    found = []
    for metric in dict.fromkeys(change.metric for changes in points for change in changes):
        alike = [change for changes in points for change in changes if change.metric == metric]
        values = [value for change in alike for value in (*change.old, *change.new)]
        if metric.in_proportion and len(alike) == len(points) and min(values) > 0:
            old, new = (geometric_means([getattr(change, side) for change in alike]) for side in ("old", "new"))
            found.append(Change(metric, old, new, *tested(old, new)))
    planned = [change for change in found if change.metric is METRICS[0]]
    return [*planned, *corrected([change for change in found if change.metric is not METRICS[0]])]


def geometric_means(points: Sequence[Sequence[float]]) -> tuple[float, ...]:
    return tuple(float(mean) for mean in np.exp(np.log(np.asarray(points)).mean(axis=0)))
