"""Rank tests, with p counted over permutations."""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from engine_probe.analysis.statistics.arrays import Integers, Reals

EXACT_UP_TO = 7  # values; of more, random permutations are used
SHUFFLES = 9999
SEED = 1


def ranks(values: npt.ArrayLike) -> Reals:
    """Return average ranks less their mean."""
    array = np.asarray(values, dtype=np.float64)
    below = (array[:, None] > array).sum(axis=1)
    level = (array[:, None] == array).sum(axis=1)
    made: Reals = below + (level + 1) / 2 - (len(array) + 1) / 2
    return made


def rho(loads: npt.ArrayLike, values: npt.ArrayLike) -> float:
    """Return Spearman's rank correlation; zero if nothing varies."""
    x, y = ranks(loads), ranks(values)
    size = math.sqrt(float(x @ x) * float(y @ y))
    return float(x @ y) / size if size else 0.0


def orders(count: int) -> Integers:
    """Return all permutations of `count` runs; of many runs random ones, after the measured order."""
    if count <= EXACT_UP_TO:
        return np.array(list(permutations(range(count))))
    chance = np.random.default_rng(SEED)
    shuffled = chance.permuted(np.tile(np.arange(count), (SHUFFLES, 1)), axis=1)
    return np.vstack([np.arange(count), shuffled])


def trend_p(loads: Reals, values: Reals) -> float:
    """Return the two-sided p of a trend: the share of permutations with a rank correlation at least as strong."""
    x, y = ranks(loads), ranks(values)
    strengths = np.abs(y[orders(len(x))] @ x)
    return float(np.mean(strengths >= abs(float(x @ y)) - 1e-9))


def cliffs_delta(low: Reals, high: Reals) -> float:
    """Return Cliff's delta: how much more often a value of `high` is above one of `low` than below, from -1 to 1."""
    ordered = np.sort(low)
    below, upto = np.searchsorted(ordered, high, "left"), np.searchsorted(ordered, high, "right")
    return float((below - (len(low) - upto)).mean() / len(low))


class Tested(Protocol):
    """A dataclass with the p of a test."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def p(self) -> float | None: ...


Outcome = TypeVar("Outcome", bound=Tested)


def corrected(found: Sequence[Outcome]) -> list[Outcome]:
    """Correct the p of all outcomes that have one (Holm)."""
    chances = iter(holm([each.p for each in found if each.p is not None]))
    return [each if each.p is None else replace(each, p=next(chances)) for each in found]


def holm(chances: Sequence[float]) -> list[float]:
    """Correct p for multiple tests by Holm's method."""
    found, floor = [1.0] * len(chances), 0.0
    for place, index in enumerate(sorted(range(len(chances)), key=lambda index: chances[index])):
        floor = max(floor, min(1.0, chances[index] * (len(chances) - place)))
        found[index] = floor
    return found
