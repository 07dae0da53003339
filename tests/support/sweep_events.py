"""A sweep as its listener hears it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine_probe.sweep.definition.sweep_file import Point, SweepFile, points
from engine_probe.sweep.execution.local import LOCAL, Engines
from engine_probe.sweep.execution.runner import run_sweep


def sweep_events(
    sweep: SweepFile, folder: Path, todo: list[Point] | None = None, engines: Engines = LOCAL
) -> list[Any]:
    """Run the sweep, and return what its listener heard."""
    heard: list[Any] = []
    run_sweep(sweep, folder, points(sweep) if todo is None else todo, lambda event, group: heard.append(event), engines)
    return heard
