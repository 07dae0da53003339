"""Decides which points of a grid are skipped because their curve is saturated below them (`stop.saturated`)."""

import json
from collections import defaultdict
from typing import Any

import msgspec

from engine_probe.files.config_file import put, value_at
from engine_probe.sweep.definition.axes import WORKLOAD
from engine_probe.sweep.definition.saturation_stop import Reached, Saturated, saturated_at
from engine_probe.sweep.definition.sweep_file import Point
from engine_probe.sweep.results.point_results import PointResult, Row

SATURATED = "skipped: saturated"  # how the reason begins


class SkipSaturated:
    """Judges by the rows alone, so a resumed sweep skips what an uninterrupted one would have skipped."""

    def __init__(self, saturated: Saturated | None) -> None:
        self._saturated = saturated
        self._curves: dict[str, dict[float, list[Reached]]] = defaultdict(lambda: defaultdict(list))

    def record(self, row: Row) -> None:
        if self._saturated is not None and isinstance(row, PointResult):
            curve, level = curve_and_level(row.point, self._saturated.axis)
            self._curves[curve][level].append(row.reached)

    def reason_to_skip(self, point: Point) -> str | None:
        """Return why the point is skipped. None if it is to be measured, as every repeat of a measured level is."""
        if self._saturated is None:
            return None
        curve, level = curve_and_level(point, self._saturated.axis)
        if level in self._curves[curve]:
            return None
        lower = {other: reached for other, reached in self._curves[curve].items() if other < level}
        end = saturated_at(self._saturated, lower)
        name = self._saturated.axis.rpartition(".")[2]
        return None if end is None else f"{SATURATED} at {name} {end:g} (stop.saturated)"


def curve_and_level(point: Point, axis: str) -> tuple[str, float]:
    """Return everything but the axis and the repeat, and the value on the axis."""
    workload: dict[str, Any] = msgspec.to_builtins(point.workload)
    name = axis.removeprefix(WORKLOAD)
    level = value_at(workload, name)
    put(workload, name, None)
    return json.dumps([[engine.key for engine in point.engines], workload, point.probe], sort_keys=True), float(level)
