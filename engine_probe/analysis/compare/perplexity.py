"""Perplexity of a text and what chance is in it; the difference between two engines over the same windows.

Perplexity = exp(sum of -ln p(token | tokens before it in its window) / number of scored tokens). Of this very text it
is exact; its interval says how another text of the same kind would move it, windows taken as independent. How much of
that cancels when two engines answer the same windows only the pairs tell, so a difference is judged by them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine_probe.analysis.statistics.repeats import CONFIDENCE


@dataclass(frozen=True)
class Estimate:
    """A mean per token over windows: sum of windows / sum of tokens, and its standard error."""

    mean: float
    error: float | None  # None with a single window
    freedom: int  # windows - 1

    @property
    def interval(self) -> tuple[float, float] | None:
        """Student's, at 95 %."""
        if self.error is None:
            return None
        from scipy.special import stdtrit  # what scipy.stats asks, without its long import

        half = float(stdtrit(self.freedom, (1 + CONFIDENCE) / 2)) * self.error
        return self.mean - half, self.mean + half


@dataclass(frozen=True)
class Perplexity:
    nats: Estimate  # per token
    windows: int
    tokens: int

    @property
    def value(self) -> float:
        return exp(self.nats.mean)

    @property
    def interval(self) -> tuple[float, float] | None:
        ends = self.nats.interval
        return None if ends is None else (exp(ends[0]), exp(ends[1]))

    @property
    def reach(self) -> float | None:
        """Half the interval's width."""
        ends = self.interval
        return None if ends is None else (ends[1] - ends[0]) / 2


@dataclass(frozen=True)
class PairedChange:
    """Of perplexity, from one engine to another over the same windows; `nats` is the mean difference per token.

    Likewise of any figure at several points, each weighing one: then of its logarithm.
    """

    nats: Estimate

    @property
    def relative(self) -> float:
        """exp(mean difference) - 1 is the ratio of the two perplexities less one."""
        return expm1(self.nats.mean)

    @property
    def interval(self) -> tuple[float, float] | None:
        ends = self.nats.interval
        return None if ends is None else (expm1(ends[0]), expm1(ends[1]))

    def p(self, bound: float = 0.0) -> float | None:
        """Two-sided: the chance of a distance like this from `bound` (a share) if the truth were there."""
        error = self.nats.error
        if error is None:
            return None
        distance = self.nats.mean - math.log1p(bound)
        if not error:
            return 0.0 if distance else 1.0
        from scipy.special import stdtr

        return float(2 * stdtr(self.nats.freedom, -abs(distance) / error))


def perplexity(nll: Sequence[float | None], tokens: Sequence[int]) -> Perplexity | None:
    """None where a window has no finite sum: without it the figure would be another text's."""
    if any(value is None or not math.isfinite(value) for value in nll):
        return None
    sums, counts = np.asarray(nll, np.float64), np.asarray(tokens, np.float64)
    return Perplexity(per_token(sums, counts), len(counts), int(counts.sum()))


def paired(before: Sequence[float | None], after: Sequence[float | None], tokens: Sequence[int]) -> PairedChange | None:
    """The same windows on both sides; None where one has no finite sum."""
    if perplexity(before, tokens) is None or perplexity(after, tokens) is None:
        return None
    change = np.asarray(after, np.float64) - np.asarray(before, np.float64)
    return PairedChange(per_token(change, np.asarray(tokens, np.float64)))


Array = npt.NDArray[np.float64]


def per_token(sums: Array, tokens: Array) -> Estimate:
    """A ratio of sums; its error from how far each window lies from what its tokens would make it."""
    count = len(tokens)
    mean = float(sums.sum() / tokens.sum())
    if count < 2:
        return Estimate(mean, None, 0)
    squares = float(((sums - mean * tokens) ** 2).sum())
    return Estimate(mean, math.sqrt(count / (count - 1) * squares) / float(tokens.sum()), count - 1)


def exp(nats: float) -> float:
    """Infinite where a float ends: a model of chance on a large vocabulary stays far below it."""
    return math.exp(nats) if nats < 700 else math.inf


def expm1(nats: float) -> float:
    return math.expm1(nats) if nats < 700 else math.inf
