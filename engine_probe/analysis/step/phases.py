"""The phases of the steps inside the workers, on the host's clock, and what is left between two steps of a worker.

All follow from moments in the table `workers`, without a gap between them (`hook/workers/phases.py`):

    input preparation   forward_start_ns - start_ns
    forward             forward_ns
    logits              start_ns + execute_ns - (forward_start_ns + forward_ns); 0 where sampling computes them
    sampling            sample_ns - bookkeep_ns
    bookkeeping         bookkeep_ns; 0 where the runner does not tell it, and sampling includes it
    outside             until the worker's next step, without gaps in which there was no request
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from engine_probe.analysis.statistics.arrays import Flags, Integers

INSIDE = ("input preparation", "forward", "logits", "sampling", "bookkeeping")
OUTSIDE = "outside the worker"
PHASES = (*INSIDE, OUTSIDE)


@dataclass(frozen=True, eq=False)
class StepPhases:
    """The phases of every step and rank that ran a forward and was followed by another step of its rank."""

    ns: dict[str, Integers]  # by phase
    running: Integers  # requests in each of these steps
    with_prefill: Flags
    ranks: int

    @property
    def shares(self) -> dict[str, float]:
        """Return each phase's share of the time."""
        sums = {name: float(values.sum()) for name, values in self.ns.items()}
        total = sum(sums.values())
        return {name: value / total for name, value in sums.items()}

    @property
    def total_ns(self) -> Integers:
        """Return the time of each step, from its beginning to that of the next."""
        total: Integers = np.sum(list(self.ns.values()), axis=0)
        return total


def step_phases(
    iterations: pa.Table, workers: pa.Table, idle: Flags, profiled: Flags | None = None
) -> StepPhases | None:
    """Return the phases of a run, given the gaps without a request. None if the workers do not tell them.

    Steps in a window of operators are left out.
    """
    known = workers.filter(pc.less(workers["iteration"], iterations.num_rows))
    parts = [_of_rank(known.filter(pc.equal(known["rank"], rank))) for rank in pc.unique(known["rank"]).to_pylist()]
    table = pa.concat_tables(parts) if parts else known
    if profiled is not None:
        table = table.filter(pa.array(~profiled[table["iteration"].to_numpy()]))
    if not table.num_rows:
        return None
    number = table["iteration"].to_numpy()
    gap = np.where(idle, iterations["gap_ns"].to_numpy(), 0)
    column = {name: pc.fill_null(table[name], 0).to_numpy() for name in table.column_names}
    host = column["execute_ns"] + column["sample_ns"]
    prepared = column["forward_start_ns"] - column["start_ns"]
    return StepPhases(
        ns={
            "input preparation": prepared,
            "forward": column["forward_ns"],
            "logits": column["execute_ns"] - prepared - column["forward_ns"],
            "sampling": column["sample_ns"] - column["bookkeep_ns"],
            "bookkeeping": column["bookkeep_ns"],
            OUTSIDE: np.maximum(column["until_next_ns"] - host - gap[column["next"]], 0),
        },
        running=iterations["running_requests"].to_numpy()[number].astype(np.int64),
        with_prefill=iterations["prefill_tokens"].to_numpy()[number] > 0,
        ranks=len(parts),
    )


def _of_rank(rows: pa.Table) -> pa.Table:
    """Return the steps of a rank with a forward, each with its distance to the next step and that step's number."""
    starts, number = rows["start_ns"].to_numpy(), rows["iteration"].to_numpy()
    followed = rows.slice(0, max(0, rows.num_rows - 1))
    followed = followed.append_column("until_next_ns", pa.array(np.diff(starts)))
    followed = followed.append_column("next", pa.array(number[1:]))
    return followed.filter(pc.is_valid(followed["forward_ns"]))


@dataclass(frozen=True)
class Load:
    """The steps with between `least` and `most` running requests."""

    least: int
    most: int
    steps: int
    mean_ns: dict[str, float]  # by phase


def phases_over_load(found: StepPhases) -> list[Load]:
    """Return the mean of each phase over the load, which is divided at powers of two."""
    power = np.frexp(found.running)[1]  # the number of binary digits
    loads = []
    for digits in np.unique(power).tolist():
        chosen = power == digits
        means = {name: float(values[chosen].mean()) for name, values in found.ns.items()}
        running = found.running[chosen]
        loads.append(Load(int(running.min()), int(running.max()), int(chosen.sum()), means))
    return loads


LAUNCHED = 0.9  # of a forward's time on the device: launches that go on for longer may have held it up


@dataclass(frozen=True)
class DeviceForwards:
    mean_ns: float  # of a forward
    between_ns: float  # mean from a forward to the next
    between_share: float  # of the time
    launch_bound_steps: float  # share
    launch_bound_share: float  # of the time of the forwards


def device_forwards(iterations: pa.Table, workers: pa.Table, idle: Flags) -> DeviceForwards | None:
    """Return the use of the devices, all ranks together. None unless at least two forwards of a rank were timed."""
    timed = workers.filter(
        pc.and_(pc.is_valid(workers["device_start_ns"]), pc.less(workers["iteration"], iterations.num_rows))
    )
    waited = np.where(idle, iterations["gap_ns"].to_numpy(), 0)
    spans, gaps, bound = [], [], []
    for rank in pc.unique(timed["rank"]).to_pylist():
        rows = timed.filter(pc.equal(timed["rank"], rank))
        start, span, number = (rows[name].to_numpy() for name in ("device_start_ns", "device_ns", "iteration"))
        launched = rows["forward_start_ns"].to_numpy() + rows["forward_ns"].to_numpy()
        spans.append(span)
        gaps.append(np.maximum(start[1:] - start[:-1] - span[:-1] - waited[number[1:]], 0))
        bound.append(launched >= start + LAUNCHED * span)
    if not any(map(len, gaps)):
        return None
    forward, between, is_bound = (np.concatenate(parts) for parts in (spans, gaps, bound))
    total = float(forward.sum())
    return DeviceForwards(
        mean_ns=float(forward.mean()),
        between_ns=float(between.mean()),
        between_share=float(between.sum()) / (total + float(between.sum())),
        launch_bound_steps=float(is_bound.mean()),
        launch_bound_share=float(forward[is_bound].sum()) / total,
    )
