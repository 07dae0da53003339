"""Student's t distribution, Welch's test with it, and the intervals of a share.

It calls what `scipy.stats` calls, without that module's long import.
"""

import math
from collections.abc import Sequence
from statistics import NormalDist

CONFIDENCE = 0.95  # of every interval, unless it says otherwise
SIGNIFICANT = 0.05  # a p below this counts as a difference
ONE_SIDED = 0.90  # a two-sided interval, each end of which is a one-sided bound at 95 %

Interval = tuple[float, float]


def quantile(freedom: float, confidence: float = CONFIDENCE) -> float:
    """Return how many standard errors the two-sided interval reaches to each side."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1 + confidence) / 2))


def two_sided_p(distance: float, error: float, freedom: float) -> float:
    """Return the probability of a distance at least this large from zero, given its standard error."""
    from scipy.special import stdtr

    if not error:
        return 0.0 if distance else 1.0
    return float(2 * stdtr(freedom, -abs(distance) / error))


def welch(
    distance: float, variances: tuple[float, float], freedoms: tuple[float, float], confidence: float = CONFIDENCE
) -> tuple[float, Interval]:
    """Return the two-sided p and the interval of the difference of two means, given the variances of the means."""
    error = math.sqrt(sum(variances))
    if not error:
        return two_sided_p(distance, error, 1), (distance, distance)
    freedom = error**4 / sum(part**2 / own for part, own in zip(variances, freedoms, strict=True))
    half = quantile(freedom, confidence) * error
    return two_sided_p(distance, error, freedom), (distance - half, distance + half)


def summed_variance(parts: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return the variance of a sum and its degrees of freedom, given those of each part (Welch and Satterthwaite)."""
    total = sum(variance for variance, _ in parts)
    squares = sum(variance**2 / freedom for variance, freedom in parts)
    return total, total**2 / squares if squares else 1.0


def wilson_interval(count: float, of: int) -> Interval:
    """Return the interval of a share of independent events (Wilson: right on average over shares)."""
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    share, weight = count / of, z * z / of
    middle = (share + weight / 2) / (1 + weight)
    reach = z / (1 + weight) * math.sqrt(share * (1 - share) / of + weight / of / 4)
    return max(0.0, middle - reach), min(1.0, middle + reach)


def share_interval(count: int, of: int) -> Interval:
    """Return the interval of a share of independent events (Clopper and Pearson: never too narrow)."""
    from scipy.special import betaincinv

    tail = (1 - CONFIDENCE) / 2
    low = float(betaincinv(count, of - count + 1, tail)) if count else 0.0
    high = float(betaincinv(count + 1, of - count, 1 - tail)) if count < of else 1.0
    return low, high
