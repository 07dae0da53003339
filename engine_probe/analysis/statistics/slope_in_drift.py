"""Whether a figure rises or falls with load, where what disturbs runs may drift from one to the next.

A run has a part of its own and one of a random walk over time. How large the second is shows in the runs, but not for
sure: p is that of each of `WALKS`, weighted by how likely each makes the runs once intercept and slope are left out.
"""

import math

import numpy as np

from engine_probe.analysis.statistics.arrays import Reals
from engine_probe.analysis.statistics.student import two_sided_p

WALKS = (0.0, 0.1, 0.5, 0.9, 1.0)  # shares of the variance from one run to the next; equally likely before


def slope_in_drift_p(places: Reals, values: Reals) -> float:
    """Return the two-sided p of the slope of values over places; both are in the order of time."""
    count = len(values)
    freedom = count - 2
    if freedom < 1:
        return 1.0
    design, since = np.column_stack([np.ones(count), places]), np.arange(count) + 1.0
    together = np.minimum(since[:, None], since)
    found, logs = [], []
    for share in WALKS:
        root = np.linalg.cholesky((1 - share) * np.eye(count) + share * together)
        basis, triangle = np.linalg.qr(np.linalg.solve(root, design))
        free = np.linalg.solve(root, values)
        left = free - basis @ (basis.T @ free)
        squares = float(left @ left)
        slope = float(basis[:, 1] @ free) / triangle[1, 1]
        found.append(two_sided_p(slope, math.sqrt(squares / freedom) / abs(triangle[1, 1]), freedom))
        factors = np.log(np.diag(root)).sum() + np.log(np.abs(np.diag(triangle))).sum()
        logs.append(-float(factors) - freedom / 2 * math.log(max(squares, 1e-300)))
    weights = np.exp(np.array(logs) - max(logs))
    return float(weights @ found / weights.sum())
