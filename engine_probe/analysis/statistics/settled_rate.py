"""Whether a rate has settled, and its confidence interval from then on.

The time is divided into equal slots, each with its rate. The beginning is cut off so that the standard error of the
mean of the rest is smallest (MSER, the marginal standard error rule); a cut in the second half means that the rate is
still changing. `correlated_mean.py` gives the mean of the rest its interval.

A warm-up slower than the cut leaves a part of itself in the rest. Exponential approaches, fitted to all slots, say how
far the mean is off if the warm-up goes on as it began; of those that fit nearly as well as the best, and that the rest
does not contradict, the one that leaves most counts. The interval is widened by so much. Where that is more than chance
explains, the rate counts as still warming up.
"""

from dataclasses import dataclass

import numpy as np

from engine_probe.analysis.statistics.arrays import Integers, Reals
from engine_probe.analysis.statistics.correlated_mean import half_width

SLOTS = 64
WARM_UPS = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6)  # time constants, as shares of the whole time
NEARLY = 0.9  # as much of the variance explained as by the best fit


@dataclass(frozen=True)
class Rate:
    """A rate per second over a part of the time, and half the width of its confidence interval."""

    from_ns: int
    to_ns: int
    per_second: float
    half_width: float
    warm_up_left: float  # what a warm-up that goes on as it began adds to `per_second` at most; part of `half_width`

    @property
    def relative(self) -> float:
        return self.half_width / self.per_second if self.per_second > 0 else float("inf")

    @property
    def warming_up(self) -> bool:
        """Return whether the warm-up moves the rate by more than chance."""
        return abs(self.warm_up_left) > self.half_width / 2


def settled_rate(begin_ns: int, ends_ns: Integers, amounts: Integers) -> Rate | None:
    """Return the rate since it settled, with amounts spread evenly between their ends. None if it has not settled."""
    if len(ends_ns) < 2 * SLOTS or ends_ns[-1] <= begin_ns:
        return None  # a slot would hold hardly more than one step
    edges = np.linspace(begin_ns, ends_ns[-1], SLOTS + 1)
    slots = rates(begin_ns, ends_ns, amounts, edges)
    cut = warm_up_slots(slots)
    if cut is None:
        return None
    kept = slots[cut:]
    chance = half_width(kept)
    left = warm_up_left(slots, cut, chance)
    return Rate(int(edges[cut]), int(ends_ns[-1]), float(kept.mean()), chance + abs(left), left)


def rates(begin_ns: int, ends_ns: Integers, amounts: Integers, edges_ns: Reals) -> Reals:
    """Return the amount per second between each edge and the next."""
    times = np.concatenate(([begin_ns], ends_ns)).astype(np.float64)
    came = np.interp(edges_ns, times, np.concatenate(([0], np.cumsum(amounts))).astype(np.float64))
    return np.diff(came) / np.diff(edges_ns) * 1e9


def warm_up_slots(slots: Reals) -> int | None:
    """Return how many slots to cut off at the beginning. None if the best cut lies in the second half."""
    rest = [slots[cut:] for cut in range(len(slots) * 3 // 4)]
    cut = int(np.argmin([part.var() / len(part) for part in rest]))
    return cut if cut <= len(slots) // 2 else None


def warm_up_left(slots: Reals, cut: int, chance: float) -> float:
    """Return what an exponential approach that fits all slots adds to the mean of those behind the cut.

    `chance` is half the interval of that mean. It says how far an approach may miss the slope of those slots.
    """
    moments = (np.arange(len(slots)) + 0.5) / len(slots)
    decays = np.exp(-moments / np.array(WARM_UPS)[:, None])
    depths, explained, _ = fits(decays, slots)
    depths_behind, _, squares = fits(decays[:, cut:], slots[cut:])
    reach = chance * np.sqrt((len(slots) - cut) / squares)
    possible = (explained >= NEARLY * explained.max()) & (np.abs(depths - depths_behind) <= reach)
    left = depths[possible] * decays[possible, cut:].mean(axis=1)
    return float(left[np.argmax(np.abs(left))]) if len(left) else 0.0


def fits(shapes: Reals, values: Reals) -> tuple[Reals, Reals, Reals]:
    """Return the slope of values over each shape, the squares that it explains, and the squares of the shape."""
    centred = shapes - shapes.mean(axis=1, keepdims=True)
    squares, products = (centred**2).sum(axis=1), centred @ values
    return products / squares, products**2 / squares, squares
