"""Everything that is said of one run, worked out once."""

from __future__ import annotations

from dataclasses import dataclass

from engine_probe.analysis.limits import LimitsFound, idle_gaps, limits
from engine_probe.analysis.roofline import Roofline, held_up, roofline
from engine_probe.analysis.slo import Slo
from engine_probe.analysis.steptime import busy_ns, device_idle_share, step_time
from engine_probe.analysis.summary import Summary
from engine_probe.analysis.waste import (
    Composition,
    PreemptionTax,
    Straggler,
    composition,
    kv_fragmentation,
    preemption_tax,
    straggler,
)
from engine_probe.run import Run


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
    roofs = roofline(run.facts, run.iterations, run.requests, time)
    return Anatomy(
        summary=summary,
        limits=limits(
            run.facts, run.iterations, run.requests, run.workers, None if isinstance(roofs, str) else held_up(roofs)
        ),
        tax=preemption_tax(run.iterations, run.preemptions),
        composition=composition(run.iterations, busy),
        kv_fragmentation=kv_fragmentation(run.facts, run.iterations),
        straggler=straggler(run.workers),
        device_idle_share=device_idle_share(time, busy),
        roofline=roofs,
    )
