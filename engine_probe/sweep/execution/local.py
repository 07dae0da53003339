"""Where the engines of a sweep run: in processes of this machine, or (`sweep/fleet`) on a cluster."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

from engine_probe.sweep.definition.sweep_file import EngineSection
from engine_probe.sweep.execution.engine_run import EngineRun, Limits
from engine_probe.sweep.execution.events import Show
from engine_probe.sweep.execution.folders import new_log
from engine_probe.sweep.execution.planned_point import Measurement, PlannedPoint


class Engine(Protocol):
    """An engine that measures one point after another."""

    def measure(self, planned: PlannedPoint, show: Show) -> Measurement:
        """Measure one point. Raise `EngineStartError` if the engine ends before its first point begins."""

    def close(self) -> None:
        """End the engine, even in the middle of a point."""


class Engines(Protocol):
    """Where the engines of a sweep run."""

    def engine(self, engine: EngineSection, folder: Path, force: bool, limits: Limits) -> Engine:
        """Return the engine of one group; it starts with its first point."""

    def run_groups(self, groups: Sequence[Callable[[], None]]) -> None:
        """Call each, which measures the points of one engine group."""


class LocalEngines:
    """Engines in processes of this machine, one group after the other."""

    def engine(self, engine: EngineSection, folder: Path, force: bool, limits: Limits) -> EngineRun:
        return EngineRun(engine, partial(new_log, folder), force, limits)

    def run_groups(self, groups: Sequence[Callable[[], None]]) -> None:
        for group in groups:
            group()
