"""`engine_probe report`: what a recording or a sweep says, in the terminal and as a page."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine_probe.commands import goodput_option

if TYPE_CHECKING:
    from rich.console import Console

    from engine_probe.analysis.slo import Slo

PIPED_WIDTH = 100


@click.command("report", cls=goodput_option.WithGoodput)
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--html", "page", type=click.Path(path_type=Path), help="Write one self-contained page to this new file.")
@goodput_option.option
def command(folder: Path, page: Path | None, limits: tuple[str, ...]) -> None:
    """Say what the run or the sweep in FOLDER came to, what limited it, and where its limits are."""
    from rich.console import Console

    from engine_probe.analysis.slo import read_goodput
    from engine_probe.report.fresh_file import fresh_file
    from engine_probe.report.swept import is_sweep

    piped = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    console = Console(width=PIPED_WIDTH if piped else None, highlight=False)
    slo = read_goodput(list(limits))
    make_page, code = (report_sweep if is_sweep(folder) else report_run)(folder, console, slo)
    if page is not None:
        with fresh_file(page) as file:
            file.write(make_page().encode())
        click.echo(f"\n{page}")
    sys.exit(code)


def report_run(folder: Path, console: Console, slo: Slo | None) -> tuple[Callable[[], str], int]:
    from engine_probe.analysis.anatomy import anatomy
    from engine_probe.record.folder import COMPLETE
    from engine_probe.report.overview import print_run
    from engine_probe.report.page import run_page
    from engine_probe.run import load

    run = load(folder)
    found = anatomy(run, slo)
    print_run(run, found, console)
    return lambda: run_page(run, found), 0 if run.status == COMPLETE else 1


def report_sweep(folder: Path, console: Console, slo: Slo | None) -> tuple[Callable[[], str], int]:
    """1 where a point has no whole recording."""
    from engine_probe.report.overview import print_sweep
    from engine_probe.report.page import sweep_page
    from engine_probe.report.sweep_charts import curves
    from engine_probe.report.swept import open_sweep

    swept = open_sweep(folder, slo)
    found = curves(swept)
    print_sweep(swept, found, console)
    return lambda: sweep_page(swept, found), 0 if all(point.anatomy for point in swept.points) else 1
