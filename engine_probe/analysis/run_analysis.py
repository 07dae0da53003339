"""All figures of one run that a report shows, computed from its tables."""

from dataclasses import dataclass, replace
from typing import Any

import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from engine_probe.analysis.batch.graphs import GraphUse, graph_use
from engine_probe.analysis.batch.predicted_pace import predicted_pace
from engine_probe.analysis.batch.speculation import Speculation, speculation
from engine_probe.analysis.run.summary import Summary
from engine_probe.analysis.step.bottleneck import LimitsFound, idle_gaps, limits
from engine_probe.analysis.step.ceiling_use import above, held_up
from engine_probe.analysis.step.collectives import CollectiveWaits, collective_waits
from engine_probe.analysis.step.losses import (
    Composition,
    PreemptionCost,
    Straggler,
    composition,
    kv_fragmentation,
    preemption_cost,
    straggler,
)
from engine_probe.analysis.step.operators import OperatorTimes, operator_times, profiled_span, profiled_steps
from engine_probe.analysis.step.phases import DeviceForwards, StepPhases, device_forwards, step_phases
from engine_probe.analysis.step.roofline import Roofline, roofline
from engine_probe.analysis.step.stalls import Stalls, stalls, unseen_ns
from engine_probe.analysis.step.step_time import busy_ns, step_time


@dataclass(frozen=True)
class RunAnalysis:
    summary: Summary
    limits: LimitsFound
    preemption_cost: PreemptionCost
    sequences_ended: int
    composition: Composition | None
    kv_fragmentation: float | None
    straggler: Straggler | None
    collectives: CollectiveWaits | None  # None without tensor parallelism, or where they were not timed
    phases: StepPhases | None
    operators: OperatorTimes | None  # None without a window of operators
    stalls: Stalls
    device: DeviceForwards | None
    graphs: GraphUse | None
    speculation: Speculation | None
    roofline: Roofline | str  # a string says why there is none

    def __repr__(self) -> str:
        return f"<RunAnalysis: bottleneck {self.limits.main}; {self.summary!r}>"


def analyse(
    summary: Summary,
    facts: dict[str, Any],
    iterations: pa.Table,
    requests: pa.Table,
    preemptions: pa.Table,
    workers: pa.Table,
    host_events: pa.Table,
    operators: pa.Table,
    drafts: pa.Table,
    collectives: pa.Table,
    operator_slices: pa.Table,
) -> RunAnalysis:
    """Analyse the tables of a run with at least one iteration, given its summary."""
    idle = idle_gaps(iterations)
    busy = busy_ns(iterations, idle)
    time = step_time(facts, iterations, workers, busy)
    predicted = predicted_pace(facts, iterations, requests)
    used = roofline(facts, iterations, requests, time)
    profiled = profiled_steps(iterations, profiled_span(facts, iterations))
    return RunAnalysis(
        summary=summary,
        limits=with_ceiling_doubts(
            limits(facts, iterations, requests, preemptions, workers, holding(used), predicted), used
        ),
        preemption_cost=preemption_cost(iterations, preemptions),
        sequences_ended=requests.num_rows,
        composition=composition(iterations, busy),
        kv_fragmentation=kv_fragmentation(facts, iterations),
        straggler=straggler(facts, workers),
        collectives=collective_waits(facts, workers, collectives, operator_slices),
        phases=step_phases(iterations, workers, idle, profiled),
        operators=operator_times(iterations, operators),
        stalls=stalls(
            iterations,
            busy + unseen_ns(iterations, requests, idle),
            in_other_processes(facts, workers),
            host_events,
            profiled,
        ),
        device=device_forwards(iterations, workers, idle),
        graphs=graph_use(facts, iterations, workers, busy, profiled),
        speculation=speculation(iterations, drafts),
        roofline=used,
    )


def in_other_processes(facts: dict[str, Any], workers: pa.Table) -> pa.Table:
    """Return the steps of the ranks that do not run on the engine core's own thread."""
    own = [rank["rank"] for rank in facts.get("workers", {}).get("ranks", ()) if rank["pid"] == facts["process"]["pid"]]
    return workers.filter(pc.invert(pc.is_in(workers["rank"], pa.array(own, pa.int32()))))


def holding(used: Roofline | str) -> npt.NDArray[Any] | None:
    """Return which ceiling limits each step. None without both ceilings."""
    return None if isinstance(used, str) or used.memory is None or used.compute is None else held_up(used)


def with_ceiling_doubts(found: LimitsFound, used: Roofline | str) -> LimitsFound:
    """Add the doubts about the ceilings to limits that distinguish compute from memory bandwidth."""
    if isinstance(used, str) or used.memory is None or used.compute is None or found.terms:
        return found  # a prediction's terms know no ceiling
    ceilings = (used.memory, used.compute)
    doubts = tuple(
        dict.fromkeys(f"{ceiling.name} {'; '.join(ceiling.doubts)}" for ceiling in ceilings if ceiling.doubts)
    )
    worst = above(used)
    return replace(
        found,
        doubts=doubts,
        doubtful=any(ceiling.verdict == "doubtful" for ceiling in ceilings),
        withheld=f"{worst[0].name} comes to {worst[0].share.least:.0%}, more than the hardware can do" if worst else "",
    )
