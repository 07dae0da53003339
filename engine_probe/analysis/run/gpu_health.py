"""The health of the GPUs during a run: reduced clocks and their causes, temperature, power, P-states, ECC errors."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from engine_probe.analysis.statistics.arrays import Integers

# Bits of `throttle_reasons` in NVML's words (nvmlClocksEventReason*); the gravest last. An idle GPU (0x1) is fine.
REASONS = {
    0x100: "display clock setting",
    0x10: "sync boost",
    0x2: "application clocks setting",
    0x4: "SW power cap",
    0x20: "SW thermal slowdown",
    0x80: "HW power brake slowdown",
    0x8: "HW slowdown",
    0x40: "HW thermal slowdown",
}


@dataclass(frozen=True)
class Extent:
    least: float
    mean: float
    most: float


@dataclass(frozen=True)
class GpuHealth:
    """The health of one GPU over one or more runs; None or empty if it was not recorded."""

    samples: int
    judged: int  # samples with a recorded throttle reason, or none
    reduced: dict[str, float]  # reason -> share of the judged samples
    any_reduced: float | None  # share of the judged samples with any of them
    temperature_c: Extent | None
    power_w: Extent | None
    sm_clock_mhz: Extent | None
    states: tuple[int, ...]  # P-states seen
    ecc_errors: int | None  # new during the runs
    ecc_corrected_errors: int | None


def devices(table: pa.Table) -> list[int]:
    return sorted(device for device in pc.unique(table["device"]).to_pylist() if device is not None)


def rows_of(table: pa.Table, device: int) -> pa.Table:
    return table.filter(pc.equal(table["device"], device))


def first_gpu(runs: Sequence[pa.Table]) -> GpuHealth | None:
    """Judge the first GPU that was sampled, over all runs. None without a GPU."""
    sampled = [device for run in runs for device in devices(run)]
    return gpu_health([rows_of(run, sampled[0]) for run in runs]) if sampled else None


def gpu_health(runs: Sequence[pa.Table]) -> GpuHealth:
    """Judge one GPU by its telemetry rows, a table for each run."""
    together = pa.concat_tables(runs)
    reasons = recorded(together, "throttle_reasons")
    shares = {name: float(np.mean((reasons & bit) > 0)) for bit, name in REASONS.items()} if len(reasons) else {}
    every = sum(REASONS)
    return GpuHealth(
        samples=together.num_rows,
        judged=len(reasons),
        reduced={name: share for name, share in shares.items() if share},
        any_reduced=float(np.mean((reasons & every) > 0)) if len(reasons) else None,
        temperature_c=extent(recorded(together, "temperature_c")),
        power_w=extent(recorded(together, "power_mw") / 1e3),
        sm_clock_mhz=extent(recorded(together, "sm_clock_mhz")),
        states=tuple(np.unique(recorded(together, "performance_state")).tolist()),
        ecc_errors=grown(runs, "ecc_errors"),
        ecc_corrected_errors=grown(runs, "ecc_corrected_errors"),
    )


# By NVML's GPM, in the order of the report; each value is that of the second before.
ACTIVITY = ("sm_activity_percent", "tensor_activity_percent", "dram_bandwidth_percent")


def activity(runs: Sequence[pa.Table]) -> dict[str, float] | None:
    """Return the mean of each figure of GPM on one GPU, as far as it has them. None without any."""
    together = pa.concat_tables(runs)
    means = {column: pc.mean(together[column]).as_py() for column in ACTIVITY}
    return {column: mean for column, mean in means.items() if mean is not None} or None


def recorded(table: pa.Table, column: str) -> Integers:
    values: Integers = pc.drop_null(table[column]).to_numpy().astype(np.int64)
    return values


def extent(values: npt.NDArray[np.generic]) -> Extent | None:
    return Extent(float(values.min()), float(values.mean()), float(values.max())) if len(values) else None


def grown(runs: Sequence[pa.Table], column: str) -> int | None:
    """Return by how much a counter grew within the runs. None if a run has fewer than two readings."""
    readings = [recorded(run, column) for run in runs]
    if any(len(each) < 2 for each in readings):
        return None
    return sum(int(each[-1] - each[0]) for each in readings)


def reduced_spans(rows: pa.Table) -> Iterator[tuple[int, int, int]]:
    """Yield (bit, begin_ns, end_ns) of each time with reduced clocks on one GPU; of several causes the gravest."""
    valid = rows.filter(pc.is_valid(rows["throttle_reasons"]))
    times, reasons = valid["time_ns"].to_numpy(), valid["throttle_reasons"].to_numpy()
    if len(times) < 2:
        return
    gravest = np.zeros(len(reasons), dtype=np.int64)
    for bit in REASONS:
        gravest[(reasons & bit) > 0] = bit
    edges = np.r_[0, np.flatnonzero(np.diff(gravest)) + 1, len(gravest) - 1]
    for first, last in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        if gravest[first] and last > first:
            yield int(gravest[first]), int(times[first]), int(times[last])
