"""Tests that look at the order of values alone, their chances counted over shuffled orders."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import permutations

import numpy as np
import numpy.typing as npt

Reals = npt.NDArray[np.float64]

EXACT_UP_TO = 7  # values whose orders are all tried
SHUFFLES = 9999
SEED = 1


def ranks(values: npt.ArrayLike) -> Reals:
    """Average ranks, their mean taken off."""
    array = np.asarray(values, dtype=np.float64)
    below = (array[:, None] > array).sum(axis=1)
    level = (array[:, None] == array).sum(axis=1)
    made: Reals = below + (level + 1) / 2 - (len(array) + 1) / 2
    return made


def rho(loads: npt.ArrayLike, values: npt.ArrayLike) -> float:
    """Spearman's; zero where nothing varies."""
    x, y = ranks(loads), ranks(values)
    size = math.sqrt(float(x @ x) * float(y @ y))
    return float(x @ y) / size if size else 0.0


def orders(count: int) -> npt.NDArray[np.int64]:
    """Every order of so many runs, or very many by chance with the measured one among them."""
    if count <= EXACT_UP_TO:
        return np.array(list(permutations(range(count))))
    chance = np.random.default_rng(SEED)
    shuffled = chance.permuted(np.tile(np.arange(count), (SHUFFLES, 1)), axis=1)
    return np.vstack([np.arange(count), shuffled])


def trend_p(loads: Reals, values: Reals) -> float:
    """Two-sided: the share of orders of the runs with a rank correlation at least as strong."""
    x, y = ranks(loads), ranks(values)
    strengths = np.abs(y[orders(len(x))] @ x)
    return float(np.mean(strengths >= abs(float(x @ y)) - 1e-9))


def any_difference(loads: Reals, values: Reals) -> tuple[float, float]:
    """Epsilon squared of Kruskal-Wallis, the share of the ranks' variance that load explains; p over shuffled runs."""
    y = ranks(values)
    member = (loads[:, None] == np.unique(loads)).astype(np.float64)

    def between(ranked: Reals) -> Reals:
        sums: Reals = ranked @ member
        return np.asarray((sums**2 / member.sum(axis=0)).sum(axis=-1), dtype=np.float64)

    whole, seen = float(y @ y), float(between(y))
    if not whole:
        return 0.0, 1.0
    return seen / whole, float(np.mean(between(y[orders(len(y))]) >= seen - 1e-9))


def cliffs_delta(low: Reals, high: Reals) -> float:
    """How much oftener a value of the second is above one of the first than below: -1 to 1."""
    ordered = np.sort(low)
    below, upto = np.searchsorted(ordered, high, "left"), np.searchsorted(ordered, high, "right")
    return float((below - (len(low) - upto)).mean() / len(low))


def holm(chances: Sequence[float]) -> list[float]:
    """The smallest p times how many are judged, the next times one less, and never below the one before."""
    found, floor = [1.0] * len(chances), 0.0
    for place, index in enumerate(sorted(range(len(chances)), key=lambda index: chances[index])):
        floor = max(floor, min(1.0, chances[index] * (len(chances) - place)))
        found[index] = floor
    return found
