"""How often another shape or a change could be told at best, by tests that are wrong in 5 % of the cases.

Another shape: by a test that knows the truth and the fitted curve closest to it. No test that takes at most 5 % of
these fitted curves for another shape can tell this truth more often. The noise is taken as normal, with the covariance
that it has in the simulation.

A change from one sweep to another: with normal noise of deviation s and n repeats, the logarithm of the ratio of two
means has the deviation s sqrt(2 / n). Where s is known no unbiased test tells a change more often than the z-test;
where all runs of the sweeps have to show s, than the t-test with the degrees of freedom that they leave.
"""

import numpy as np
from scipy.optimize import least_squares
from scipy.stats import nct, norm, t

from engine_probe.analysis.curve.shapes import FAMILIES, MOST_PARAMETERS, BreakRange, Family
from engine_probe.analysis.statistics.arrays import Reals
from tools.calibration.simulated.noise import covariance_of_levels
from tools.calibration.simulated.sweeps import Sweep

SIGNIFICANT = 0.05
DRAWN, REFINED = 300, 3  # curves of each family, and how many of these are moved closer
TRIED = 24  # of all families


def powers(sweep: Sweep) -> tuple[float, float]:
    """Return the power where the noise is known, and where its size is not.

    The second is that of a test which may not take noise that repeats share, and do not show, for another shape.
    """
    apart, freedom = float(np.sqrt(least_distance(sweep))), len(sweep.loads) - 2
    known = norm.cdf(apart + norm.ppf(SIGNIFICANT))
    return float(known), float(nct.sf(t.ppf(1 - SIGNIFICANT, freedom), freedom, apart))


def powers_for_change(effect: float, deviation: float, repeats: int, points: int) -> tuple[float, float]:
    """Return the power for a relative change at one of so many points where the noise is known, and where it is not."""
    apart, freedom = abs(np.log1p(effect)) / (deviation * np.sqrt(2 / repeats)), 2 * points * (repeats - 1)
    known, unknown = norm.ppf(1 - SIGNIFICANT / 2), t.ppf(1 - SIGNIFICANT / 2, freedom)
    both_sides = nct.sf(unknown, freedom, apart) + nct.cdf(-unknown, freedom, apart)
    return float(norm.cdf(apart - known) + norm.cdf(-apart - known)), float(both_sides)


def least_distance(sweep: Sweep) -> float:
    """Return the squared distance of the truth from the closest fitted curve of any scale, in units of the noise."""
    loads = np.array(sweep.loads, dtype=np.float64)
    covariance = covariance_of_levels(sweep.condition, sweep.deviation, *sweep.rates.shape, sweep.uneven)
    whiten, truth, span = (
        np.linalg.inv(np.linalg.cholesky(covariance)),
        np.log(sweep.shape.rate(loads)),
        BreakRange(loads),
    )
    scale = whiten.sum(axis=1, keepdims=True)
    scale /= np.linalg.norm(scale)

    def distances(family: Family, cube: Reals) -> Reals:
        off = whiten @ (truth[:, None] - np.log(family.rates(cube, loads, span)))
        return np.asarray(off - scale * (scale.T @ off))

    found, chance = [], np.random.default_rng(0)
    for family in FAMILIES:
        if family.parameters + 1 < len(loads):
            cube = chance.random((MOST_PARAMETERS, DRAWN if family.parameters else 1))
            squares = (distances(family, cube) ** 2).sum(axis=0)
            found += [(float(squares[place]), family, cube[:, place]) for place in np.argsort(squares)[:REFINED]]
    found.sort(key=lambda each: each[0])
    least = found[0][0]
    for _, family, start in found[:TRIED]:
        if family.parameters:
            closer = least_squares(
                lambda cube, family=family: distances(family, cube[:, None])[:, 0],
                np.clip(start, 1e-6, 1 - 1e-6),
                bounds=(0, 1),
                max_nfev=60,
            )
            least = min(least, 2 * closer.cost)
    return least
