"""The points that share an engine: which comes next, given the rows so far."""

from collections import deque
from collections.abc import Collection, Iterable, Mapping
from typing import Protocol

from engine_probe.engine.cpu.cpu_kv_pool import KvNeed
from engine_probe.engine.engine_spec import EngineSpec
from engine_probe.sweep.definition.sweep_file import EngineSection
from engine_probe.sweep.execution.events import BestSoFar, SearchEnded
from engine_probe.sweep.execution.planned_point import PlannedPoint
from engine_probe.sweep.execution.repeated_failures import EngineFailures
from engine_probe.sweep.execution.skip_saturated import SkipSaturated
from engine_probe.sweep.results.point_results import SKIPPED, Row


class EngineGroup(Protocol):
    """The points of one engine, asked for one at a time; each row is recorded before the next point is asked for."""

    engines: list[EngineSection]  # that measure each point together; mostly one
    needs: list[KvNeed | None]  # the most KV cache of each that a point can use; None if that is unknown

    def next_point(self) -> PlannedPoint | None:
        """Return the next point, with its row if it need not be measured. None when no point is left."""

    def record(self, row: Row) -> None:
        """Take the row of the point that was asked for last."""

    def result(self) -> SearchEnded | BestSoFar | None:
        """Return what a search has found, or the best so far of one over engine arguments. None for a grid."""


class GridGroup:
    """Points of a grid on one engine, or on several together, without those that need not be measured."""

    def __init__(
        self,
        planned: Iterable[PlannedPoint],
        needs: list[KvNeed | None],
        skip: SkipSaturated,
        failures: EngineFailures,
        left_out: Mapping[str, str],
    ) -> None:
        self._left = deque(planned)
        self._skip, self._failures, self._left_out = skip, failures, left_out
        self.engines, self.needs = [point.engine for point in self._left[0].point.each_engine], needs

    def next_point(self) -> PlannedPoint | None:
        if not self._left:
            return None
        planned = self._left.popleft()
        row = None
        # Saturated below it, without its checkpoint, or too large for this place.
        if reason := self._left_out.get(planned.point.key) or self._skip.reason_to_skip(planned.point):
            row = planned.failed(reason, exit_code=0, status=SKIPPED)
        elif reason := self._failures.reason_not_to_try(planned.point):
            row = planned.failed(reason)
        return planned._replace(row=row)

    def record(self, row: Row) -> None:
        self._skip.record(row)

    def result(self) -> SearchEnded | None:
        return None


def by_engine(planned: Iterable[PlannedPoint], first: Collection[str]) -> list[list[PlannedPoint]]:
    """Return the points of each engine, or set of engines; those with an id in `first` come before the others."""
    groups: dict[tuple[EngineSpec, ...], list[PlannedPoint]] = {}
    for one in planned:
        groups.setdefault(one.point.engines, []).append(one)
    in_order = [sorted(group, key=lambda one: one.point.key not in first) for group in groups.values()]
    return sorted(in_order, key=lambda group: group[0].point.key not in first)
