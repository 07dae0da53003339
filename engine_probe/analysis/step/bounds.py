"""Figures of every step that are known only between a lower and an upper bound."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Reals = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Bounds:
    """Lower and upper bound of each step; the figure is exact if they agree."""

    least: Reals
    most: Reals

    @classmethod
    def exact(cls, values: Reals) -> Bounds:
        return cls(values, values)

    def __add__(self, other: Bounds | Reals) -> Bounds:
        more = other if isinstance(other, Bounds) else Bounds.exact(other)
        return Bounds(self.least + more.least, self.most + more.most)

    def __mul__(self, factor: float) -> Bounds:
        return Bounds(self.least * factor, self.most * factor)
