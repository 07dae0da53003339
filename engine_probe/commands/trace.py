"""`engine_probe trace`: a run or sweep for Perfetto."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine_probe.commands.options.engine_options import GroupedCommand, under
from engine_probe.commands.options.result_location import recorded
from engine_probe.errors import InputError
from engine_probe.files.new_file import STANDARD_OUTPUT, check_free, fresh_file
from engine_probe.text_format import plain
from kernels_bench.options import FILE

if TYPE_CHECKING:
    from engine_probe.recordings.run import Run

TRACE_FILE = "trace.pftrace"

output = under("Output")


@click.command("trace", cls=GroupedCommand)
@click.argument("folder", type=recorded)
@output("--out", metavar="FILE", type=FILE, help=f"New file [default: {TRACE_FILE} in FOLDER].")
def command(folder: Path, out: Path | None) -> None:
    """Convert the run or sweep in FOLDER to a trace for ui.perfetto.dev.

    It shows each step's schedule, execute and update phases, counters of KV blocks, running and waiting requests and
    tokens, one track per request, and workers and telemetry if recorded. The points of a sweep follow one another in
    time, each with its own group of tracks.
    """
    from engine_probe.recordings.sweep import is_sweep
    from engine_probe.report.renderers.perfetto import trace, traces

    check_free(out)
    if is_sweep(folder):
        runs = points(folder)
        place, pieces, note = folder, traces(runs), f" ({len(runs)} points)"
    else:
        run = checked_run(folder)
        place, pieces, note = run.folder, trace(run), ""
    path = out or place / TRACE_FILE
    with fresh_file(path) as file:
        file.writelines(pieces)
    if path != STANDARD_OUTPUT:
        click.echo(f"{path}{note}")


def checked_run(folder: Path) -> Run:
    """Open a run with at least one step, and print its notes."""
    from engine_probe.recordings.run import load

    run = load(folder)
    for note in run.notes:
        click.echo(plain(note), err=True)
    if not run.iterations.num_rows:
        raise InputError(f"{run.folder} holds no iteration: nothing ran while it was recorded")
    say_without_telemetry(run)
    return run


def points(folder: Path) -> dict[str, Run]:
    """Return the points of a sweep that have steps, by name; print why the others are left out."""
    from engine_probe.export.sweep import named_points
    from engine_probe.recordings.sweep import open_sweep

    swept = open_sweep(folder)
    runs: dict[str, Run] = {}
    for name, point in named_points(swept).items():
        if point.analysis is None:
            click.echo(plain(f"{name} is left out: {point.reason}"), err=True)
        elif point.run is not None:
            say_without_telemetry(point.run)
            runs[name] = point.run
    if not runs:
        raise InputError(f"{folder} holds no point with a complete recording: give another sweep")
    return runs


def say_without_telemetry(run: Run) -> None:
    try:
        _ = run.telemetry
    except InputError as error:
        click.echo(plain(f"{error}; the trace is written without it"), err=True)
