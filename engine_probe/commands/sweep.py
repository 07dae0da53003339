"""`engine_probe sweep`: measure a grid of points on a real engine."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine_probe.errors import InputError, UnavailableError
from engine_probe.hook.engine import check_version

if TYPE_CHECKING:
    from engine_probe.sweep.run import PointResult


@click.command("sweep")
@click.argument("name", default="smoke")
@click.option("--list", "list_only", is_flag=True, help="List the shipped sweeps and what each asks.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the results [default: runs/<name>-<time>].")
@click.option("--force", is_flag=True, help="Record a vLLM version that the probe does not know.")
def command(name: str, list_only: bool, out: Path | None, force: bool) -> None:
    """Measure the points of NAME (a shipped sweep, or a TOML file) and record every iteration of each."""
    from engine_probe.sweep.plan import read_sweep, shipped_names

    if list_only:
        for shipped in shipped_names():
            click.echo(f"{shipped:24} {read_sweep(shipped).question}")
        return
    sweep = read_sweep(name)
    check_version(force)
    folder = out or Path("runs") / f"{Path(name).stem}-{datetime.now():%Y%m%dT%H%M%S}"
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} already holds something and is never overwritten: name another folder with --out")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UnavailableError(f"cannot write to {folder}: {error.strerror}; name another folder with --out") from error
    click.echo(f"{name}: {sweep.question}", err=True)

    from engine_probe.sweep.run import run_sweep

    results = run_sweep(sweep, folder, lambda line: click.echo(line, err=True), say_point)
    show(results, folder)
    if any(result.status != "complete" for result in results):
        sys.exit(1)


def say_point(result: PointResult) -> None:
    click.echo(
        f"  {result.point.concurrency} requests at once: {result.output_tokens_per_s:.1f} tokens/s "
        f"over {result.seconds:.1f} s",
        err=True,
    )


def show(results: list[PointResult], folder: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="What the engine did, counted in every iteration")
    for column in ("requests", "steps", "tokens/s", "peak running", "peak waiting", "peak KV", "preempted"):
        table.add_column(column, justify="right")
    for result in results:
        table.add_row(
            str(result.point.concurrency),
            str(result.iterations),
            f"{result.output_tokens_per_s:.1f}",
            str(result.peak_running),
            str(result.peak_waiting),
            f"{result.peak_kv_share:.0%}",
            str(result.preemptions),
        )
    console = Console()
    console.print(table)
    console.print(f"Recorded in {folder}: points/<id>/ holds every iteration as Arrow.", soft_wrap=True)
