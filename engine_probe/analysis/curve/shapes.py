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

from engine_probe.analysis.statistics.arrays import Reals

Growing = Literal["line", "bend", "slower", "exponential", "scalability", "power"]
End = Literal["", "plateau", "slope", "later slope", "cliff"]

# Prior weight of each end, and how many parameters it adds. Learned on simulated sweeps, where they give a level's true
# region a chance of 85.07 %. `python -m tools.calibration.learned`, begun from these, finds 0.49, 0.03, 0.41 and 0.20,
# with 85.10 %: so little is gained that these stay.
ENDS: dict[End, tuple[float, int]] = {
    "": (1.0, 0),
    "plateau": (0.55, 1),
    "slope": (0.06, 2),
    "later slope": (0.35, 3),
    "cliff": (0.22, 2),
}
PARAMETERS: dict[Growing, int] = {"line": 0, "bend": 1, "slower": 2, "exponential": 1, "scalability": 2, "power": 1}
ENDLESS: tuple[Growing, ...] = ("exponential", "scalability", "power")
MOST_PARAMETERS = 4
LOSSES = (0.02, 0.6)  # of throughput, at a cliff or by a slope up to the highest load
SECOND = (0.02, 0.8)  # of the first slope
POWERS = (0.05, 0.95)
LEAST_LEFT = 0.2  # of the throughput, however far a slope goes on


class BreakRange:
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

    def rates(self, cube: Reals, loads: Reals, span: BreakRange) -> Reals:
        """Return rates (a row for each load, a column for each curve), each column up to a factor.

        A column of the cube is a curve, so that steps over many curves are steps through memory. Curves that are all
        alike have one column.
        """
        column, own = loads[:, None], cube[ENDS[self.end][1] :]
        if not self.end:
            return GROWTHS[self.growing](own, column, span, 1.0)
        last = span.load(cube[0])
        rates = GROWTHS[self.growing](own, np.minimum(column, last), span, cube[0])
        return rates if self.end == "plateau" else rates * self.fall(cube, column, span, last)

    def fall(self, cube: Reals, loads: Reals, span: BreakRange, last: Reals) -> Reals:
        """Return which share of its rate a curve keeps at each load, given where its growth ends."""
        until, loss = cube[0], linear(LOSSES, cube[ENDS[self.end][1] - 1])
        if self.end == "cliff":
            return np.where(loads > last, 1 - loss, 1.0)
        begin = span.load(until + (1 - until) * cube[1]) if self.end == "later slope" else last
        slope = loss / np.maximum(span.high - begin, 1e-9 * span.high)
        return np.asarray(np.maximum(LEAST_LEFT, 1 - slope * np.maximum(0.0, loads - begin)), dtype=np.float64)


def between(low: float | Reals, high: float | Reals, share: Reals) -> Reals:
    """Return the load that lies this share of the way from low to high, on a logarithmic scale."""
    return np.asarray(low * np.exp(np.log(high / low) * share), dtype=np.float64)


def linear(limits: tuple[float, float], share: Reals) -> Reals:
    return limits[0] + (limits[1] - limits[0]) * share


def slower(own: Reals, loads: Reals, span: BreakRange, until: Reals | float) -> Reals:
    knee = span.load(until * own[0])
    after = linear(SECOND, own[1]) * np.maximum(0.0, loads - knee)
    return np.asarray(np.minimum(loads, knee) + after, dtype=np.float64)


def bend(own: Reals, loads: Reals, span: BreakRange, _: Reals | float) -> Reals:
    half = between(span.low / 4, 16 * span.high, own[0])  # where a request gets half of what it gets alone
    return loads / (1 + loads / half)


def exponential(own: Reals, loads: Reals, span: BreakRange, _: Reals | float) -> Reals:
    scale = between(span.low / 2, 2 * span.high, own[0])
    return np.asarray(-np.expm1(-loads / scale), dtype=np.float64)


def scalability(own: Reals, loads: Reals, span: BreakRange, _: Reals | float) -> Reals:
    half = between(span.low / 4, 100 * span.high, own[0])
    peak = between(span.low, 2 * span.high, own[1])
    return loads / (1 + loads / half + (loads / peak) ** 2)


def power(own: Reals, loads: Reals, _: BreakRange, __: Reals | float) -> Reals:
    return np.asarray(np.exp(np.log(loads) * linear(POWERS, own[0])), dtype=np.float64)


GROWTHS: dict[Growing, Callable[[Reals, Reals, BreakRange, Reals | float], Reals]] = {
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
