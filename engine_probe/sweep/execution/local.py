"""Where engines run: in processes of this machine, or (`sweep/fleet`) on others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

from engine_probe.sweep.definition.sweep_file import EngineSection
from engine_probe.sweep.execution.engine_run import Allowance, run_engine
from engine_probe.sweep.execution.events import Event, Numbered, Running


class Ways(Protocol):
    """How groups of points, each for one engine, are measured."""

    def start(
        self, engine: EngineSection, tasks: Iterator[Numbered], log: Path, force: bool, allowance: Allowance
    ) -> Running:
        """Task after task on one engine, as `run_engine` does it."""

    def together(self, groups: Iterable[Iterator[Event]]) -> Iterator[Event]:
        """The events of all groups of points, in whatever order they happen."""


class Here:
    """In a process of this machine, one engine after the other."""

    def start(
        self, engine: EngineSection, tasks: Iterator[Numbered], log: Path, force: bool, allowance: Allowance
    ) -> Running:
        return run_engine(engine, tasks, log, force, allowance)

    def together(self, groups: Iterable[Iterator[Event]]) -> Iterator[Event]:
        for group in groups:
            yield from group


HERE = Here()
