"""Which points of a grid need not be measured any more, because their curve is saturated below them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from engine_probe.files.config_file import put, value_at
from engine_probe.sweep.definition.axes import WORKLOAD
from engine_probe.sweep.definition.saturation_stop import Reached, Saturated, saturated_at
from engine_probe.sweep.definition.sweep_file import Point
from engine_probe.sweep.results.point_results import PointResult, Row


class AxisEnd:
    """Judges from the rows so far, so that a sweep that goes on skips what the first would have skipped."""

    def __init__(self, asked: Saturated | None, todo: Sequence[Point], rows: Mapping[int, Row]) -> None:
        self._asked, self._todo, self._rows = asked, todo, rows

    def reason_to_skip(self, point: Point) -> str | None:
        """None where it has to be measured."""
        if self._asked is None:
            return None
        curve, level = self._place(point)
        levels: dict[float, list[Reached]] = {}
        for number, row in self._rows.items():
            if isinstance(row, PointResult) and (place := self._place(self._todo[number]))[0] == curve:
                levels.setdefault(place[1], []).append(row.reached)
        below = {lower: found for lower, found in levels.items() if lower < level}
        end = saturated_at(self._asked, below)
        name = self._asked.axis.rpartition(".")[2]
        return None if end is None else f"skipped: saturated at {name} {end:g} (stop.saturated)"

    def _place(self, point: Point) -> tuple[str, float]:
        """All that is not the axis or a repeat, and the value on the axis."""
        assert self._asked is not None
        workload: dict[str, Any] = msgspec.to_builtins(point.workload)
        name = self._asked.axis.removeprefix(WORKLOAD)
        level = value_at(workload, name)
        put(workload, name, None)
        return json.dumps([point.engine.spec.key, workload, point.probe], sort_keys=True), float(level)
