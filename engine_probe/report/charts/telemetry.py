"""What the cards and the host did meanwhile: a chart for each kind of reading, a line for each card and column."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from engine_probe.analysis.run.gpu_health import devices, rows_of
from engine_probe.analysis.run.timeline import thinned
from engine_probe.report.charts.model import Axis, Lines, Series, moments, numbers

Reals = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Drawn:
    """One chart: columns of one unit, and what their lines are called."""

    title: str
    unit: str
    scale: float  # how many of the table's unit are one of the chart's
    lines: dict[str, str]
    more: str = ""


OF_CARDS = (
    Drawn("GPU power", "W", 1e3, {"power_mw": ""}),
    Drawn("GPU temperature", "°C", 1.0, {"temperature_c": ""}),
    Drawn("GPU clocks", "MHz", 1.0, {"sm_clock_mhz": "SM", "memory_clock_mhz": "memory"}),
    Drawn(
        *("GPU utilisation", "%", 1.0),
        {"gpu_utilisation_percent": "a kernel ran", "memory_utilisation_percent": "memory was read or written"},
        " Shares of the time, by NVML: a kernel that uses little of the card counts in full.",
    ),
    Drawn(
        *("GPU memory", "GiB", 2.0**30),
        {"memory_used_bytes": "in use by everybody", "process_memory_bytes": "by this process"},
    ),
    Drawn("PCIe traffic", "GB/s", 1e9, {"pcie_tx_bytes_per_s": "sent", "pcie_rx_bytes_per_s": "received"}),
)
OF_HOST = (
    Drawn(
        *("Host CPU", "%", 1.0),
        {"cpu_percent": "this process", "machine_cpu_percent": "whole machine"},
        " 100 % is one core.",
    ),
    Drawn(
        *("Host memory", "GiB", 2.0**30),
        {"memory_used_bytes": "in use by everybody", "process_memory_bytes": "by this process"},
    ),
)
MOST_POINTS = 600


def telemetry_charts(table: pa.Table, origin: int, name: str) -> Iterator[Lines]:
    """On the clock of the steps; nothing for what was not recorded."""
    cards = {f"GPU {device}": rows_of(table, device) for device in devices(table)}
    host = {"": table.filter(pc.is_null(table["device"]))}
    for owners, several in ((cards, OF_CARDS), (host, OF_HOST)):
        for drawn in several:
            lines = {
                ": ".join(filter(None, (owner, label))): line
                for column, label in drawn.lines.items()
                for owner, rows in owners.items()
                if (line := readings(rows, column, origin, drawn.scale))
            }
            if lines:
                yield chart(drawn, lines, name)


def readings(rows: pa.Table, column: str, origin: int, scale: float) -> tuple[Reals, Reals] | None:
    """Seconds and values of one column of one owner; None where it has none."""
    known = rows.filter(pc.is_finite(rows[column]))
    if not known.num_rows:
        return None
    seconds = (known["time_ns"].to_numpy() - origin) / 1e9
    few = thinned(seconds, {column: known[column].to_numpy().astype(np.float64)}, MOST_POINTS)
    return few.seconds, few.columns[column] / scale


def chart(drawn: Drawn, lines: dict[str, tuple[Reals, Reals]], name: str) -> Lines:
    xs = np.unique(np.concatenate([times for times, _ in lines.values()]))
    series = []
    for number, (label, (times, values)) in enumerate(lines.items()):
        placed = np.full(len(xs), np.nan)
        placed[np.searchsorted(xs, times)] = values
        series.append(Series(label, numbers(placed), 0, "line", number))
    note = f"Sampled beside the steps; of more than {MOST_POINTS} samples the least and the most of equal parts."
    axis = Axis(drawn.title.replace("GPU ", "").replace("Host ", ""), drawn.unit)
    return Lines(drawn.title, note + drawn.more, Axis("time", "s"), [axis], moments(xs), series, sync=name)
