"""Throughput curves over load whose truth is known, with parameters drawn at random.

Truth is computed numerically from the rate alone, on loads 0.1 % apart, so that a new shape needs no formula for it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from engine_probe.analysis.statistics.arrays import Reals

PROPORTIONAL = 0.8  # of the tokens/s that a request gets alone: as long as each gets it, capacity is spare
HAIR = 0.02  # a gain or a loss below this share is too small to matter
TRACE = 0.001  # a gain or a loss below this share is none
FAR = 64  # growth is followed up to this many times the highest load of a sweep

Rate = Callable[[Reals], Reals]


@dataclass(frozen=True)
class Shape:
    """One curve: output tokens/s at each load. Loads between whole numbers are allowed."""

    name: str
    rate: Rate
    highest: float  # the highest load of the sweep that measures it

    def at(self, load: float) -> float:
        """Return the rate at one load."""
        return float(self.rate(np.array([load]))[0])

    @cached_property
    def loads(self) -> Reals:
        count = int(np.log(self.highest * FAR) / TRACE) + 2
        return np.geomspace(1.0, self.highest * FAR, count)

    @cached_property
    def rates(self) -> Reals:
        return self.rate(self.loads)

    @cached_property
    def proportional_limit(self) -> float:
        """Return the load up to which a request gets 80 % of what it gets alone. Infinity if all of them do."""
        below = self.rates < PROPORTIONAL * self.loads * self.at(1.0)
        return float(self.loads[np.argmax(below) - 1]) if below.any() else np.inf

    def growth_end(self, left: float) -> float:
        """Return the first load from which no higher load gains more than a share. Infinity if there is none.

        A load past half of what is followed counts as none: there the curve ends and not its growth.
        """
        most_from_here = np.maximum.accumulate(self.rates[::-1])[::-1]
        end = float(self.loads[np.argmax(most_from_here <= self.rates * (1 + left))])
        return end if end < self.highest * FAR / 2 else np.inf

    @cached_property
    def end_of_growth(self) -> tuple[float, float]:
        """Return from where less than `HAIR` is left to gain and from where less than `TRACE` is.

        Growth that fades has no end that all would agree on: a place counts as its end if it lies between the two.
        """
        return self.growth_end(HAIR), self.growth_end(TRACE)

    def loss_at(self, load: float) -> float:
        """Return how far the rate lies below the highest of any load up to this one, as a share of that."""
        return 1 - self.at(load) / max(self.at(load), float(self.rates[self.loads <= load].max()))


def affine_step(fixed: float, each: float) -> Rate:
    """Return the rate of an engine whose step takes `fixed` plus `each` times the requests in it."""
    return lambda loads: loads / (fixed + each * loads)


def capped(rate: Rate, limit: float) -> Rate:
    """Return a rate that stays level from a load on: further requests wait."""
    return lambda loads: rate(np.minimum(loads, limit))


def falling(rate: Rate, begin: float, slope: float) -> Rate:
    """Return a rate that loses a share per load past a load, at most 80 %."""
    return lambda loads: rate(loads) * np.maximum(0.2, 1 - slope * np.maximum(0.0, loads - begin))


def dropping(rate: Rate, edge: float, share: float) -> Rate:
    """Return a rate that loses a share at once past a load."""
    return lambda loads: np.where(loads > edge, rate(np.full_like(loads, edge)) * (1 - share), rate(loads))


def linear(loads: Reals) -> Reals:
    """Return a rate in proportion to load."""
    return loads.astype(np.float64)


def two_slopes(knee: float, second: float) -> Rate:
    """Return a rate whose growth slows to a share of what it was, and never ends."""
    return lambda loads: np.minimum(loads, knee) + second * np.maximum(0.0, loads - knee)


def exponential(scale: float) -> Rate:
    """Return a rate that approaches its limit exponentially."""
    return lambda loads: -np.expm1(-loads / scale)


def scalability(contention: float, coherence: float) -> Rate:
    """Return the universal scalability law."""
    return lambda loads: loads / (1 + contention * (loads - 1) + coherence * loads * (loads - 1))


def padded_steps(fixed: float, each: float, batch: float, budget: float) -> Rate:
    """Return the rate of an engine that pads its batch to a multiple and has a token budget for a step."""

    def rate(loads: Reals) -> Reals:
        running = np.minimum(loads, budget)
        return running / (fixed + each * batch * np.ceil(running / batch))

    return rate


def logarithmic(gain: float) -> Rate:
    """Return a rate that grows with the logarithm of load."""
    return lambda loads: 1 + gain * np.log(loads)


def between(rng: np.random.Generator, low: float, high: float) -> float:
    """Draw from a range, its logarithm uniform."""
    return float(np.exp(rng.uniform(np.log(low), np.log(max(low, high)))))


def bend(rng: np.random.Generator, knee: float) -> Rate:
    """Draw an affine step that has begun to bend at a load."""
    return affine_step(1.0, between(rng, 0.3, 2.0) / knee)


def broken_or_bend(rng: np.random.Generator, knee: float) -> Rate:
    """Draw what leads up to a load: proportional growth or a bend."""
    return linear if rng.random() < 0.5 else bend(rng, knee)


def draw_fall(rng: np.random.Generator, highest: float) -> Rate:
    knee = between(rng, 2.0, highest / 4)
    begin = between(rng, knee, highest / 2)
    slope = rng.uniform(0.1, 0.5) / (highest - begin)
    return falling(capped(broken_or_bend(rng, knee), knee), begin, slope)


def draw_cliff(rng: np.random.Generator, highest: float) -> Rate:
    edge = between(rng, 2.0, 0.8 * highest)
    return dropping(broken_or_bend(rng, edge), edge, rng.uniform(0.1, 0.5))


def draw_bend_to_plateau(rng: np.random.Generator, highest: float) -> Rate:
    knee = between(rng, 2.0, 0.8 * highest)
    return capped(bend(rng, knee), knee)


def draw_peak(rng: np.random.Generator, highest: float) -> Rate:
    contention, peak = rng.uniform(0.005, 0.1), between(rng, 3.0, 0.8 * highest)
    return scalability(contention, (1 - contention) / peak**2)


def draw_padded(rng: np.random.Generator, highest: float) -> Rate:
    batch = between(rng, 2.0, max(2.0, highest / 8))
    budget = batch * np.ceil(between(rng, 1.0, max(1.0, 0.8 * highest / batch)))
    return padded_steps(1.0, between(rng, 0.2, 2.0) / budget, batch, float(budget))


DRAWS: dict[str, Callable[[np.random.Generator, float], Rate]] = {
    "broken line to a plateau": lambda rng, highest: capped(linear, between(rng, 2.0, 0.8 * highest)),
    "bend to a plateau": draw_bend_to_plateau,
    "plateau, then a slope down": draw_fall,
    "cliff": draw_cliff,
    "linear": lambda rng, highest: linear,
    "two slopes": lambda rng, highest: two_slopes(between(rng, 2.0, highest / 2), rng.uniform(0.05, 0.4)),
    "affine step": lambda rng, highest: bend(rng, between(rng, 2.0, highest)),
    "saturating exponential": lambda rng, highest: exponential(between(rng, 1.0, highest / 3)),
    "scalability law with a peak": draw_peak,
    "scalability law without a peak": lambda rng, highest: scalability(rng.uniform(0.005, 0.1), 0.0),
    "padded steps to a token budget": draw_padded,
    "logarithmic": lambda rng, highest: logarithmic(rng.uniform(0.2, 1.0)),
}


def draw_shape(rng: np.random.Generator, name: str, highest: float) -> Shape:
    """Draw a curve of one kind for a sweep up to a load, and its scale."""
    rate, scale = DRAWS[name](rng, highest), between(rng, 5.0, 500.0)
    return Shape(name, lambda loads: scale * rate(loads), highest)
