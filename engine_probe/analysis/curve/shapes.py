"""The shapes of a curve of throughput over load, each with its parameters in the unit cube.

Zero requests give zero tokens, so every shape begins there. It grows in one of six ways, and growth of the first three
may end:

- line: in proportion to load.
- bend: an engine whose step takes a + b x requests; tokens/s are requests / (a + b x requests).
- slower: in proportion up to a load, then more slowly.
- exponential: towards a limit, of which each further request closes the same share.
- scalability: the universal scalability law; requests wait for each other, and past a peak hinder each other.
- power: a power of load below one; it slows down and never ends.

The ends: a plateau; a fall that begins at once or later, on a plateau; a cliff, where preempted requests are computed
again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Reals = npt.NDArray[np.float64]
Growing = Literal["line", "bend", "slower", "exponential", "scalability", "power"]
End = Literal["", "plateau", "slope", "later slope", "cliff"]

# Prior weight of each end, and how many parameters it adds. Falls together weigh about as much as the plateau.
ENDS: dict[End, tuple[float, int]] = {
    "": (1.0, 0),
    "plateau": (1.5, 1),
    "slope": (0.4, 2),
    "later slope": (0.4, 3),
    "cliff": (0.5, 2),
}
PARAMETERS: dict[Growing, int] = {"line": 0, "bend": 1, "slower": 2, "exponential": 1, "scalability": 2, "power": 1}
ENDLESS: tuple[Growing, ...] = ("exponential", "scalability", "power")
MOST_PARAMETERS = 4
LOSSES = (0.02, 0.6)  # of throughput, at a cliff or by a slope up to the highest load
SECOND = (0.02, 0.8)  # of the first slope
POWERS = (0.05, 0.95)
LEAST_LEFT = 0.2  # of the throughput, however far a slope goes on


@dataclass(frozen=True)
class Family:
    """One way to grow and to end."""

    growing: Growing
    end: End

    @property
    def parameters(self) -> int:
        return PARAMETERS[self.growing] + ENDS[self.end][1]

    @property
    def broken(self) -> bool:
        """Return whether all parts are straight."""
        return self.growing in ("line", "slower")

    def rates(self, cube: Reals, loads: Reals, measured: tuple[float, float]) -> Reals:
        """Return the rates of these curves at all loads, up to a common factor.

        A row of the cube is a curve. `measured` are the lowest and the highest measured load.
        """
        last, fall = self.endings(cube, loads, measured)
        own = cube[:, ENDS[self.end][1] :]
        held = np.minimum(loads, last)
        return np.asarray(GROWTHS[self.growing](own, held, measured, last) * fall, dtype=np.float64)

    def endings(self, cube: Reals, loads: Reals, measured: tuple[float, float]) -> tuple[Reals, Reals]:
        """Return for each curve the load at which growth ends, and for each load the share that a fall leaves."""
        low, high = measured
        if not self.end:
            return np.full((len(cube), 1), np.inf), np.ones((1, 1))
        last = between(low, high, cube[:, :1])
        if self.end == "plateau":
            return last, np.ones((1, 1))
        loss = linear(LOSSES, cube[:, ENDS[self.end][1] - 1 : ENDS[self.end][1]])
        if self.end == "cliff":
            return last, np.where(loads > last, 1 - loss, 1.0)
        begin = between(last, high, cube[:, 1:2]) if self.end == "later slope" else last
        past = np.maximum(0.0, loads - begin) / np.maximum(high - begin, 1e-9 * high)
        return last, np.maximum(LEAST_LEFT, 1 - loss * past)


def between(low: float | Reals, high: float | Reals, share: Reals) -> Reals:
    """Return the load that lies this share of the way from low to high, on a logarithmic scale."""
    return np.asarray(low * (high / low) ** share, dtype=np.float64)


def linear(limits: tuple[float, float], share: Reals) -> Reals:
    return limits[0] + (limits[1] - limits[0]) * share


def slower(own: Reals, loads: Reals, measured: tuple[float, float], last: Reals) -> Reals:
    low, high = measured
    knee = between(low, np.minimum(last, high), own[:, :1])
    return np.asarray(
        np.minimum(loads, knee) + linear(SECOND, own[:, 1:2]) * np.maximum(0.0, loads - knee), dtype=np.float64
    )


def bend(own: Reals, loads: Reals, measured: tuple[float, float], _: Reals) -> Reals:
    half = between(measured[0] / 4, 16 * measured[1], own[:, :1])  # where a request gets half of what it gets alone
    return loads / (1 + loads / half)


def exponential(own: Reals, loads: Reals, measured: tuple[float, float], _: Reals) -> Reals:
    scale = between(measured[0] / 2, 2 * measured[1], own[:, :1])
    return np.asarray(-np.expm1(-loads / scale), dtype=np.float64)


def scalability(own: Reals, loads: Reals, measured: tuple[float, float], _: Reals) -> Reals:
    half = between(measured[0] / 4, 100 * measured[1], own[:, :1])
    peak = between(measured[0], 2 * measured[1], own[:, 1:2])
    return loads / (1 + loads / half + (loads / peak) ** 2)


def power(own: Reals, loads: Reals, _: tuple[float, float], __: Reals) -> Reals:
    return np.asarray(loads ** linear(POWERS, own[:, :1]), dtype=np.float64)


GROWTHS: dict[Growing, Callable[[Reals, Reals, tuple[float, float], Reals], Reals]] = {
    "line": lambda own, loads, measured, last: loads,
    "bend": bend,
    "slower": slower,
    "exponential": exponential,
    "scalability": scalability,
    "power": power,
}
FAMILIES = tuple(
    Family(growing, end)
    for growing in GROWTHS
    for end in ENDS
    if PARAMETERS[growing] + ENDS[end][1] <= MOST_PARAMETERS and not (growing in ENDLESS and end)
)
