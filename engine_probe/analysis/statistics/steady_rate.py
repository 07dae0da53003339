"""Whether a rate has become steady, and how well it is then known: batch means behind a cut-off beginning.

Time since the beginning is divided into equal slots, each with the rate in it. The beginning is cut off where that
makes the mean of the rest known best (MSER, the marginal standard error rule); a cut in the second half means that it
is still changing. The rest is gathered into batches of one, two and four slots. Student's t gives each a confidence
interval of the mean, widened by how much a batch follows the one before it (lag-1 correlation, less its bias, as in a
process of first order), and the widest of the three counts: a drift keeps neighbours alike, so it never looks known.
What changes more slowly than the whole time that was watched nobody can see.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

SLOTS = 64
BATCHES_OF = (1, 2, 4)  # slots
CONFIDENCE = 0.95

Times = npt.NDArray[np.int64]
Rates = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Rate:
    """A rate per second over part of the time, and half the width of its 95 % confidence interval."""

    from_ns: int
    to_ns: int
    per_second: float
    half_width: float

    @property
    def relative(self) -> float:
        return self.half_width / self.per_second if self.per_second > 0 else float("inf")


def steady_rate(begin_ns: int, ends_ns: Times, amounts: Times) -> Rate | None:
    """`amounts` came about evenly between one end and the next; None while no part of it is steady."""
    if len(ends_ns) < 2 * SLOTS or ends_ns[-1] <= begin_ns:
        return None  # slots would show single steps
    edges = np.linspace(begin_ns, ends_ns[-1], SLOTS + 1)
    slots = rates(begin_ns, ends_ns, amounts, edges)
    cut = settled(slots)
    if cut is None:
        return None
    kept = slots[cut:]
    widest = max(half_width(batch_means(kept, width)) for width in BATCHES_OF)
    return Rate(int(edges[cut]), int(ends_ns[-1]), float(kept.mean()), widest)


def rates(begin_ns: int, ends_ns: Times, amounts: Times, edges_ns: npt.NDArray[np.float64]) -> Rates:
    """Amount per second between each edge and the next."""
    times = np.concatenate(([begin_ns], ends_ns)).astype(np.float64)
    came = np.interp(edges_ns, times, np.concatenate(([0], np.cumsum(amounts))).astype(np.float64))
    found: Rates = np.diff(came) / np.diff(edges_ns) * 1e9
    return found


def settled(slots: Rates) -> int | None:
    """How many slots to cut off in front; None where the best cut lies in the second half."""
    rest = [slots[cut:] for cut in range(len(slots) * 3 // 4)]
    cut = int(np.argmin([part.var() / len(part) for part in rest]))
    return cut if cut <= len(slots) // 2 else None


def batch_means(slots: Rates, width: int) -> Rates:
    """Whole batches of so many slots; what does not fill one is left out in front."""
    count = len(slots) // width
    means: Rates = slots[len(slots) - count * width :].reshape(count, width).mean(axis=1)
    return means


def half_width(means: Rates) -> float:
    """Of the confidence interval of their mean."""
    from scipy.special import stdtrit

    follow = correlation(means)
    if follow >= 1:
        return float("inf")
    quantile = float(stdtrit(len(means) - 1, (1 + CONFIDENCE) / 2))
    widened = np.sqrt((1 + follow) / (1 - follow))
    return quantile * float(widened * means.std(ddof=1) / np.sqrt(len(means)))


def correlation(values: Rates) -> float:
    """Of each value with the next, not below 0; small samples show less of it than there is, which is put back."""
    apart = values - values.mean()
    total = float(apart @ apart)
    seen = float(apart[:-1] @ apart[1:]) / total if total else 0.0
    return max(0.0, seen + (1 + 3 * seen) / len(values)) if total else 0.0
