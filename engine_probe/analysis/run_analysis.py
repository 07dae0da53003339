"""Everything that is said of one run, worked out once."""

from __future__ import annotations

from dataclasses import dataclass, replace

from engine_probe.analysis.run.slo import Slo
from engine_probe.analysis.run.summary import Summary
from engine_probe.analysis.step.bottleneck import LimitsFound, idle_gaps, limits
from engine_probe.analysis.step.ceiling_use import above, held_up
from engine_probe.analysis.step.losses import (
    Composition,
    PreemptionTax,
    Straggler,
    composition,
    kv_fragmentation,
    preemption_tax,
    straggler,
)
from engine_probe.analysis.step.roofline import Roofline, roofline
from engine_probe.analysis.step.step_time import busy_ns, device_idle_share, step_time
from engine_probe.recordings.run import Run


@dataclass(frozen=True)
class Anatomy:
    summary: Summary
    limits: LimitsFound
    tax: PreemptionTax
    composition: Composition | None
    kv_fragmentation: float | None
    straggler: Straggler | None
    device_idle_share: float | None
    roofline: Roofline | str  # or why there is none

    def __repr__(self) -> str:
        return f"<Anatomy: limited most by {self.limits.main}; {self.summary!r}>"


def anatomy(run: Run, slo: Slo | None = None) -> Anatomy:
    """Of a run at least one step long; `Run.summary` refuses others with a sentence."""
    summary = run.summary(slo)
    busy = busy_ns(run.iterations, idle_gaps(run.iterations))
    time = step_time(run.facts, run.iterations, run.workers, busy)
    used = roofline(run.facts, run.iterations, run.requests, time)
    return Anatomy(
        summary=summary,
        limits=limits_by_ceilings(run, used),
        tax=preemption_tax(run.iterations, run.preemptions),
        composition=composition(run.iterations, busy),
        kv_fragmentation=kv_fragmentation(run.facts, run.iterations),
        straggler=straggler(run.workers),
        device_idle_share=device_idle_share(time, busy),
        roofline=used,
    )


def limits_by_ceilings(run: Run, used: Roofline | str) -> LimitsFound:
    """Tell compute from memory bandwidth where the ceilings are known, with what is to be said against them."""
    tables = (run.iterations, run.requests, run.workers)
    if isinstance(used, str) or used.memory is None or used.compute is None:
        return limits(run.facts, *tables)
    found = limits(run.facts, *tables, held_up(used))
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
