"""An opened sweep as one Arrow table: a row for each point, measured or not."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from engine_probe.analysis.compare.changes import METRICS
from engine_probe.analysis.curve.held_load import HELD_RATE
from engine_probe.analysis.curve.levels import held_rate
from engine_probe.analysis.engine_metrics import ENGINE_METRICS
from engine_probe.recordings.curve import curves
from engine_probe.recordings.sweep_point import SweptPoint


def sweep_table(points: Sequence[SweptPoint], settings: Sequence[dict[str, Any]]) -> pa.Table:
    """Return the settings in which points differ, all metrics of runs and engines, the bottleneck and the region.

    A metric that a point lacks is null; `reason` says why a point has no metrics.
    """
    regions = {
        (curve.label, curve.unit, figures.id): curve.found.region(figures.load)
        for curve in curves(points)
        for figures in curve.figures
    }
    held_name, held_unit, held_formula = HELD_RATE
    own = {"point", "load", "unit", "limited_most_by", "region", "reason", held_name}
    own |= {metric.name for metric in METRICS} | {metric.name for metric in ENGINE_METRICS}
    rows = []
    for point, varied in zip(points, settings, strict=True):
        figures = point.figures
        row: dict[str, Any] = {"point": point.id, "load": point.load, "unit": point.unit}
        row |= {f"{name} (setting)" if name in own else name: value for name, value in varied.items()}
        row |= {metric.name: metric.value(figures.summary) if figures else None for metric in METRICS}
        row |= {metric.name: metric.value(point.analysis) if point.analysis else None for metric in ENGINE_METRICS}
        row[held_name] = held_rate(figures) if figures else None
        row["limited_most_by"] = figures.limits.main if figures else None
        row["region"] = regions.get((point.label, point.unit, point.id))
        rows.append(row | {"reason": point.reason or None})
    table = pa.Table.from_pylist(rows)
    described = {metric.name: (metric.unit, metric.formula) for metric in METRICS}
    described |= {metric.name: (metric.unit, metric.formula) for metric in ENGINE_METRICS}
    described[held_name] = (held_unit, held_formula)
    fields = [
        field.with_metadata({"unit": found[0], "description": found[1]})
        if (found := described.get(field.name))
        else field
        for field in table.schema
    ]
    return table.cast(pa.schema(fields))
