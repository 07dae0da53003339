"""The interval of a share of independent events (Clopper and Pearson: never too narrow)."""

from engine_probe.analysis.statistics.student import CONFIDENCE, Interval


def share_interval(count: int, of: int) -> Interval:
    """Return the interval of the share that so many of so many events show; all is possible without events."""
    from scipy.special import betaincinv

    tail = (1 - CONFIDENCE) / 2
    low = float(betaincinv(count, of - count + 1, tail)) if count else 0.0
    high = float(betaincinv(count + 1, of - count, 1 - tail)) if count < of else 1.0
    return low, high
