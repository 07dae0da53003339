"""Goodput: how many requests met all limits of an SLO.

A request's strain is the largest ratio of its latencies to their limits; it met all limits if that is at most 1. So
"90 % of the requests met all limits" is the same as "the strain that 90 % of the requests do not exceed is at most 1",
and that strain says how far the SLO is from being met. It is the strain of one request and not interpolated, since
between two requests the two statements would differ, and a failed request's strain is infinite.
"""

import math
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from engine_probe.analysis.money.metrics import MONEY
from engine_probe.analysis.money.run_costs import RunCosts
from engine_probe.analysis.run.latencies import LATENCIES, request_rows
from engine_probe.analysis.run.slo import COSTS, Slo
from engine_probe.analysis.run.success import ABORTED, Success, failed_ids, success
from engine_probe.analysis.run.token_times import TimeSpan
from engine_probe.analysis.statistics.arrays import Integers, Reals
from engine_probe.analysis.statistics.sample import enough
from engine_probe.record.schema import ANSWERED, NO_ANSWERS

NS_PER_MS = 1e6

# limit of an SLO -> the metric that it bounds, and how much of that the limit is
BOUNDED = {
    "cost_per_1000_tokens": ("cost_per_million_tokens", 1e-3),
    "cost_per_1000_output_tokens": ("cost_per_million_output_tokens", 1e-3),
    "joules_per_token": ("joules_per_token", 1.0),
    "joules_per_output_token": ("joules_per_output_token", 1.0),
    "joules_per_request": ("joules_per_request", 1.0),
}


@dataclass(frozen=True)
class WholeLimit:
    """A limit on the cost or the energy of a whole run, with the measured value."""

    name: str
    limit: float
    value: float | None
    reason: str = ""  # why the value is not known

    @property
    def strain(self) -> float | None:
        return None if self.value is None else self.value / self.limit


@dataclass(frozen=True)
class Goodput:
    """The goodput over all requests that ended, or were aborted after they had exceeded a limit."""

    slo: Slo
    kept: int
    judged: int
    undecided: int  # aborted before a limit was exceeded, of unknown arrival, or beside a profiler: not judged
    seconds: float
    strain: float | None  # that the SLO's percentage of requests do not exceed; None with too few requests
    success: Success | None = None  # of all requests; None if it is not known
    whole: tuple[WholeLimit, ...] = ()  # the limits on costs and energies

    @property
    def requests_per_s(self) -> float:
        return self.kept / self.seconds

    @property
    def share(self) -> float | None:
        return self.kept / self.judged if self.judged else None

    @property
    def met(self) -> bool | None:
        """Return whether the SLO is met. None without a judged request, or if a figure of the run is not known."""
        if not self.judged or self.success_strain is None or self.whole_strain is None:
            return None
        enough_kept = self.kept * 100 >= self.slo.percentile * self.judged - 1e-9
        return enough_kept and self.success_strain <= 1 and self.whole_strain <= 1

    @property
    def success_strain(self) -> float | None:
        """Return the share of requests that failed, against the share that may. None if it is not known."""
        if self.slo.success_percent is None:
            return 0.0
        if self.success is None:
            return None
        failed, allowed = self.success.asked - self.success.answered, 100 - self.slo.success_percent
        if not failed:
            return 0.0
        return failed * 100 / (self.success.asked * allowed) if allowed else math.inf

    @property
    def whole_strain(self) -> float | None:
        """Return the largest ratio of a cost or an energy to its limit; 0 without one. None if one is not known."""
        return largest(0.0, *(limit.strain for limit in self.whole))

    @property
    def request_strain(self) -> float | None:
        """Return how far the SLO is from being met, of latencies and of failures. None if that is not known."""
        return largest(self.strain, self.success_strain)

    @property
    def worst_strain(self) -> float | None:
        """Return how far the SLO is from being met, costs and energies included. None if that is not known."""
        return largest(self.strain, self.success_strain, self.whole_strain)


def largest(*strains: float | None) -> float | None:
    """Return the largest of these. None if one is not known."""
    known = [strain for strain in strains if strain is not None]
    return max(known) if len(known) == len(strains) else None


def goodput(
    requests: pa.Table,
    seconds: float,
    slo: Slo,
    without: TimeSpan | None = None,
    answers: pa.Table = NO_ANSWERS,
    costs: RunCosts | None = None,
) -> Goodput:
    """Judge the requests of a run that took `seconds`, without those that overlap the time in `without`.

    `answers` tells the aborted requests that had failed from those that the end of the run aborted; `costs` has what
    limits on the whole run are about.
    """
    known = strains(requests, slo)
    known[as_numpy(pc.is_in(requests["request_id"], failed_ids(answers)))] = np.inf
    if without is not None:
        begun, ended = (pc.fill_null(requests[name], 0).to_numpy() for name in ("arrival_ns", "finished_ns"))
        known[(begun < without[1]) & (ended > without[0])] = np.nan
    all_strains = of_requests(known, request_rows(requests))
    judged = all_strains[~np.isnan(all_strains)]
    undecided = len(all_strains) - len(judged)
    kept, strain = int((judged <= 1).sum()), not_exceeded(judged, slo.percentile)
    whole = tuple(whole_limit(name, limit, costs) for name, limit in slo.whole_limits.items())
    limits = msgspec.structs.replace(slo, prices=None)
    return Goodput(limits, kept, len(judged), undecided, seconds, strain, success({}, requests, answers), whole)


def whole_limit(name: str, limit: float, costs: RunCosts | None) -> WholeLimit:
    """Hold a cost or an energy against its limit, or say why it is not known."""
    if costs is None:
        return WholeLimit(name, limit, None, "it was not computed")
    bounded, scale = BOUNDED[name]
    (metric,) = (each for each in MONEY if each.name == bounded)
    value = metric.value(costs)
    return (
        WholeLimit(name, limit, None, unknown(name, costs)) if value is None else WholeLimit(name, limit, value * scale)
    )


def unknown(name: str, costs: RunCosts) -> str:
    """Return why a cost or an energy is not known."""
    energy, prices = costs.work.gpus.energy, costs.prices
    if name in COSTS and not (prices.fixed or prices.variable or prices.power):
        return "no costs are given"
    if name in COSTS and costs.work.gpus.cards is None and any(item.per_card for item in prices.fixed):
        return "the number of GPUs is not recorded"
    if isinstance(energy, str) and (name not in COSTS or prices.needs_energy):
        return f"energy is not known: {energy}"
    return "no request was answered"


def of_requests(strains: Reals, rows: Integers) -> Reals:
    """Return the largest strain of the sequences of each request; NaN if one that is not known may be larger."""
    most = np.zeros(len(strains))
    np.fmax.at(most, rows, strains)
    unknown = np.zeros(len(strains), dtype=bool)
    unknown[rows[np.isnan(strains)]] = True
    return np.where(unknown & (most <= 1), np.nan, most)[np.unique(rows)]


def not_exceeded(strains: Reals, percent: float) -> float | None:
    """Return the lowest strain that this percentage of requests do not exceed. None with too few requests."""
    count = len(strains)
    if not enough(count, percent):
        return None
    rank = max(0, math.ceil(count * percent / 100 - 1e-9) - 1)
    return float(np.partition(strains, rank)[rank])


def strains(requests: pa.Table, slo: Slo) -> Reals:
    """Return the largest ratio of a latency to its limit for each request; NaN if it is not known.

    A failed request met no limit. An aborted request exceeded a limit if that had passed when it was aborted; otherwise
    it is not known. An answer of one token has no time per output token, and does not exceed that limit.
    """
    whole = as_numpy(pc.is_in(requests["finish_reason"], pa.array(ANSWERED)))
    aborted = as_numpy(pc.equal(requests["finish_reason"], ABORTED))
    most = np.zeros(requests.num_rows)
    until_let_go = reals(pc.subtract(requests["finished_ns"], requests["arrival_ns"]))
    least = np.zeros(requests.num_rows)  # the strain that an aborted request had already reached
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
    return np.where(whole, most, broken_off)


def as_numpy(values: pa.ChunkedArray) -> npt.NDArray[Any]:
    found: npt.NDArray[Any] = values.to_numpy()
    return found


def reals(values: pa.ChunkedArray) -> Reals:
    """Return values as floats, nulls as NaN."""
    return as_numpy(pc.fill_null(pc.cast(values, pa.float64()), math.nan))
