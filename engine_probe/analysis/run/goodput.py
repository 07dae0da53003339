"""How many requests kept every limit they were given.

A request's strain is the largest of its figures over their limits; it kept all of them where that is at most 1. So
"90 in a hundred keep all limits" and "the least strain that 90 in a hundred do not exceed is at most 1" are one
statement, and the second says how far it is off. That strain is one request's own and not interpolated, as a percentile
is: between two requests the two statements would differ, and a failed request's strain is infinite.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from engine_probe.analysis.run.latencies import ANSWERED, LATENCIES
from engine_probe.analysis.run.slo import Slo
from engine_probe.analysis.statistics.sample import enough
from engine_probe.analysis.statistics.student import CONFIDENCE

ABORTED = "abort"
NS_PER_MS = 1e6

Reals = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Goodput:
    """Of all requests that ended, or were broken off late enough to have broken a limit."""

    slo: Slo
    kept: int
    judged: int
    undecided: int  # broken off before a limit was reached, or of unknown arrival: nothing is said of them
    seconds: float
    strain: float | None  # that so many in a hundred do not exceed; None where the requests are too few to tell

    @property
    def requests_per_s(self) -> float:
        return self.kept / self.seconds

    @property
    def share(self) -> float | None:
        return self.kept / self.judged if self.judged else None

    @property
    def met(self) -> bool | None:
        """None without a single request to judge by."""
        return self.kept * 100 >= self.slo.percentile * self.judged - 1e-9 if self.judged else None


def goodput(requests: pa.Table, seconds: float, slo: Slo) -> Goodput:
    found = strains(requests, slo)
    told = found[~np.isnan(found)]
    reached = not_exceeded(told, slo.percentile)
    return Goodput(slo, int((told <= 1).sum()), len(told), len(found) - len(told), seconds, reached)


def not_exceeded(strains: Reals, percent: float) -> float | None:
    """The least strain that at least so many in a hundred do not exceed; None where they are too few to tell."""
    count = len(strains)
    if not enough(count, percent):
        return None
    rank = max(0, math.ceil(count * percent / 100 - 1e-9) - 1)
    return float(np.partition(strains, rank)[rank])


def strains(requests: pa.Table, slo: Slo) -> Reals:
    """Of each request the largest figure over its limit; NaN where that is not known.

    A failed request kept nothing. An aborted one has broken a limit that had passed when it was let go; otherwise
    nobody knows what it would have done. An answer of one token has no time per output token, and breaks none.
    """
    whole = as_numpy(pc.is_in(requests["finish_reason"], pa.array(ANSWERED)))
    aborted = as_numpy(pc.equal(requests["finish_reason"], ABORTED))
    most = np.zeros(requests.num_rows)
    until_let_go = reals(pc.subtract(requests["finished_ns"], requests["arrival_ns"]))
    least = np.zeros(requests.num_rows)  # what is already sure of a request that was broken off
    for name, limit_ms in slo.limits_ms.items():
        (latency,) = (each for each in LATENCIES if each.name == name.upper())
        assert latency.of_requests is not None
        values = reals(latency.of_requests(requests))
        if name == "tpot":
            values = np.nan_to_num(values)
        else:
            reached = np.where(np.isnan(values), until_let_go, values) if name == "ttft" else until_let_go
            least = np.fmax(least, reached / NS_PER_MS / limit_ms)
        most = np.maximum(most, values / NS_PER_MS / limit_ms)
    broken_off = np.where(aborted & ~(least > 1), np.nan, np.inf)
    found: Reals = np.where(whole, most, broken_off)
    return found


def as_numpy(values: pa.ChunkedArray) -> npt.NDArray[Any]:
    found: npt.NDArray[Any] = values.to_numpy()
    return found


def reals(values: pa.ChunkedArray) -> Reals:
    """Nulls as NaN."""
    return as_numpy(pc.fill_null(pc.cast(values, pa.float64()), math.nan))


def share_range(kept: int, judged: int) -> tuple[float, float]:
    """Wilson's interval of a share with 95 %, as if requests were independent of one another."""
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    share, weight = kept / judged, z * z / judged
    middle = (share + weight / 2) / (1 + weight)
    reach = z / (1 + weight) * math.sqrt(share * (1 - share) / judged + weight / judged / 4)
    return max(0.0, middle - reach), min(1.0, middle + reach)
