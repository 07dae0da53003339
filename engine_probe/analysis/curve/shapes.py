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

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Reals = npt.NDArray[np.float64]
Growing = Literal["line", "bend", "slower", "exponential", "scalability", "power"]
End = Literal["", "plateau", "slope", "later slope", "cliff"]

# Prior weight of each end, and how many parameters it adds. Falls together weigh about as much as the plateau. Where
# levels leave it open whether growth ends, ends of these weights are true as often as they say (calibration.md).
ENDS: dict[End, tuple[float, int]] = {
    "": (1.0, 0),
    "plateau": (0.6, 1),
    "slope": (0.16, 2),
    "later slope": (0.16, 3),
    "cliff": (0.18, 2),
}
PARAMETERS: dict[Growing, int] = {"line": 0, "bend": 1, "slower": 2, "exponential": 1, "scalability": 2, "power": 1}
ENDLESS: tuple[Growing, ...] = ("exponential", "scalability", "power")
MOST_PARAMETERS = 4
LOSSES = (0.02, 0.6)  # of throughput, at a cliff or by a slope up to the highest load
SECOND = (0.02, 0.8)  # of the first slope
POWERS = (0.05, 0.95)
LEAST_LEFT = 0.2  # of the throughput, however far a slope goes on


class Span:
    """The loads at which a curve may have a break: from the lowest to the highest level.

    A break lies half as a logarithmic scale has it, and half so that each gap between levels is as likely.
    """

    def __init__(self, levels: Reals) -> None:
        self.low, self.high = float(levels[0]), float(levels[-1])
        self._logs = np.log(levels)
        logarithmic = (self._logs - self._logs[0]) / (self._logs[-1] - self._logs[0])
        self._shares = (logarithmic + np.linspace(0, 1, len(levels))) / 2

    def load(self, share: Reals) -> Reals:
        """Return the load that lies this share of the way from the lowest to the highest."""
        return np.asarray(np.exp(np.interp(share, self._shares, self._logs)), dtype=np.float64)


@dataclass(frozen=True)
class Family:
    """One way to grow and to end."""

    growing: Growing
    end: End

    @property
    def parameters(self) -> int:
        return PARAMETERS[self.growing] + ENDS[self.end][1]

    @property
    def straight(self) -> bool:
        """Return whether all parts are straight."""
        return self.growing in ("line", "slower")

    def rates(self, cube: Reals, loads: Reals, span: Span) -> Reals:
        """Return the rates of these curves at all loads, up to a common factor.

        A row of the cube is a curve.
        """
        last, fall = self.endings(cube, loads, span)
        own = cube[:, ENDS[self.end][1] :]
        until = cube[:, :1] if self.end else np.ones((len(cube), 1))
        held = np.minimum(loads, last)
        return np.asarray(GROWTHS[self.growing](own, held, span, until) * fall, dtype=np.float64)

    def endings(self, cube: Reals, loads: Reals, span: Span) -> tuple[Reals, Reals]:
        """Return for each curve the load at which growth ends, and for each load the share that a fall leaves."""
        if not self.end:
            return np.full((len(cube), 1), np.inf), np.ones((1, 1))
        until = cube[:, :1]
        last = span.load(until)
        if self.end == "plateau":
            return last, np.ones((1, 1))
        loss = linear(LOSSES, cube[:, ENDS[self.end][1] - 1 : ENDS[self.end][1]])
        if self.end == "cliff":
            return last, np.where(loads > last, 1 - loss, 1.0)
        begin = span.load(until + (1 - until) * cube[:, 1:2]) if self.end == "later slope" else last
        past = np.maximum(0.0, loads - begin) / np.maximum(span.high - begin, 1e-9 * span.high)
        return last, np.maximum(LEAST_LEFT, 1 - loss * past)


def between(low: float | Reals, high: float | Reals, share: Reals) -> Reals:
    """Return the load that lies this share of the way from low to high, on a logarithmic scale."""
    return np.asarray(low * (high / low) ** share, dtype=np.float64)


def linear(limits: tuple[float, float], share: Reals) -> Reals:
    return limits[0] + (limits[1] - limits[0]) * share


def slower(own: Reals, loads: Reals, span: Span, until: Reals) -> Reals:
    knee = span.load(until * own[:, :1])
    after = linear(SECOND, own[:, 1:2]) * np.maximum(0.0, loads - knee)
    return np.asarray(np.minimum(loads, knee) + after, dtype=np.float64)


def bend(own: Reals, loads: Reals, span: Span, _: Reals) -> Reals:
    half = between(span.low / 4, 16 * span.high, own[:, :1])  # where a request gets half of what it gets alone
    return loads / (1 + loads / half)


def exponential(own: Reals, loads: Reals, span: Span, _: Reals) -> Reals:
    scale = between(span.low / 2, 2 * span.high, own[:, :1])
    return np.asarray(-np.expm1(-loads / scale), dtype=np.float64)


def scalability(own: Reals, loads: Reals, span: Span, _: Reals) -> Reals:
    half = between(span.low / 4, 100 * span.high, own[:, :1])
    peak = between(span.low, 2 * span.high, own[:, 1:2])
    return loads / (1 + loads / half + (loads / peak) ** 2)


def power(own: Reals, loads: Reals, _: Span, __: Reals) -> Reals:
    return np.asarray(loads ** linear(POWERS, own[:, :1]), dtype=np.float64)


GROWTHS: dict[Growing, Callable[[Reals, Reals, Span, Reals], Reals]] = {
    "line": lambda own, loads, span, until: loads,
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
