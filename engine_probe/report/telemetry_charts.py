"""What the devices and the host did meanwhile: one chart for each unit, a line for each owner and column."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from engine_probe.analysis.overtime import thinned
from engine_probe.report.charts import Axis, Lines, Series, moments, numbers

Reals = npt.NDArray[np.float64]

# unit in the table -> (title, unit drawn, how many of the first are one of the second)
UNITS = {
    "mW": ("Power", "W", 1e3),
    "°C": ("Temperature", "°C", 1.0),
    "MHz": ("Clocks", "MHz", 1.0),
    "%": ("Utilisation", "%", 1.0),
    "bytes": ("Memory", "GiB", 2.0**30),
    "bytes/s": ("PCIe traffic", "GB/s", 1e9),
}
MOST_POINTS = 600


def telemetry_charts(table: pa.Table, origin: int, name: str) -> Iterator[Lines]:
    """On the clock of the steps; nothing for what was not recorded."""
    for unit, (title, drawn, scale) in UNITS.items():
        lines = {
            label: (times, values / scale)
            for field in table.schema
            if field.metadata[b"unit"].decode() == unit
            for label, times, values in owners(table, field.name, origin)
        }
        if lines:
            yield chart(title, drawn, lines, name)


def owners(table: pa.Table, column: str, origin: int) -> Iterator[tuple[str, Reals, Reals]]:
    """Seconds and values of one column for each device that has any, and for the host."""
    known = table.filter(pc.is_finite(table[column]))
    for device in sorted(pc.unique(known["device"]).to_pylist(), key=lambda index: -1 if index is None else index):
        chosen = pc.is_null(known["device"]) if device is None else pc.equal(known["device"], device)
        mine = known.filter(chosen)
        owner = "host" if device is None else f"GPU {device}"
        seconds = (mine["time_ns"].to_numpy() - origin) / 1e9
        few = thinned(seconds, {column: mine[column].to_numpy().astype(np.float64)}, MOST_POINTS)
        yield f"{owner}: {column.rsplit('_', 1)[0].replace('_', ' ')}", few.seconds, few.columns[column]


def chart(title: str, unit: str, lines: dict[str, tuple[Reals, Reals]], name: str) -> Lines:
    xs = np.unique(np.concatenate([times for times, _ in lines.values()]))
    series = []
    for number, (label, (times, values)) in enumerate(lines.items()):
        placed = np.full(len(xs), np.nan)
        placed[np.searchsorted(xs, times)] = values
        series.append(Series(label, numbers(placed), 0, "line", number))
    note = f"Sampled beside the steps; of more than {MOST_POINTS} samples the least and the most of equal parts."
    return Lines(title, note, Axis("time", "s"), [Axis(title.lower(), unit)], moments(xs), series, sync=name)
