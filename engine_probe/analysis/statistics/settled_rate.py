"""Whether a rate has settled, and its confidence interval from then on: batch means after a cut-off warm-up.

The time is divided into equal slots, each with its rate. The beginning is cut off so that the standard error of the
mean of the rest is smallest (MSER, the marginal standard error rule); a cut in the second half means that the rate is
still changing. The rest is gathered into batches of one, two and four slots. Student's t gives each batch size an
interval of the mean, widened by the correlation of neighbouring batches (lag-1, less its bias, as in a first-order
process), and the widest of the three is used: a drift makes neighbours alike, so it never gets a narrow interval.
Changes slower than the whole time cannot be detected.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine_probe.analysis.statistics.student import quantile

SLOTS = 64
BATCHES_OF = (1, 2, 4)  # slots

Times = npt.NDArray[np.int64]
Rates = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Rate:
    """A rate per second over a part of the time, and half the width of its confidence interval."""

    from_ns: int
    to_ns: int
    per_second: float
    half_width: float

    @property
    def relative(self) -> float:
        return self.half_width / self.per_second if self.per_second > 0 else float("inf")


def settled_rate(begin_ns: int, ends_ns: Times, amounts: Times) -> Rate | None:
    """Return the rate since it settled, with amounts spread evenly between their ends. None if it has not settled."""
    if len(ends_ns) < 2 * SLOTS or ends_ns[-1] <= begin_ns:
        return None  # a slot would hold hardly more than one step
    edges = np.linspace(begin_ns, ends_ns[-1], SLOTS + 1)
    slots = rates(begin_ns, ends_ns, amounts, edges)
    cut = warm_up_slots(slots)
    if cut is None:
        return None
    kept = slots[cut:]
    widest = max(half_width(batch_means(kept, width)) for width in BATCHES_OF)
    return Rate(int(edges[cut]), int(ends_ns[-1]), float(kept.mean()), widest)


def rates(begin_ns: int, ends_ns: Times, amounts: Times, edges_ns: npt.NDArray[np.float64]) -> Rates:
    """Return the amount per second between each edge and the next."""
    times = np.concatenate(([begin_ns], ends_ns)).astype(np.float64)
    came = np.interp(edges_ns, times, np.concatenate(([0], np.cumsum(amounts))).astype(np.float64))
    found: Rates = np.diff(came) / np.diff(edges_ns) * 1e9
    return found


def warm_up_slots(slots: Rates) -> int | None:
    """Return how many slots to cut off at the beginning. None if the best cut lies in the second half."""
    rest = [slots[cut:] for cut in range(len(slots) * 3 // 4)]
    cut = int(np.argmin([part.var() / len(part) for part in rest]))
    return cut if cut <= len(slots) // 2 else None


def batch_means(slots: Rates, width: int) -> Rates:
    """Return the means of batches of so many slots; slots that do not fill a batch are left out at the beginning."""
    count = len(slots) // width
    means: Rates = slots[len(slots) - count * width :].reshape(count, width).mean(axis=1)
    return means


def half_width(means: Rates) -> float:
    """Return half the width of the confidence interval of the mean, widened by the correlation of neighbours."""
    lag_1 = correlation(means)
    if lag_1 >= 1:
        return float("inf")
    widened = np.sqrt((1 + lag_1) / (1 - lag_1))
    return quantile(len(means) - 1) * float(widened * means.std(ddof=1) / np.sqrt(len(means)))


def correlation(values: Rates) -> float:
    """Return the lag-1 correlation, at least 0, with its bias in small samples removed."""
    deviations = values - values.mean()
    total = float(deviations @ deviations)
    seen = float(deviations[:-1] @ deviations[1:]) / total if total else 0.0
    return max(0.0, seen + (1 + 3 * seen) / len(values)) if total else 0.0
