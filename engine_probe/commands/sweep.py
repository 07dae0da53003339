"""`engine_probe sweep`: measure a grid of points on a real engine."""

from __future__ import annotations

import os
import sys
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine_probe.errors import InputError, UnavailableError
from engine_probe.hook.engine import check_version

if TYPE_CHECKING:
    from engine_probe.sweep.plan import SweepFile
    from engine_probe.sweep.result import PointResult, Unmeasured

PIPED_WIDTH = 80


@click.command("sweep")
@click.argument("name", default="smoke")
@click.option("--list", "list_only", is_flag=True, help="List the shipped sweeps and what each asks.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the results [default: runs/<name>-<time>].")
@click.option("--verbose", "-v", is_flag=True, help="Show what vLLM says, too; it is in <folder>/engine.log anyway.")
@click.option("--force", is_flag=True, help="Record a vLLM version that the probe does not know.")
def command(name: str, list_only: bool, out: Path | None, verbose: bool, force: bool) -> None:
    """Measure the points of NAME (a shipped sweep, or a TOML file) and record every iteration of each."""
    from engine_probe.sweep.plan import read_sweep, shipped_names

    if list_only:
        for shipped in shipped_names():
            click.echo(f"{shipped:24} {read_sweep(shipped).question}")
        return
    sweep = read_sweep(name)
    check_version(force)
    folder = out or Path("runs") / f"{Path(name).stem}-{datetime.now():%Y%m%dT%H%M%S}"
    make_folder(folder)
    click.echo(f"{Path(name).stem}: {sweep.question}", err=True)
    results: list[PointResult | Unmeasured] = []
    try:
        run(sweep, folder, verbose, force, results)
    except KeyboardInterrupt:
        click.echo("interrupted: the points below are complete, the one that ran is readable up to there", err=True)
        sys.exit(130)
    finally:
        if results:
            show(results, folder)
    if any(result.status != "complete" for result in results):
        sys.exit(1)


def make_folder(folder: Path) -> None:
    """New or empty; the log of an engine that never measured anything may be there."""
    from engine_probe.sweep.run import LOG_FILE

    if folder.exists() and (not folder.is_dir() or any(entry.name != LOG_FILE for entry in folder.iterdir())):
        raise InputError(f"{folder} already holds something and is never overwritten: name another folder with --out")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UnavailableError(f"cannot write to {folder}: {error.strerror}; name another folder with --out") from error


def run(sweep: SweepFile, folder: Path, verbose: bool, force: bool, results: list[PointResult | Unmeasured]) -> None:
    """Shows every event, and adds every point to `results`."""
    from engine_probe.sweep.plan import points
    from engine_probe.sweep.result import PointResult, Unmeasured
    from engine_probe.sweep.run import LOG_FILE, run_sweep
    from engine_probe.sweep.screen import PlainScreen, Screen, TerminalScreen

    todo = points(sweep)
    plain = verbose or not sys.stderr.isatty()
    screen: Screen = PlainScreen(todo, folder / LOG_FILE if verbose else None) if plain else TerminalScreen(todo)
    with screen, closing(run_sweep(sweep, folder, force)) as events:
        for event in events:
            screen.show(event)
            if isinstance(event, PointResult | Unmeasured):
                results.append(event)


def show(results: list[PointResult | Unmeasured], folder: Path) -> None:
    from rich.console import Console

    from engine_probe.sweep.run import LOG_FILE
    from engine_probe.sweep.screen import show_results

    piped = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    console = Console(width=PIPED_WIDTH if piped else None, highlight=False)
    console.print()
    show_results(results, console)
    console.print(
        f"Every iteration is recorded below {folder}/points; what vLLM said is in {folder / LOG_FILE}.", soft_wrap=True
    )
