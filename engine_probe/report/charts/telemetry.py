"""Telemetry of the GPUs and the host during a run: a chart for each quantity, a line for each GPU and column."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from engine_probe.analysis.run.gpu_health import devices, rows_of
from engine_probe.analysis.run.timeline import thinned
from engine_probe.report.charts.model import Axis, Lines, Reals, Series, moments, placed


@dataclass(frozen=True)
class Quantity:
    """The columns of one chart, which have the same unit, with the labels of their lines."""

    title: str
    unit: str
    scale: float  # units of the table in one unit of the chart
    lines: dict[str, str]
    note: str = ""


OF_GPUS = (
    Quantity("GPU power", "W", 1e3, {"power_mw": ""}),
    Quantity("GPU temperature", "°C", 1.0, {"temperature_c": ""}),
    Quantity("GPU clocks", "MHz", 1.0, {"sm_clock_mhz": "SM", "memory_clock_mhz": "memory"}),
    Quantity(
        *("GPU utilisation", "%", 1.0),
        {"gpu_utilisation_percent": "a kernel ran", "memory_utilisation_percent": "memory was read or written"},
        " Shares of the time, by NVML: a kernel that uses a small part of the GPU counts in full.",
    ),
    Quantity(
        *("GPU memory", "GiB", 2.0**30),
        {"memory_used_bytes": "in use by all processes", "process_memory_bytes": "by this process"},
    ),
    Quantity(
        *("GPU activity", "%", 1.0),
        {
            "sm_activity_percent": "SMs busy",
            "tensor_activity_percent": "tensor cores",
            "dram_bandwidth_percent": "memory bandwidth",
        },
        " By the GPU's own counters (NVML's GPM), over the second before.",
    ),
    Quantity("NVLink traffic", "GB/s", 1e9, {"nvlink_tx_bytes_per_s": "sent", "nvlink_rx_bytes_per_s": "received"}),
    Quantity("NVLink-C2C traffic", "GB/s", 1e9, {"c2c_tx_bytes_per_s": "sent", "c2c_rx_bytes_per_s": "received"}),
    Quantity("PCIe traffic", "GB/s", 1e9, {"pcie_tx_bytes_per_s": "sent", "pcie_rx_bytes_per_s": "received"}),
)
OF_HOST = (
    Quantity(
        *("Host CPU", "%", 1.0),
        {"cpu_percent": "this process", "machine_cpu_percent": "whole machine"},
        " 100% is one core.",
    ),
    Quantity(
        *("Host memory", "GiB", 2.0**30),
        {"memory_used_bytes": "in use by all processes", "process_memory_bytes": "by this process"},
    ),
)
MOST_POINTS = 600


def telemetry_charts(table: pa.Table, origin: int, name: str) -> Iterator[Lines]:
    """Yield the charts of recorded quantities, on the clock of the steps."""
    gpus = {f"GPU {device}": rows_of(table, device) for device in devices(table)}
    host = {"": table.filter(pc.is_null(table["device"]))}
    for owners, quantities in ((gpus, OF_GPUS), (host, OF_HOST)):
        for quantity in quantities:
            lines = {
                ": ".join(filter(None, (owner, label))): line
                for column, label in quantity.lines.items()
                for owner, rows in owners.items()
                if (line := readings(rows, column, origin, quantity.scale))
            }
            if lines:
                yield chart(quantity, lines, name)


def readings(rows: pa.Table, column: str, origin: int, scale: float) -> tuple[Reals, Reals] | None:
    """Return the seconds and values of one column. None if it has no values."""
    values = rows.filter(pc.is_finite(rows[column]))
    if not values.num_rows:
        return None
    seconds = (values["time_ns"].to_numpy() - origin) / 1e9
    few = thinned(seconds, {column: values[column].to_numpy().astype(np.float64)}, MOST_POINTS)
    return few.seconds, few.columns[column] / scale


def chart(quantity: Quantity, lines: dict[str, tuple[Reals, Reals]], name: str) -> Lines:
    xs = np.unique(np.concatenate([times for times, _ in lines.values()]))
    series = [Series(label, placed(xs, *line), 0, "line", number) for number, (label, line) in enumerate(lines.items())]
    note = f"Sampled during the steps; of more than {MOST_POINTS} samples, the extremes of equal parts of the time."
    axis = Axis(quantity.title.replace("GPU ", "").replace("Host ", ""), quantity.unit)
    return Lines(quantity.title, note + quantity.note, Axis("time", "s"), [axis], moments(xs), series, sync=name)
