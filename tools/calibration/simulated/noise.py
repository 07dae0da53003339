"""What chance does to the runs of a sweep: factors by which measured rates differ from true ones.

Every kind has the same `deviation`: the root mean square of what it adds, relative to the rate. Where repeats share
noise, each run adds a third of that by itself.
"""

from dataclasses import dataclass

import numpy as np

from engine_probe.analysis.statistics.arrays import Reals

OWN = 1 / 3  # of the deviation: what each run adds by itself where the rest is shared
LEAST = 0.05  # a factor: no run is slower than this
UNEVEN = 0.7  # standard deviation of the logarithm of a level's own deviation
DEGREES = 3  # of freedom of Student's t, whose tails are heavy

SHARED = "shared by a level"
LEVEL_BY_LEVEL = "drift, level by level"
KINDS = {
    "independent": "each run by itself, normally distributed",
    "heavy tails": "each run by itself, Student's t with 3 degrees of freedom",
    "unequal": "each run by itself, each level with a deviation of its own",
    SHARED: "all repeats of a level alike",
    "shared by the occasion": "all runs of a sweep alike",
    "drift, interleaved": "changes over the time of the sweep; the first repeats of all levels come before the second",
    LEVEL_BY_LEVEL: "changes over the time of the sweep; all repeats of a level come before the next level",
}


@dataclass(frozen=True)
class Factors:
    """The factor of each run, and what all runs of the sweep have in common."""

    runs: Reals  # levels x repeats
    occasion: float  # the part that no repeat within the sweep can show
    uneven: Reals | None = None  # the deviation of each level, if they differ


def draw_factors(rng: np.random.Generator, kind: str, deviation: float, levels: int, repeats: int) -> Factors:
    """Draw the factors of a sweep."""
    occasion, uneven, normal = 1.0, None, rng.standard_normal((levels, repeats))
    if kind == "independent":
        runs = deviation * normal
    elif kind == "heavy tails":
        runs = deviation * rng.standard_t(DEGREES, (levels, repeats)) * np.sqrt((DEGREES - 2) / DEGREES)
    elif kind == "unequal":
        uneven = deviation * np.exp(UNEVEN * rng.standard_normal(levels) - UNEVEN**2)  # its mean square is right
        runs = uneven[:, None] * normal
    elif kind == SHARED:
        runs = deviation * (rng.standard_normal((levels, 1)) + OWN * normal)
    elif kind == "shared by the occasion":
        occasion = max(LEAST, 1 + deviation * rng.standard_normal())
        runs = OWN * deviation * normal
    else:
        over_time = drift(rng, levels * repeats)
        # In the order of time: level by level fills rows, interleaved repeats fill columns.
        shared = over_time.reshape(levels, repeats) if kind == LEVEL_BY_LEVEL else over_time.reshape(repeats, levels).T
        runs = deviation * (shared + OWN * normal)
    return Factors(occasion * np.maximum(LEAST, 1 + runs), occasion, uneven)


def drift(rng: np.random.Generator, runs: int) -> Reals:
    """Draw a random walk around its mean whose mean square is one."""
    if runs < 2:
        return np.zeros(runs)
    walk = np.cumsum(rng.standard_normal(runs))
    return np.asarray((walk - walk.mean()) / np.sqrt(drift_size(runs)), dtype=np.float64)


def drift_size(runs: int) -> float:
    """Return the expected mean square of a random walk around its mean."""
    return (runs + 1) * (runs - 1) / (6 * runs)


def covariance_of_levels(kind: str, deviation: float, levels: int, repeats: int, uneven: Reals | None) -> Reals:
    """Return the covariance of the means of levels, without what the occasion adds to all of them."""
    alone = np.eye(levels) * deviation**2
    own = OWN**2 * alone / repeats
    if kind in ("independent", "heavy tails", "unequal"):
        return (alone if uneven is None else np.diag(uneven**2)) / repeats
    if kind == SHARED:
        return alone + own
    if kind == "shared by the occasion":
        return own
    runs = levels * repeats
    steps, centred = np.arange(runs) + 1.0, np.eye(runs) - 1 / runs
    walk = centred @ np.minimum(steps[:, None], steps) @ centred / drift_size(runs)
    numbers = np.arange(runs)  # in the order of time, as in `draw_factors`
    times = numbers.reshape(levels, repeats) if kind == LEVEL_BY_LEVEL else numbers.reshape(repeats, levels).T
    means = np.zeros((levels, runs))
    np.put_along_axis(means, times, 1 / repeats, axis=1)
    return np.asarray(deviation**2 * means @ walk @ means.T + own, dtype=np.float64)
