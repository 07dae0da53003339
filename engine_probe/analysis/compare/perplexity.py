"""The perplexity of a text with its interval, and the difference between two engines over the same windows.

Perplexity = exp(sum of -ln p(token | tokens before it in its window) / number of scored tokens). For this text it is
exact; its interval is for other texts of the same kind, with windows taken as independent. A difference between two
engines is judged by the pairs of windows, in which most of that variation cancels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine_probe.analysis.statistics.arrays import Reals
from engine_probe.analysis.statistics.student import Interval, quantile, two_sided_p


@dataclass(frozen=True)
class MeanPerToken:
    """A mean per token over windows (sum over windows / sum of tokens) and its standard error."""

    mean: float
    error: float | None  # None with a single window
    freedom: int  # windows - 1

    @property
    def interval(self) -> Interval | None:
        """Return Student's interval of the mean."""
        if self.error is None:
            return None
        half = quantile(self.freedom) * self.error
        return self.mean - half, self.mean + half


@dataclass(frozen=True)
class Perplexity:
    nats: MeanPerToken  # per token
    windows: int
    tokens: int

    @property
    def value(self) -> float:
        return exp(self.nats.mean)

    @property
    def interval(self) -> tuple[float, float] | None:
        ends = self.nats.interval
        return None if ends is None else (exp(ends[0]), exp(ends[1]))

    def per_word(self, words: int) -> float:
        """Return word perplexity: exp(sum of -ln p / words)."""
        return exp(self.nats.mean * self.tokens / words)

    @property
    def reach(self) -> float | None:
        """Return half the width of the interval."""
        ends = self.interval
        return None if ends is None else (ends[1] - ends[0]) / 2


@dataclass(frozen=True)
class PerplexityChange:
    """The change of perplexity from one engine to another; `nats` is the mean difference per token over the windows.

    Also used for any figure at several points, which weigh the same; `nats` is then the mean change of its logarithm.
    """

    nats: MeanPerToken

    @property
    def relative(self) -> float:
        """Return exp(mean difference) - 1, the ratio of the two perplexities less one."""
        return expm1(self.nats.mean)

    @property
    def interval(self) -> tuple[float, float] | None:
        ends = self.nats.interval
        return None if ends is None else (expm1(ends[0]), expm1(ends[1]))

    def p(self, bound: float = 0.0) -> float | None:
        """Return the two-sided p of the distance from a bound, which is a relative change. None with one window."""
        if self.nats.error is None:
            return None
        return two_sided_p(self.nats.mean - math.log1p(bound), self.nats.error, self.nats.freedom)


def perplexity(nll: Sequence[float | None], tokens: Sequence[int]) -> Perplexity | None:
    """Return the perplexity. None if a window has no finite sum: leaving it out would make another text."""
    if any(value is None or not math.isfinite(value) for value in nll):
        return None
    sums, counts = np.asarray(nll, np.float64), np.asarray(tokens, np.float64)
    return Perplexity(per_token(sums, counts), len(counts), int(counts.sum()))


def paired(
    before: Sequence[float | None], after: Sequence[float | None], tokens: Sequence[int]
) -> PerplexityChange | None:
    """Return the change over the same windows of two engines. None if a window has no finite sum."""
    if perplexity(before, tokens) is None or perplexity(after, tokens) is None:
        return None
    change = np.asarray(after, np.float64) - np.asarray(before, np.float64)
    return PerplexityChange(per_token(change, np.asarray(tokens, np.float64)))


def per_token(sums: Reals, tokens: Reals) -> MeanPerToken:
    """Return a ratio of sums, with its error from each window's distance to the mean times its tokens."""
    count = len(tokens)
    mean = float(sums.sum() / tokens.sum())
    if count < 2:
        return MeanPerToken(mean, None, 0)
    squares = float(((sums - mean * tokens) ** 2).sum())
    return MeanPerToken(mean, math.sqrt(count / (count - 1) * squares) / float(tokens.sum()), count - 1)


def exp(nats: float) -> float:
    """Return exp, or infinity beyond the range of a float."""
    return math.exp(nats) if nats < 700 else math.inf


def expm1(nats: float) -> float:
    return math.expm1(nats) if nats < 700 else math.inf
