"""How throughput grows with concurrency: a broken line through the origin, and which of its breaks are sure.

Zero requests give zero tokens, so every line begins there. Each segment is proportional growth (first), slower growth,
no growth, or a fall. How many there are is chosen by the Bayesian information criterion, where they break by least
squares of the relative error over all pairs of measured levels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
import numpy.typing as npt

Kind = Literal["spare", "shared", "plateau", "overload"]
Reals = npt.NDArray[np.float64]

SHAPES: tuple[tuple[Kind, ...], ...] = (
    ("spare",),
    ("spare", "plateau"),
    ("spare", "shared"),
    ("spare", "overload"),
    ("spare", "shared", "plateau"),
    ("spare", "shared", "overload"),
)
DOUBT = 0.05  # breaks that the measurement does not exclude with 95 % are kept
EXACT = 1e-18  # a squared relative error below this is rounding


@dataclass(frozen=True)
class Growth:
    """The chosen line: its segments, where each ends, and every set of breaks that fits nearly as well."""

    shape: tuple[Kind, ...]
    breaks: tuple[float, ...]
    slopes: tuple[float, ...]  # tokens/s per request
    possible_breaks: tuple[tuple[float, ...], ...]
    relative_error: float  # root mean square, per degree of freedom

    def at(self, break_number: int) -> tuple[float, float]:
        """The range of one break that the measurement leaves open."""
        among = [breaks[break_number] for breaks in self.possible_breaks]
        return min(among), max(among)


@dataclass(frozen=True)
class Fit:
    breaks: tuple[float, ...]
    slopes: tuple[float, ...]
    squares: float


def growth(levels: Reals, rates: Reals) -> Growth | None:
    """Of increasing levels and positive rates; None where too few were measured for any shape."""
    best: tuple[float, tuple[Kind, ...], list[Fit]] | None = None
    for shape in SHAPES:
        unknowns = parameters(shape)
        fits = list(fitted(shape, levels, rates)) if len(levels) > unknowns else []
        if not fits:
            continue
        squares = max(min(fit.squares for fit in fits) / len(levels), EXACT)
        criterion = len(levels) * math.log(squares) + unknowns * math.log(len(levels))
        if best is None or criterion < best[0]:
            best = (criterion, shape, fits)
    if best is None:
        return None
    _, shape, fits = best
    chosen = min(fits, key=lambda fit: fit.squares)
    freedom = len(levels) - parameters(shape)
    # The joint confidence region of two breaks: F(2, d) has its quantile in closed form.
    open_up_to = max(chosen.squares, EXACT * len(levels)) * DOUBT ** (-2 / freedom)
    possible = tuple(fit.breaks for fit in fits if fit.squares <= open_up_to)
    return Growth(shape, chosen.breaks, chosen.slopes, possible, math.sqrt(chosen.squares / freedom))


def parameters(shape: tuple[Kind, ...]) -> int:
    """A slope for each segment that has one, and the breaks."""
    return sum(kind != "plateau" for kind in shape) + len(shape) - 1


def fitted(shape: tuple[Kind, ...], levels: Reals, rates: Reals) -> Iterator[Fit]:
    """The best line for each choice of breaks, if its slopes are what the shape says."""
    sloped = sum(kind != "plateau" for kind in shape)
    for breaks in combinations(levels[:-1].tolist(), len(shape) - 1):
        ends = np.array([0.0, *breaks, np.inf])
        run = np.clip(levels[:, None], ends[:-1], ends[1:]) - ends[:-1]
        design = run[:, :sloped] / rates[:, None]
        slopes = np.linalg.lstsq(design, np.ones(len(levels)), rcond=None)[0]
        if agrees(shape, slopes):
            squares = float(((design @ slopes - 1) ** 2).sum())
            yield Fit(breaks, tuple(slopes.tolist()), squares)


def agrees(shape: tuple[Kind, ...], slopes: Reals) -> bool:
    first = slopes[0]
    allowed = {"spare": first > 0, "plateau": True}
    for kind, slope in zip(shape, slopes, strict=False):
        allowed |= {"shared": 0 < slope < first, "overload": slope < 0}
        if not allowed[kind]:
            return False
    return True
