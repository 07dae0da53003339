"""Waiting inside the collectives of tensor parallelism, as distinct from work.

A collective ends for all ranks together, soon after the last of them has begun it. A rank that began it at b and left
it at e spent t = e - b in it. The rank that began last did not wait: its time, the least of all, is what the collective
itself took, and what another rank spent beyond that it waited. Summed over the collectives of a step's forward:

    waiting(rank)        = sum over the collectives of (t(rank) - least t of the ranks)
    communicating        = sum over the collectives of (least t of the ranks), the same for every rank
    work(rank)           = time of the forward - waiting(rank) - communicating

Only durations enter, so that the ranks' clocks need not agree. A collective's waiting is charged to the rank that began
it last. Some rank causes most of it even if they come late in turns, so a rank is late only if it caused more than an
even part of its group's waiting in the steps' mean, with the whole 95 % interval. On a CPU the host times each
collective; on a GPU a window of operators shows their kernels, which wait inside.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from engine_probe.analysis.statistics.arrays import Integers
from engine_probe.analysis.statistics.correlated_mean import surely_positive
from engine_probe.analysis.step.operators import DEVICE, HOST

COLLECTIVE = "collective"
MOST_RANKS = 1 << 20


@dataclass(frozen=True)
class RankWait:
    """Means over the steps, in nanoseconds of one forward."""

    rank: int
    forward_ns: float
    communicating_ns: float
    waiting_ns: float
    caused_ns: float  # waiting of the other ranks in collectives that this one began last
    late: bool = False  # it caused more than an even part, surely

    @property
    def work_ns(self) -> float:
        return self.forward_ns - self.communicating_ns - self.waiting_ns


@dataclass(frozen=True)
class CollectiveWaits:
    ranks: tuple[RankWait, ...]
    steps: int
    collectives: float  # of one forward
    place: str  # DEVICE in a window of operators on GPUs, else HOST

    @property
    def waiting_share(self) -> float:
        """Return the share of waiting in the forwards of all ranks."""
        return sum(rank.waiting_ns for rank in self.ranks) / sum(rank.forward_ns for rank in self.ranks)

    @property
    def straggler(self) -> RankWait:
        """Return the rank that the others waited for longest."""
        return max(self.ranks, key=lambda rank: rank.caused_ns)

    @property
    def caused_share(self) -> float:
        """Return its share of all waiting; about 1 / ranks if they come late in turns."""
        total = sum(rank.caused_ns for rank in self.ranks)
        return self.straggler.caused_ns / total if total else 0.0


def collective_waits(
    facts: dict[str, Any], workers: pa.Table, collectives: pa.Table, slices: pa.Table
) -> CollectiveWaits | None:
    """Return the waiting of every rank. None without tensor parallelism, or where its collectives were not seen."""
    parallel = facts["engine"]["arguments"].get("parallel_config") or {}
    size = parallel.get("tensor_parallel_size") or 1
    if size == 1:
        return None
    place, forward = (HOST, "forward_ns") if collectives.num_rows else (DEVICE, "device_ns")
    seen = collectives if collectives.num_rows else on_device(facts, workers, slices)
    if not seen.num_rows:
        return None
    ranks: list[RankWait] = []
    steps = count = 0
    for first in range(0, pc.max(seen["rank"]).as_py() + 1, size):  # the ranks of a group follow one another
        group = np.arange(first, first + size)
        found = list(of_group(group, workers, seen, forward))
        if found:
            ranks += rank_waits(group.tolist(), found)
            steps += sum(len(forwards) for forwards, _ in found)
            count += sum(times.shape[0] * times.shape[2] for _, times in found)
    return CollectiveWaits(tuple(ranks), steps, count / steps, place) if ranks else None


def of_group(group: Integers, workers: pa.Table, seen: pa.Table, forward: str) -> Iterator[tuple[Integers, Integers]]:
    """Yield the steps that all ranks recorded, by their number of collectives: forwards [steps, ranks], and times.

    The times of the collectives have the shape [steps, ranks, collectives].
    """
    timed = workers.filter(pc.is_valid(workers[forward]))
    keys = [pc.add(pc.multiply(rows["iteration"], MOST_RANKS), rows["rank"]) for rows in (seen, timed)]
    rows = seen.filter(pc.and_(pc.is_in(keys[0], keys[1]), pc.is_in(seen["rank"], pa.array(group, pa.int32()))))
    lengths = pc.list_value_length(rows["durations_ns"])
    for length in sorted({*pc.unique(lengths).to_pylist()} - {0}):
        alike = of_all_ranks(rows.filter(pc.equal(lengths, length)), len(group))
        if alike.num_rows:
            there = pc.and_(pc.is_in(timed["iteration"], alike["iteration"]), pc.is_in(timed["rank"], alike["rank"]))
            forwards, times = in_order(timed.filter(there))[forward], pc.list_flatten(alike["durations_ns"])
            yield forwards.to_numpy().reshape(-1, len(group)), times.to_numpy().reshape(-1, len(group), length)


def of_all_ranks(rows: pa.Table, ranks: int) -> pa.Table:
    """Return the rows of the steps that have one of every rank, in the order of steps and ranks."""
    counts = rows.group_by("iteration").aggregate([([], "count_all")])
    whole = counts.filter(pc.equal(counts["count_all"], ranks))["iteration"]
    return in_order(rows.filter(pc.is_in(rows["iteration"], whole)))


def in_order(rows: pa.Table) -> pa.Table:
    return rows.sort_by([("iteration", "ascending"), ("rank", "ascending")])


def rank_waits(group: list[int], found: list[tuple[Integers, Integers]]) -> Iterator[RankWait]:
    """Yield the means of each rank of a group."""
    steps = sum(len(forwards) for forwards, _ in found)
    forward, waiting = np.zeros(len(group)), np.zeros(len(group))
    communicating, caused = 0.0, list[Integers]()  # the latter by step and rank
    for forwards, times in found:
        least = times.min(axis=1, keepdims=True)
        waits, last = times - least, times.argmin(axis=1)
        forward += forwards.sum(axis=0)
        waiting += waits.sum(axis=(0, 2))
        communicating += float(least.sum())
        of_collectives = waits.sum(axis=1)
        caused.append(
            np.stack([np.where(last == place, of_collectives, 0).sum(axis=1) for place in range(len(group))], 1)
        )
    of_steps = np.concatenate(caused)
    totals = of_steps.sum(axis=0)
    for place, rank in enumerate(group):
        means = [float(total) / steps for total in (forward[place], communicating, waiting[place], totals[place])]
        late = surely_positive(of_steps[:, place] - of_steps.mean(axis=1))
        yield RankWait(rank, means[0], means[1], means[2], means[3], late)


def on_device(facts: dict[str, Any], workers: pa.Table, slices: pa.Table) -> pa.Table:
    """Return the collectives that a window of operators saw in the forwards on GPUs, as the table `collectives`.

    A kernel belongs to the forward in which its middle lies. A rank whose slices were not all kept is left out.
    """
    windows = {rank["rank"]: rank.get("operators") for rank in facts.get("workers", {}).get("ranks", ())}
    kernels = slices.filter(pc.and_(pc.equal(slices["kind"], COLLECTIVE), pc.equal(slices["place"], DEVICE)))
    rows: dict[str, list[Any]] = {"iteration": [], "rank": [], "durations_ns": []}
    for rank in (number for number, window in windows.items() if window and not window["slices_left_out"]):
        mine = kernels.filter(pc.equal(kernels["rank"], rank)).sort_by("start_ns")
        timed = workers.filter(pc.and_(pc.equal(workers["rank"], rank), pc.is_valid(workers["device_start_ns"])))
        begins, lengths = timed["device_start_ns"].to_numpy(), timed["device_ns"].to_numpy()
        middles = mine["start_ns"].to_numpy() + mine["duration_ns"].to_numpy() // 2
        of_step: defaultdict[int, list[int]] = defaultdict(list)
        for step, middle, ns in zip(
            np.searchsorted(begins, middles, "right") - 1, middles, mine["duration_ns"].to_pylist(), strict=True
        ):
            if step >= 0 and middle < begins[step] + lengths[step]:
                of_step[int(step)].append(ns)
        rows["iteration"] += timed["iteration"].take(list(of_step)).to_pylist() if of_step else []
        rows["rank"] += [rank] * len(of_step)
        rows["durations_ns"] += of_step.values()
    types = {"iteration": pa.int64(), "rank": pa.int32(), "durations_ns": pa.list_(pa.int64())}
    return pa.table({name: pa.array(values, types[name]) for name, values in rows.items()})
