"""`engine_probe sweep`: measure a grid of points on a real engine."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Never

import click

from engine_probe.commands.options import measuring_options
from engine_probe.commands.options.engine_options import GroupedCommand
from engine_probe.commands.options.measuring_options import engine, output, what
from engine_probe.commands.options.result_location import check_resumable, new_folder, title_of
from engine_probe.errors import InputError
from kernels_bench.options import FILE

if TYPE_CHECKING:
    from engine_probe.sweep.definition.sweep_file import SweepFile

ROUNDS = 3  # with --against; two tell only large differences


@click.command(
    "sweep", cls=GroupedCommand, epilog="Example: engine_probe sweep smoke --model tiny --set repeats=1 --dry-run"
)
@click.argument("name", required=False)
@what("--list", "list_only", is_flag=True, help="List the shipped sweeps and the question each answers.")
@what("--init", "new_file", metavar="FILE", type=FILE, help="Write a commented sweep file to start from.")
@what("--json-schema", is_flag=True, help="Print the JSON Schema of sweep files, for editors.")
@what("--dry-run", is_flag=True, help="Show the points, whether they fit into memory and how long they will take.")
@measuring_options.like
@measuring_options.device
@what(
    "--against",
    multiple=True,
    metavar="SWEEP|KEY=VALUE",
    help="Measure this sweep, or NAME with these settings, in turns with NAME, and compare the two.",
)
@what(
    "--rounds",
    type=click.IntRange(min=2),
    help=f"Sweeps of each side with --against; more of them tell smaller differences [default: {ROUNDS}].",
)
@what(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change a key of the sweep: workload.output_len=8. A list makes an axis. May be repeated.",
)
@what(
    "--check-integrity",
    is_flag=True,
    help="Compare the answers of all loads, token by token, with those of the lowest (greedy decoding only).",
)
@engine("--model", metavar="MODEL", help="Measure this model instead of the sweep's.")
@measuring_options.ray
@measuring_options.twin
@measuring_options.force
@output("--out", metavar="FOLDER", help="New folder, or URI such as s3://... [default: runs/<name>-<time>].")
@output("--resume", metavar="FOLDER", help="Continue the sweep in this folder or URI; complete points are kept.")
@measuring_options.verbose
def command(
    name: str | None,
    list_only: bool,
    new_file: Path | None,
    json_schema: bool,
    dry_run: bool,
    like: Path | None,
    device: str | None,
    against: tuple[str, ...],
    rounds: int | None,
    settings: tuple[str, ...],
    check_integrity: bool,
    model: str | None,
    address: str | None,
    twin: str | None,
    force: bool,
    out: str | None,
    resume: str | None,
    verbose: bool,
) -> None:
    """Measure the points of the sweep NAME, and record every iteration.

    NAME is a shipped sweep [default: smoke], a TOML file (its keys are in docs/sweep_files.md), or the folder of an
    earlier sweep. With --resume it defaults to the sweep in that folder.

    With --against, NAME and another sweep are measured in turns, so that a slow phase of the machine affects both, and
    then compared. Each sweep has a folder in that of --out: before-1, after-1 and so on.
    """
    if list_only:
        list_sweeps()
    elif new_file is not None:
        write_starter_file(new_file, name, model)
    elif json_schema:
        print_schema()
    else:
        check_together(resume, out, bool(against), rounds, None if dry_run else device)
        name = name or resume or "smoke"
        sides = sides_of(name, against, (*settings, *["check_integrity=true"] * check_integrity), model)
        sides = on_twins(sides, twin, address)
        if dry_run:
            show_plan(sides, rounds or ROUNDS, like, address, device)
        from engine_probe.commands.sweep.in_turns import measure_in_turns
        from engine_probe.commands.sweep.measure import measure
        from engine_probe.commands.sweep.sweep_argument import check_before_start

        check_before_start(sides, address is not None)
        one = partial(measure, name=title_of(name), address=address, force=force, verbose=verbose)
        if against:
            sys.exit(measure_in_turns(sides, rounds or ROUNDS, local(out or new_folder(name)), one))
        sys.exit(one(sides[0], out=out or new_folder(name), resume=resume))


def check_together(resume: str | None, out: str | None, against: bool, rounds: int | None, device: str | None) -> None:
    """Refuse options that contradict each other; `device` is None for a dry run, which may name any."""
    if device is not None:
        raise InputError(f"--device {device} is for --dry-run: a sweep runs on the GPUs that are here")
    if rounds is not None and not against:
        raise InputError(f"--rounds {rounds} counts the sweeps of each side with --against: name the other side")
    if resume is None:
        return
    check_resumable(resume)
    if out is not None:
        raise InputError("--resume and --out are both given: resuming writes to the same folder, so leave --out out")
    if against:
        raise InputError(
            f"--resume {resume} goes on with one sweep: leave --against out, and compare the folders afterwards"
        )


def sides_of(name: str, against: tuple[str, ...], settings: tuple[str, ...], model: str | None) -> list[SweepFile]:
    """Read the sweep, and the one that it is compared with."""
    from engine_probe.commands.sweep.sweep_argument import read, read_sides
    from engine_probe.files.config_file import check_given_once

    check_given_once(settings)
    return read_sides(name, against, settings, model) if against else [read(name, settings, model)]


def show_plan(sides: list[SweepFile], rounds: int, like: Path | None, address: str | None, device: str | None) -> Never:
    from engine_probe.commands.sweep.dry_run import predict_all

    predict_all(sides, rounds, like, address, device)
    sys.exit()


def on_twins(sides: list[SweepFile], twin: str | None, address: str | None) -> list[SweepFile]:
    """Return the sweeps, with twins in place of their engines if --twin names recordings."""
    if twin is None:
        return sides
    from engine_probe.commands.sweep.twin import predicted

    if address is not None:
        raise InputError(f"--twin {twin} predicts on this machine: leave --ray {address} out")
    return [predicted(side, twin) for side in sides]


def local(out: str) -> Path:
    """Refuse a URI: what is measured in turns is compared on this machine."""
    from engine_probe.recordings.remote_folder import is_uri

    if is_uri(out):
        raise InputError(f"--out {out}: with --against the sweeps are written to this machine: name a folder")
    return Path(out)


def list_sweeps() -> None:
    from engine_probe.sweep.definition.loader import read_sweep, shipped_names

    for shipped in shipped_names():
        click.echo(f"{shipped:24} {read_sweep(shipped).question}")


def print_schema() -> None:
    from engine_probe.sweep.definition import file_schema

    click.echo(json.dumps(file_schema.json_schema(), indent=1))


def write_starter_file(path: Path, name: str | None, model: str | None) -> None:
    from engine_probe.engine.build import check_model
    from engine_probe.files.new_file import fresh_file
    from engine_probe.sweep.definition import starter_file

    if name is not None:
        raise InputError(f"--init {path} writes a new sweep file: leave {name} out")
    check_model(model or starter_file.MODEL)
    with fresh_file(path) as file:
        file.write(starter_file.starter_file(model or starter_file.MODEL).encode())
    click.echo(f"wrote {path}: engine_probe sweep {path} --dry-run shows its points", err=True)
