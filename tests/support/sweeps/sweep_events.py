"""A sweep as its listener hears it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine_probe.sweep.definition.sweep_file import Point, SweepFile, points
from engine_probe.sweep.execution.engine_run import Engines, LocalEngines
from engine_probe.sweep.execution.runner import SweepRun


def sweep_events(
    sweep: SweepFile, folder: Path, todo: list[Point] | None = None, engines: Engines | None = None
) -> list[Any]:
    """Run the sweep, and return what its listener heard."""
    heard: list[Any] = []
    todo = points(sweep) if todo is None else todo
    SweepRun(
        sweep, folder, todo, lambda event, group: heard.append(event), engines or LocalEngines(), force=False
    ).run()
    return heard
