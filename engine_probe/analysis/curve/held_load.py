"""The part of a run in which its load was held, and the throughput in it, which is what a curve over load compares.

A run with a fixed number of requests ends with fewer and fewer of them, the longer the more there are at once: over the
whole run, the throughput of an engine that never saturates seems to fall. Tokens are counted when they are delivered,
so the part is not biased against long answers that it cuts off.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from engine_probe.analysis.run.after_warm_up import AfterWarmUp, within
from engine_probe.analysis.run.latencies import answered
from engine_probe.analysis.run.token_times import TimeSpan, update_end_ns, waiting_requests
from engine_probe.analysis.step.operators import left_out_time
from engine_probe.workload.load import CONCURRENCY, USERS, load_of

# Answers for each request in flight. Requests that start together are at the same point of their answers for a while,
# so the throughput over less depends on where in an answer the part ends.
TURNOVERS = 2
HELD_RATE = ("held_output_tokens_per_s", "tokens/s", "output tokens / time, while the load was held")  # as a metric
PAUSES = ("think_seconds", "pace_seconds")


@dataclass(frozen=True)
class HeldLoad:
    """The steps between which a load was held."""

    begin_ns: int
    end_ns: int
    answered: int
    output_tokens_per_s: float

    @property
    def seconds(self) -> float:
        return (self.end_ns - self.begin_ns) / 1e9


def held_load(
    work: Mapping[str, Any],
    iterations: pa.Table,
    requests: pa.Table,
    later: AfterWarmUp | None,
    profiled: TimeSpan | None = None,
) -> HeldLoad | None:
    """Return the part of a run with this workload in which its load was held. None if that is missing or too short.

    A number of requests in flight is held from the first step with as many, running or waiting, to the last; it takes
    TURNOVERS answers for each. Any other load is held after the warm-up, until the last arrival. The throughput leaves
    out what a window of operators touches.
    """
    load, unit = load_of(dict(work))
    ends, enough = update_end_ns(iterations), 0.0
    if keeps_in_flight(work, unit):
        counts = iterations["running_requests"].to_numpy() + waiting_requests(iterations)
        steps = np.flatnonzero(counts >= load)
        if not len(steps):
            return None
        first, after, enough = int(steps[0]), int(steps[-1]) + 1, TURNOVERS * load
        begin_ns = int(iterations["start_ns"][first].as_py())
    elif later is not None:
        first, after = np.searchsorted(ends, later.window, "right").tolist()
        begin_ns = int(ends[first - 1])
    else:
        return None
    end_ns = int(ends[after - 1])
    count = within(answered(requests), "last_token_ns", (begin_ns, end_ns)).num_rows
    if count < enough or end_ns <= begin_ns:
        return None
    tokens, ns = iterations["output_tokens"].to_numpy()[first:after], end_ns - begin_ns
    if left_out := left_out_time(iterations, profiled):
        tokens = tokens[left_out.kept[first:after]]
        ns -= max(0, min(end_ns, left_out.end_ns) - max(begin_ns, left_out.begin_ns))
    return HeldLoad(begin_ns, end_ns, count, int(tokens.sum()) / (ns / 1e9)) if ns else None


def keeps_in_flight(work: Mapping[str, Any], unit: str) -> bool:
    """Return whether each answer is followed by the next request at once."""
    arrivals = work.get("arrivals") or {}
    return unit == CONCURRENCY or (unit == USERS and not any(arrivals.get(pause) for pause in PAUSES))
