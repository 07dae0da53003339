"""Whether the residuals of a fit are smoother than chance makes them, however large chance may be."""

import numpy as np

from engine_probe.analysis.statistics.arrays import Reals

SMOOTHEST, FEWEST = 1 / 3, 2  # of the directions, and how many at least, are held against the others
LEAST_SLOPE = 1e-6  # of the largest singular value; less is rounding


def smooth_p(residuals: Reals, slopes: Reals) -> float | None:
    """Return p of the F-test that neighbours deviate alike: 5 % of independent residuals have less than 0.05.

    `slopes` has the derivatives of the fitted values by each parameter, a column for each. The fit has left nothing in
    these directions. Of the others, the smoothest third (least second differences) is held against the rest, so that
    the size of the noise does not matter. None if too few are left.
    """
    from scipy.special import fdtrc  # what scipy.stats asks, without its long import

    basis, sizes, _ = np.linalg.svd(slopes, full_matrices=True)
    left = basis[:, int((sizes > LEAST_SLOPE * sizes[0]).sum()) :]
    smoothest = max(FEWEST, int(SMOOTHEST * left.shape[1]))
    if left.shape[1] <= smoothest:
        return None
    bends = np.diff(np.eye(len(residuals)), 2, axis=0) @ left
    _, directions = np.linalg.eigh(bends.T @ bends)  # the smoothest first
    squares = (directions.T @ (left.T @ residuals)) ** 2
    smooth, rest = squares[:smoothest].mean(), squares[smoothest:].mean()
    return float(fdtrc(smoothest, left.shape[1] - smoothest, smooth / rest)) if rest else None
