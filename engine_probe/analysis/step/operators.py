"""Where the time of the forward goes, by the operators and kernels that torch's profiler saw in a window of steps.

Steps in the window take longer than others, so no latency, throughput, stall or phase counts what the window touches.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from engine_probe.analysis.run.token_times import TimeSpan, update_end_ns
from engine_probe.analysis.statistics.arrays import Flags

FORWARD, WHOLE_STEP = "forward", "whole step"
HOST, DEVICE = "host", "device"
GAP, OTHER = "gap", "other"
BETWEEN = "between layers"


def profiled_span(facts: dict[str, Any], iterations: pa.Table) -> TimeSpan | None:
    """Return when the profiler ran on any rank. None if it did not.

    A recording that was cut, or is not closed yet, only has the numbers of the steps.
    """
    if not (window := facts.get("operators")) or not iterations.num_rows:
        return None
    windows = [rank.get("operators") for rank in facts.get("workers", {}).get("ranks", ())]
    spans = [(rank["began_ns"], rank["ended_ns"]) for rank in windows if rank and rank["ended_ns"]]
    if spans:
        return min(begin for begin, _ in spans), max(end for _, end in spans)
    first, last = window["first"], min(window["first"] + window["steps"], iterations.num_rows) - 1
    if windows or first > last:
        return None
    return iterations["start_ns"][first].as_py(), int(update_end_ns(iterations)[last])


def profiled_steps(iterations: pa.Table, span: TimeSpan | None) -> Flags:
    """Return which steps the window touches."""
    if span is None:
        return np.zeros(iterations.num_rows, dtype=bool)
    found: Flags = (iterations["start_ns"].to_numpy() < span[1]) & (update_end_ns(iterations) > span[0])
    return found


@dataclass(frozen=True)
class LeftOut:
    """The time that no throughput counts, from the end of the last step before the window to that of the window's last.

    Nor does it count the tokens delivered and the requests answered in it: what is before and after counts as adjacent.
    """

    begin_ns: int
    end_ns: int
    kept: Flags  # the steps outside

    @property
    def ns(self) -> int:
        return self.end_ns - self.begin_ns

    def closed(self, moments: pa.ChunkedArray) -> pa.ChunkedArray:
        """Move moments behind the window to where they were without it, and those inside to its begin."""
        inside = pc.max_element_wise(pc.subtract(moments, self.begin_ns), 0, skip_nulls=False)
        return pc.subtract(moments, pc.min_element_wise(inside, self.ns, skip_nulls=False))

    def opened(self, moment: int) -> int:
        """Move a moment back to where it was."""
        return moment if moment <= self.begin_ns else moment + self.ns

    def without(self, requests: pa.Table) -> pa.Table:
        """Return the requests that were not answered inside, with arrivals and last tokens moved."""
        last = requests["last_token_ns"]
        inside = pc.and_(pc.greater(last, self.begin_ns), pc.less_equal(last, self.end_ns))
        requests = requests.filter(pc.invert(pc.fill_null(inside, False)))
        for name in ("arrival_ns", "last_token_ns"):
            place = requests.schema.get_field_index(name)
            requests = requests.set_column(place, requests.schema.field(place), self.closed(requests[name]))
        return requests


def left_out_time(iterations: pa.Table, span: TimeSpan | None) -> LeftOut | None:
    """Return what the window takes from a throughput. None without a window, and if it touches every step."""
    touched = profiled_steps(iterations, span)
    if touched.all() or not touched.any():
        return None
    first, last = np.flatnonzero(touched)[[0, -1]].tolist()
    ends = update_end_ns(iterations)
    begin = int(ends[first - 1]) if first else iterations["start_ns"][0].as_py()
    return LeftOut(begin, int(ends[last]), ~touched)


@dataclass(frozen=True)
class NamedOperator:
    name: str
    kind: str
    calls: float  # of one step
    ns: float


@dataclass(frozen=True)
class OperatorTimes:
    """Means over the steps of the window and the ranks, in nanoseconds of a step; largest first."""

    steps: int
    with_prefill: int  # of these steps
    mean_running: float
    ranks: int
    place: str  # DEVICE with a GPU, else HOST
    kinds: dict[str, float]  # of the forward, gaps included
    layers: dict[str, dict[str, float]]  # kinds in the forward by layer, with what lies between; empty if unknown
    phases: dict[str, dict[str, float]]  # kinds in every phase
    longest: tuple[NamedOperator, ...]  # in the forward

    @property
    def forward_ns(self) -> float:
        return sum(self.kinds.values())

    def share(self, kind: str) -> float:
        return self.kinds.get(kind, 0.0) / self.forward_ns


def operator_times(iterations: pa.Table, operators: pa.Table) -> OperatorTimes | None:
    """Return where the time of the forward went in the window of operators. None without such a window."""
    rows = operators.filter(pc.less(operators["iteration"], iterations.num_rows))
    place = DEVICE if DEVICE in rows["place"].unique().to_pylist() else HOST
    rows = rows.filter(pc.equal(rows["place"], place))
    forward = rows.filter(pc.is_in(rows["phase"], pa.array([FORWARD, WHOLE_STEP])))
    if not pc.sum(forward["duration_ns"]).as_py():
        return None
    numbers = forward["iteration"].unique().to_numpy()
    ranks = len(forward["rank"].unique())
    rank_steps = len(numbers) * ranks
    layered = forward["layer"].null_count < forward.num_rows
    return OperatorTimes(
        steps=len(numbers),
        with_prefill=int((iterations["prefill_tokens"].to_numpy()[numbers] > 0).sum()),
        mean_running=float(iterations["running_requests"].to_numpy()[numbers].mean()),
        ranks=ranks,
        place=place,
        kinds=means(forward, rank_steps),
        layers=by_column(forward, "layer", rank_steps) if layered else {},
        phases=by_column(rows, "phase", rank_steps),
        longest=tuple(longest(forward, rank_steps)),
    )


def means(rows: pa.Table, rank_steps: int) -> dict[str, float]:
    """Return the time of each kind in one step of a rank, the longest first."""
    sums = rows.group_by("kind").aggregate([("duration_ns", "sum")])
    sums = sums.sort_by([("duration_ns_sum", "descending"), ("kind", "ascending")])
    return {row["kind"]: row["duration_ns_sum"] / rank_steps for row in sums.to_pylist()}


def by_column(rows: pa.Table, column: str, rank_steps: int) -> dict[str, dict[str, float]]:
    """Return the kinds for each value of a column, that with the most time first."""
    values = pc.fill_null(rows[column], BETWEEN)
    found = {value: means(rows.filter(pc.equal(values, value)), rank_steps) for value in values.unique().to_pylist()}
    return dict(sorted(found.items(), key=lambda item: -sum(item[1].values())))


def longest(rows: pa.Table, rank_steps: int) -> list[NamedOperator]:
    """Return the operators and kernels by name, that with the most time first."""
    named = rows.filter(pc.not_equal(rows["kind"], GAP))
    sums = named.group_by(["name", "kind"]).aggregate([("calls", "sum"), ("duration_ns", "sum")])
    sums = sums.sort_by([("duration_ns_sum", "descending"), ("name", "ascending")])
    return [
        NamedOperator(row["name"], row["kind"], row["calls_sum"] / rank_steps, row["duration_ns_sum"] / rank_steps)
        for row in sums.to_pylist()
    ]
