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
    from engine_probe.sweep.result import Row

PIPED_WIDTH = 80


@click.command("sweep")
@click.argument("name", required=False)
@click.option("--list", "list_only", is_flag=True, help="List the shipped sweeps and what each asks.")
@click.option("--dry-run", is_flag=True, help="Show the points, how they fit and how long they take.")
@click.option("--like", type=click.Path(path_type=Path), help="Earlier sweeps to predict times from [default: runs].")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change the sweep: workload.output_len=8.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the results [default: runs/<name>-<time>].")
@click.option("--resume", type=click.Path(path_type=Path), help="Go on in this folder; what is complete is kept.")
@click.option("--verbose", "-v", is_flag=True, help="Show what vLLM says, too; it is in <folder>/engine.log anyway.")
@click.option("--force", is_flag=True, help="Record a vLLM version that the probe does not know.")
def command(
    name: str | None,
    list_only: bool,
    dry_run: bool,
    like: Path | None,
    settings: tuple[str, ...],
    out: Path | None,
    resume: Path | None,
    verbose: bool,
    force: bool,
) -> None:
    """Measure the points of NAME and record every iteration of each.

    NAME is a shipped sweep [default: smoke], a TOML file, or the folder of an earlier sweep; with --resume it is what
    was asked there.
    """
    from engine_probe.sweep.plan import check_files, points, read_sweep, shipped_names

    if list_only:
        for shipped in shipped_names():
            click.echo(f"{shipped:24} {read_sweep(shipped).question}")
        return
    from engine_probe.hardware import visible_gpus
    from engine_probe.sweep.fit import check_cards, check_fit

    name = name or (str(resume) if resume else "smoke")
    sweep = read_sweep(name, settings)
    check_fit(points(sweep))
    if dry_run:
        predict(sweep, like)
        return
    check_files(points(sweep))
    check_cards(points(sweep), visible_gpus())
    check_version(force)
    folder = resume or out or Path("runs") / f"{Path(name).stem}-{datetime.now():%Y%m%dT%H%M%S}"
    if resume is None:
        make_folder(folder)
    elif not folder.is_dir():
        raise InputError(f"there is no folder {folder} to go on in: name the folder of a sweep with --resume")
    click.echo(f"{Path(name).stem}: {sweep.question}", err=True)
    rows: list[Row] = []
    try:
        run(sweep, folder, verbose, force, rows)
    except KeyboardInterrupt:
        click.echo(f"interrupted: what is complete is kept; go on with --resume {folder}", err=True)
        sys.exit(130)
    finally:
        if rows:
            show(rows, folder)
    sys.exit(exit_code(rows))


def predict(sweep: SweepFile, like: Path | None) -> None:
    from rich.console import Console

    from engine_probe.hardware import hardware_facts
    from engine_probe.sweep.dry_run import show_points
    from engine_probe.sweep.fit import check_cards
    from engine_probe.sweep.history import checked_folder, earlier
    from engine_probe.sweep.plan import points

    hardware = hardware_facts()
    check_cards(points(sweep), hardware["gpus"])
    where = checked_folder(like) if like else Path("runs")
    show_points(sweep, earlier(where, hardware), where, hardware, Console(highlight=False))


def exit_code(rows: list[Row]) -> int:
    """0 when every point is measured, 1 when some are; when none is, why, and the code of that."""
    from engine_probe.sweep.result import SKIPPED, Unmeasured

    lost = [row for row in rows if isinstance(row, Unmeasured) and row.status != SKIPPED]
    if lost and len(lost) == len(rows):
        click.echo(f"engine_probe: {lost[-1].reason}", err=True)
        return lost[-1].exit_code
    return 1 if lost else 0


def make_folder(folder: Path) -> None:
    """New or empty."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} already holds something and is never overwritten: name another folder with --out")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UnavailableError(f"cannot write to {folder}: {error.strerror}; name another folder with --out") from error


def run(sweep: SweepFile, folder: Path, verbose: bool, force: bool, rows: list[Row]) -> None:
    """Shows every event, and adds the row of every point to `rows`."""
    from engine_probe.sweep.plan import points
    from engine_probe.sweep.result import PointResult, Unmeasured, Unwatched
    from engine_probe.sweep.run import LOG_FILE, run_sweep
    from engine_probe.sweep.screen import PlainScreen, Screen, TerminalScreen

    todo = [] if sweep.adaptive else points(sweep)  # a search adds its own
    plain = verbose or not sys.stderr.isatty()
    screen: Screen = PlainScreen(todo, folder / LOG_FILE if verbose else None) if plain else TerminalScreen(todo)
    with screen, closing(run_sweep(sweep, folder, todo, force)) as events:
        for event in events:
            screen.show(event)
            if isinstance(event, PointResult | Unmeasured | Unwatched):
                rows.append(event)


def show(rows: list[Row], folder: Path) -> None:
    from rich.console import Console

    from engine_probe.sweep.driven import between
    from engine_probe.sweep.result import Unmeasured
    from engine_probe.sweep.run import LOG_FILE
    from engine_probe.sweep.screen import idle_line, show_results
    from engine_probe.sweep.watching import watching, watching_line

    piped = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    console = Console(width=PIPED_WIDTH if piped else None, highlight=False)
    console.print()
    show_results(rows, console)
    if pairs := watching(rows):
        console.print(watching_line(pairs))
    if idle := between(row.driven for row in rows if not isinstance(row, Unmeasured) and row.driven):
        console.print(idle_line(idle), style="dim")
    console.print(
        f"Every iteration is recorded below {folder}/points; what vLLM said is in {folder / LOG_FILE}.", soft_wrap=True
    )
