"""`engine_probe trace`: a recording for Perfetto."""

from __future__ import annotations

from pathlib import Path

import click

from engine_probe.commands.places import recorded

TRACE_FILE = "trace.pftrace"


@click.command("trace")
@click.argument("folder", type=recorded)
@click.option("--out", type=click.Path(path_type=Path), help=f"New file [default: {TRACE_FILE} in the run's folder].")
def command(folder: Path, out: Path | None) -> None:
    """Write the recording in FOLDER as a trace that ui.perfetto.dev opens.

    Steps split into schedule, execute and update; KV blocks, running, waiting and tokens as counters; one track per
    request; workers and telemetry where they were recorded.
    """
    from engine_probe.errors import InputError
    from engine_probe.report.fresh_file import check_free, fresh_file
    from engine_probe.report.plain import plain
    from engine_probe.report.trace import write_trace
    from engine_probe.run import load

    check_free(out)
    run = load(folder)
    for note in run.notes:
        click.echo(plain(note), err=True)
    if not run.iterations.num_rows:
        raise InputError(f"{run.folder} holds no iteration: nothing ran while it was recorded")
    try:
        _ = run.telemetry
    except InputError as error:
        click.echo(plain(f"{error}; the trace goes without it"), err=True)
    path = out or run.folder / TRACE_FILE
    with fresh_file(path) as file:
        write_trace(run, file)
    click.echo(str(path))
