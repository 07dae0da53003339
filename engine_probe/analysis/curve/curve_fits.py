"""The shapes of a curve of throughput over load: broken lines and bending curves, each fitted by least squares.

Zero requests give zero tokens, so all shapes begin there. A broken line grows in proportion to load, then more slowly.
A bending curve is the throughput of an engine whose step takes a + b x requests: requests / (a + b x requests)
tokens/s. It is nowhere quite proportional; by convention its proportional growth ends where a request gets 80 % of what
it would get alone, at a / 4b requests, which is about where a broken line has its break. Either shape may end in a
plateau, in a slope downwards, or in a cliff: a sudden fall to a lower level, where preempted requests are computed
again.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Kind = Literal["spare", "shared", "plateau", "overload"]
Form = Literal["line", "curve"]
End = Literal["", "plateau", "slope", "cliff"]
Reals = npt.NDArray[np.float64]

GROWING: tuple[Kind, ...] = ("spare", "shared")
ENDS: tuple[End, ...] = ("", "plateau", "slope", "cliff")
KINDS: dict[End, tuple[Kind, ...]] = {"": (), "plateau": ("plateau",), "slope": ("overload",), "cliff": ("overload",)}
# Gauss-Hermite quadrature of a normal distribution: standard deviations from its mean, and weights.
NEAR = 0.8  # growth counts as proportional while a request gets this share of what it would get alone
NODES = ((0.0, 2 / 3), (-math.sqrt(3), 1 / 6), (math.sqrt(3), 1 / 6))


@dataclass(frozen=True)
class Line:
    """One fit; `shape` names its parts and `breaks` the loads at which all but the last end."""

    form: Form
    end: End
    shape: tuple[Kind, ...]
    breaks: tuple[float, ...]
    coefficients: tuple[float, ...]
    last: float | None  # the load at which growth ends
    squares: float  # of the relative errors
    share: float = 1.0  # of the fit's weight: a bending curve has three candidates for its equilibrium

    @property
    def family(self) -> tuple[str, ...]:
        return self.form, self.end, *(self.shape if self.form == "line" else ())

    @property
    def outcome(self) -> tuple[Kind, ...]:
        """Return what follows the growth."""
        return KINDS[self.end]

    @property
    def parameters(self) -> int:
        """Return the number of coefficients and of fitted breaks."""
        searched = len(self.breaks) if self.form == "line" else int(self.last is not None)
        return len(self.coefficients) + searched

    def kind(self, load: float) -> Kind:
        """Return the part that a load lies in; a break belongs to the part that it ends."""
        return self.shape[sum(load > end for end in self.breaks)]

    def rate(self, load: float) -> float:
        at = np.array([load])
        if self.form == "line":
            found = broken(at, self.breaks, self.end) @ np.array(self.coefficients)
        else:
            found = 1 / (bending(at, self.last, self.end) @ np.array(self.coefficients))
        return float(found[0])


def lines(levels: Reals, rates: Reals) -> Iterator[Line]:
    """Yield every shape with fewer parameters than there are levels."""
    distinct = np.unique(levels).tolist()
    for end in ENDS:
        for growing in (1, 2):
            yield from broken_lines(levels, rates, distinct, growing, end)
        yield from bending_curves(levels, rates, distinct, end)


def broken_lines(levels: Reals, rates: Reals, distinct: list[float], growing: int, end: End) -> Iterator[Line]:
    breaks_of = growing - 1 + bool(end)
    if len(distinct) <= growing + (end in ("slope", "cliff")) + breaks_of:
        return
    shape = (*GROWING[:growing], *KINDS[end])
    for breaks in combinations(distinct[:-1], breaks_of):
        found, squares = least_squares(broken(levels, breaks, end) / rates[:, None])
        rising = 0 < found[-1] < found[0] if growing == 2 and not end else found[0] > 0
        if growing == 2 and end:
            rising = 0 < found[1] < found[0]
        if rising and (end not in ("slope", "cliff") or found[-1] < 0):
            yield Line("line", end, shape, breaks, tuple(found.tolist()), breaks[-1] if end else None, squares)


def broken(levels: Reals, breaks: tuple[float, ...], end: End) -> Reals:
    """Return how far each load is into each part, or whether it is past a cliff."""
    ends = np.array([0.0, *breaks, np.inf])
    run: Reals = np.clip(levels[:, None], ends[:-1], ends[1:]) - ends[:-1]
    if end == "plateau":
        return run[:, :-1]
    if end == "cliff":
        run[:, -1] = levels > ends[-2]
    return run


def bending_curves(levels: Reals, rates: Reals, distinct: list[float], end: End) -> Iterator[Line]:
    """Yield bending curves, fitted in time per token, in which they are linear."""
    if len(distinct) <= 2 + (end in ("slope", "cliff")) + bool(end):
        return
    for last in distinct[1:-1] if end else [None]:
        design = bending(levels, last, end) * rates[:, None]
        found, squares = least_squares(design)
        if min(found[:2]) <= 0 or (end in ("slope", "cliff") and found[2] <= 0):
            continue
        noise = squares / max(1, len(levels) - len(found))
        spread = np.linalg.pinv(design.T @ design) * noise
        ratio = np.array([1 / found[0], -1 / found[1]])  # of the logarithm of a / b
        deviation = math.sqrt(max(0.0, float(ratio @ spread[:2, :2] @ ratio)))
        for away, share in NODES:
            middle = (1 / NEAR - 1) * float(found[0] / found[1]) * math.exp(min(50.0, max(-50.0, away * deviation)))
            early = last is None or middle < last
            shape: tuple[Kind, ...] = ("spare", *(("shared",) if early else ()), *KINDS[end])
            breaks = (*((middle,) if early else ()), *(() if last is None else (last,)))
            yield Line("curve", end, shape, breaks, tuple(found.tolist()), last, squares, share)


def bending(levels: Reals, last: float | None, end: End) -> Reals:
    """Return the terms of the time per token: a / requests + b up to the end of growth, then by the kind of end."""
    held = levels if last is None else np.minimum(levels, last)
    parts: list[npt.NDArray[Any]] = [1 / held, np.ones(len(levels))]
    if last is not None and end == "slope":
        parts.append(np.maximum(0.0, levels - last))
    if last is not None and end == "cliff":
        parts.append((levels > last).astype(np.float64))
    return np.stack(parts, axis=1).astype(np.float64)


def least_squares(design: Reals) -> tuple[Reals, float]:
    """Return the coefficients that bring every row nearest to one, and the remaining sum of squares."""
    found = np.asarray(np.linalg.lstsq(design, np.ones(len(design)), rcond=None)[0], dtype=np.float64)
    return found, float(((design @ found - 1) ** 2).sum())
