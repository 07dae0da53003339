"""Stalls: steps that took far longer than steps like them, each with its cause or "unknown".

A step's time runs from the end of the step before, without waiting for a request: where the engine had none, from the
last arrival before the step, as an engine that is held up between two steps does not see it. A cause is told by how
much of that time it can have held the engine up: at most its overlap with the step. It is named if that is most of the
excess. What holds up the engine core makes its workers begin late, so a late worker is named only if no other cause is.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from engine_probe.analysis.run.token_times import TimeSpan, update_end_ns
from engine_probe.analysis.statistics.arrays import Flags, Integers
from engine_probe.analysis.step.expected_time import expected_ns
from engine_probe.record.host_events import COLLECTION, OF_RANK
from engine_probe.text_format import duration

TIMES_EXPECTED = 2.0  # a stall takes at least this many times what was expected,
SPREADS = 8.0  # and exceeds it by as many robust standard deviations of like steps,
LEAST_EXCESS_NS = 2_000_000  # and by this much
MOST = 0.5  # of the excess that the named cause explains, at least
UNKNOWN, LATE_WORKER = "unknown", "late worker"
NAMED = 0.05  # of the excess: a cause that explains less is not mentioned
NUMBERS = {
    "garbage collection": "generation {}",
    "page faults": "{:,} faults",
    "waited for a processor": "{:,} involuntary switches",
}
PARTS = {"gap": "between two steps", "schedule": "in schedule()", "execute": "in execute", "update": "in the update"}

STALLS = pa.schema(
    [
        pa.field("iteration", pa.int64()),
        pa.field("start_ns", pa.int64()),
        pa.field("duration_ns", pa.int64()),
        pa.field("expected_ns", pa.int64()),
        pa.field("excess_ns", pa.int64()),
        pa.field("cause", pa.string()),
        pa.field("explained_ns", pa.int64()),
        pa.field("detail", pa.string()),
    ]
)


@dataclass(frozen=True)
class Cause:
    name: str
    ns: int  # of the step that it can explain
    detail: str = ""


@dataclass(frozen=True, eq=False)
class Stalls:
    """The stalls of a run, and what they were looked for in."""

    table: pa.Table  # with the columns of STALLS
    judged: int  # steps
    not_judged: int  # steps of a kind that the run has too few of
    busy_ns: int  # of all steps

    @property
    def excess_ns(self) -> int:
        return int(pc.sum(self.table["excess_ns"]).as_py() or 0)

    @property
    def by_cause(self) -> dict[str, tuple[int, int]]:
        """Return the number of stalls and their excess by cause, the largest excess first."""
        groups = self.table.group_by("cause").aggregate([([], "count_all"), ("excess_ns", "sum")])
        rows = groups.sort_by([("excess_ns_sum", "descending"), ("cause", "ascending")]).to_pylist()
        return {row["cause"]: (row["count_all"], row["excess_ns_sum"]) for row in rows}


def stalls(
    iterations: pa.Table, busy: Integers, workers: pa.Table, host_events: pa.Table, profiled: Flags | None = None
) -> Stalls:
    """Find the stalls of a run, given the busy time of each step; those in a window of operators are not judged."""
    expected, spread = expected_ns(iterations, busy)
    expected[profiled if profiled is not None else []] = np.nan
    with np.errstate(invalid="ignore"):
        excess = busy - expected
        least = np.maximum.reduce(
            [expected * (TIMES_EXPECTED - 1), spread * SPREADS, np.full(len(busy), LEAST_EXCESS_NS, np.float64)]
        )
        found = np.flatnonzero(excess > least)
    ends = update_end_ns(iterations)
    late = late_workers(iterations, workers, found) if len(found) else {}
    begun = host_events["start_ns"].to_numpy()
    events = begun, begun + host_events["duration_ns"].to_numpy()
    rows = []
    for place in found:
        end, over = int(ends[place]), int(excess[place])
        start = end - int(busy[place])
        iteration = iterations["iteration"][place].as_py()
        causes = [*held_up(host_events, events, (start, end)), *([late[iteration]] if iteration in late else [])]
        causes = [Cause(each.name, min(each.ns, over), each.detail) for each in causes]
        row = {"iteration": iteration, "start_ns": start, "duration_ns": end - start}
        row |= {"expected_ns": round(float(expected[place])), "excess_ns": over}
        rows.append(row | verdict(causes, over, where(iterations, int(place), end - start)))
    judged = int(np.isfinite(expected).sum())
    left_out = 0 if profiled is None else int(profiled.sum())
    return Stalls(pa.Table.from_pylist(rows, STALLS), judged, len(busy) - judged - left_out, int(busy.sum()))


def verdict(causes: list[Cause], excess: int, part: str) -> dict[str, str | int]:
    """Name the cause that explains most of the excess; the detail has the others, by what they explain."""
    order = sorted(causes, key=lambda cause: (cause.name == LATE_WORKER, -cause.ns))
    first = next((cause for cause in order if cause.ns >= MOST * excess), None)
    details = [first.detail] if first and first.detail else [] if first else [f"most of it {part}"]
    for cause in order:
        if cause is not first and cause.ns >= NAMED * excess:
            inside = f" ({cause.detail})" if cause.detail else ""
            details.append(f"{cause.name} at most {duration(cause.ns)}{inside}")
    name, ns = (first.name, first.ns) if first else (UNKNOWN, 0)
    return {"cause": name, "explained_ns": ns, "detail": "; ".join(details)}


def held_up(host_events: pa.Table, moments: tuple[Integers, Integers], span: TimeSpan) -> Iterator[Cause]:
    """Yield for each kind of event how much of a time it can have held the engine up, given when all begin and end."""
    (begun, ended), (start, end) = moments, span
    events = host_events.take(np.flatnonzero((ended > start) & (begun < end)))
    for kind in pc.unique(events["kind"]).to_pylist():
        mine = events.filter(pc.equal(events["kind"], kind))
        begun = mine["start_ns"].to_numpy()
        overlap = np.minimum(begun + mine["duration_ns"].to_numpy(), end) - np.maximum(begun, start)
        held = np.minimum(overlap, mine["held_ns"].to_numpy())
        yield Cause(kind, int(held.sum()), number_words(kind, mine["number"].to_pylist(), held))


def number_words(kind: str, numbers: list[int | None], held: Integers) -> str:
    """Return the generation of the longest collection, or the sum of counts."""
    known = [number for number in numbers if number is not None]
    kind = kind.partition(OF_RANK)[0]
    if kind not in NUMBERS or not known:
        return ""
    return NUMBERS[kind].format(known[int(held.argmax())] if kind == COLLECTION else sum(known))


def where(iterations: pa.Table, place: int, took: int) -> str:
    """Say in which part of the step the most time went."""
    parts = {part: int(iterations[f"{part}_ns"][place].as_py()) for part in PARTS}
    parts["gap"] = min(parts["gap"], took - parts["schedule"] - parts["execute"] - parts["update"])
    return PARTS[max(parts, key=lambda part: parts[part])]


def unseen_ns(iterations: pa.Table, requests: pa.Table, idle: Flags) -> Integers:
    """Return how long before each step after an idle gap the last request of that gap was handed over."""
    arrivals = np.sort(requests["arrival_ns"].drop_null().to_numpy())
    starts = iterations["start_ns"].to_numpy()
    last = np.r_[np.iinfo(np.int64).min, arrivals][np.searchsorted(arrivals, starts, side="right")]
    in_gap = idle & (last >= starts - iterations["gap_ns"].to_numpy())
    return np.where(in_gap, starts - np.where(in_gap, last, starts), 0)


def late_workers(iterations: pa.Table, workers: pa.Table, stalled: Integers) -> dict[int, Cause]:
    """Return for stalled steps by how much the last rank began later than it does in its median step.

    A rank can begin a step once it is scheduled and the rank's step before has ended.
    """
    found: dict[int, Cause] = {}
    scheduled = iterations["start_ns"].to_numpy() + iterations["schedule_ns"].to_numpy()
    for rank in pc.unique(workers["rank"]).to_pylist():
        mine = workers.filter(pc.equal(workers["rank"], rank))
        mine = mine.filter(pc.less(mine["iteration"], iterations.num_rows)).sort_by("iteration")
        numbers, begun = mine["iteration"].to_numpy(), mine["start_ns"].to_numpy()
        if not len(numbers):
            continue
        ended = begun + mine["execute_ns"].to_numpy() + mine["sample_ns"].to_numpy()
        delays = begun - np.maximum(scheduled[numbers], np.r_[0, ended[:-1]])
        delays = delays - int(np.median(delays))
        for place in np.flatnonzero((delays > 0) & np.isin(numbers, stalled)).tolist():
            iteration, ns = int(numbers[place]), int(delays[place])
            if iteration not in found or ns > found[iteration].ns:
                found[iteration] = Cause(LATE_WORKER, ns, f"rank {rank}")
    return found
