"""The chart of a plan: the highest throughput that the datasheets allow, over the requests in flight."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engine_probe.engine.twin.capacity_plan import Plan
from engine_probe.report.charts.model import Axis, Lines, Series, numbers, placed

MOMENTS = 60
NOTE = "Each line ends at the requests that run at the same time. A bound, not a prediction: real engines lie below."


def bounds_chart(plans: Sequence[Plan]) -> Lines | None:
    """Return one line for each device that holds a request; None if none does."""
    held = [plan for plan in plans if plan.concurrency]
    if not held:
        return None
    most = max(plan.concurrency for plan in held)
    grid = np.geomspace(1, most, MOMENTS).round()
    loads = np.unique(np.concatenate([grid, [plan.concurrency for plan in held]]))
    series = []
    for number, plan in enumerate(held):
        mine = loads[loads <= plan.concurrency]
        rates = np.array([plan.bounds(int(load)).output_tokens_per_s for load in mine])
        label = plan.device if plan.gpus == 1 else f"{plan.gpus} x {plan.device}"
        series.append(Series(label, placed(loads, mine, rates), colour=number))
    x = Axis("concurrent requests", whole=True, log=True)
    return Lines("Throughput at most", NOTE, x, [Axis("output tokens/s")], numbers(loads), series)
