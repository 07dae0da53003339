"""How long the model worked in each step, and by which clock."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from engine_probe.analysis.run.token_times import update_end_ns
from engine_probe.analysis.statistics.arrays import Flags, Integers

DEVICE, EXECUTE, PACE = "device", "execute", "step to step"
CLOCKS = {
    DEVICE: "between two CUDA events beside the forward, on the slowest rank; its work is that without logits",
    EXECUTE: "from schedule()'s return to the update (model, sampling, communication with the workers)",
    PACE: "from the end of one step to the end of the next (steps overlap, and no device was timed)",
}


@dataclass(frozen=True, eq=False)
class StepTime:
    ns: Integers
    clock: str  # a key of CLOCKS


def step_time(facts: dict[str, Any], iterations: pa.Table, workers: pa.Table, busy: Integers) -> StepTime:
    """Return the device time if every step has one, else a substitute; `busy` is the time between the steps' ends."""
    device = device_ns(iterations, workers)
    if device is not None:
        return StepTime(device, DEVICE)
    if facts["engine"]["asynchronous"]:
        return StepTime(busy, PACE)
    return StepTime(iterations["execute_ns"].to_numpy(), EXECUTE)


def device_ns(iterations: pa.Table, workers: pa.Table) -> Integers | None:
    """Return the device time of the forward on the slowest rank in each step. None unless every step has one.

    Those of version 3 do not count: its events stood around the step and held host time.
    """
    timed = workers.filter(pc.is_valid(workers["device_start_ns"]))
    slowest = timed.group_by("iteration").aggregate([("device_ns", "max")]).sort_by("iteration")
    if not slowest["iteration"].equals(iterations["iteration"]):
        return None
    found: Integers = slowest["device_ns_max"].to_numpy()
    return found


def busy_ns(iterations: pa.Table, idle: Flags) -> Integers:
    """Return the time from the end of each step to the end of the next, without gaps in which there was no request."""
    ends = update_end_ns(iterations)
    waited = np.where(idle, iterations["gap_ns"].to_numpy(), 0)
    found: Integers = np.diff(ends, prepend=iterations["start_ns"][0].as_py()) - waited
    return found
