"""The predictions of a recorded run, one after another, each in a folder of its own; then the real engine."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import msgspec

from engine_probe.commands.profile import measure
from engine_probe.commands.sweep.predict.alternatives import Alternatives
from engine_probe.commands.sweep.predict.replayed_point import recorded_sweep
from engine_probe.commands.sweep.twin import acceptance, check_sweep, limits, step_times
from engine_probe.engine.twin.settings import Twin
from engine_probe.recordings.run import Run, load
from engine_probe.report.what_if_document import WhatIf
from engine_probe.sweep.definition.sweep_file import Point, SweepFile, points
from engine_probe.sweep.execution.folders import safe
from engine_probe.sweep.preflight.memory_fit import check_fit
from engine_probe.text_format import plain

UNCHANGED, MEASURED = "unchanged", "measured"


def run_all(found: Alternatives, place: Path, verify: bool, force: bool) -> WhatIf:
    """Predict the run unchanged and under each change; with `verify`, run the same on the real engine."""
    times = step_times(found.times)
    asked, not_known = recorded_sweep(found.run, place)
    check_sweep(asked)
    accepted = acceptance([found.run], str(found.run.folder))
    made = Twin(str(found.times_from), times, limits(found.run.facts), acceptance=accepted)
    twin = msgspec.json.decode(msgspec.json.encode(made))
    changes: dict[str, Mapping[str, Any]] = {"": {}, **found.changes}
    real = {name: point_of(asked, name, change) for name, change in changes.items()}
    check_fit(list(real.values()))
    runs: dict[str, Run] = {}
    for name, point in real.items():
        engine = msgspec.structs.replace(point.engine, twin=twin)
        shown, twin_point = name or UNCHANGED, msgspec.structs.replace(point, engine=engine)
        runs[name] = run(twin_point, place / safe(shown), f"predicting {shown}", force)
    measured = {}
    for name in real if verify else ():  # unchanged first: the machine may not be as fast as when the run was recorded
        shown = name or UNCHANGED
        measured[name] = run(real[name], place / safe(f"{MEASURED} {shown}"), f"measuring {shown}", force)
    return WhatIf(found.run, runs.pop(""), runs, measured, not_known)


def point_of(asked: SweepFile, name: str, change: Mapping[str, Any]) -> Point:
    arguments = {**asked.engine.arguments, **change}
    engine = msgspec.structs.replace(asked.engine, arguments=arguments)
    (point,) = points(msgspec.structs.replace(asked, engine=engine))
    return msgspec.structs.replace(point, label=name or UNCHANGED)


def run(point: Point, folder: Path, words: str, force: bool) -> Run:
    click.echo(plain(words), err=True)
    folder.mkdir()
    measure(point, folder, force)
    return load(folder)
