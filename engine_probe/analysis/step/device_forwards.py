"""The forwards on the device: how long they took, what lay between them, and whether the host could launch fast enough.

between forwards   from the end of a forward to the begin of the next, without gaps in which there was no request;
                   logits and sampling run there, and otherwise the device waits for the host
launch-bound       the host was still launching the forward when the device had been at it for LAUNCHED of its time
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

LAUNCHED = 0.9


@dataclass(frozen=True)
class DeviceForwards:
    mean_ns: float  # of a forward
    between_ns: float  # mean from a forward to the next
    between_share: float  # of the time
    launch_bound_steps: float  # share
    launch_bound_share: float  # of the time of the forwards


def device_forwards(iterations: pa.Table, workers: pa.Table, idle: npt.NDArray[np.bool_]) -> DeviceForwards | None:
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
