"""`engine_probe overhead`: what the probe itself costs on this machine."""

from __future__ import annotations

import logging
import os
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine_probe.errors import InputError
from engine_probe.hook.engine import check_version
from engine_probe.hook.versions import installed_vllm

if TYPE_CHECKING:
    from engine_probe.overhead import Cost


@click.command("overhead")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write every figure to this new file, too.")
@click.option("--running", multiple=True, type=click.IntRange(1, 4096), help="Running requests [1, 32, 256, 1024].")
@click.option("--rounds", type=click.IntRange(2, 200), help="Rounds of alternating blocks [15].")
@click.option("--force", is_flag=True, help="Measure with a vLLM version that the probe does not know.")
def command(json_file: Path | None, running: tuple[int, ...], rounds: int | None, force: bool) -> None:
    """Measure the probe against vLLM's own statistics.

    The real scheduler runs over an executor that computes nothing, in one process, alternating: off / probe /
    statistics / statistics with iteration details. About two minutes.
    """
    check_version(force)
    if json_file is not None and json_file.exists():
        raise InputError(f"{json_file} is there already and is never overwritten: name another file with --json")
    if json_file is not None and not json_file.parent.is_dir():
        raise InputError(f"{json_file.parent} is no folder: name a file in one that is there with --json")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")

    from engine_probe.overhead import ROUNDS, RUNNING

    levels, rounds = running or RUNNING, rounds or ROUNDS
    costs = measure_live(levels, rounds)
    show(costs)
    if json_file is not None:
        write(json_file, costs)
        click.echo(f"written to {json_file}")


def measure_live(levels: tuple[int, ...], rounds: int) -> list[Cost]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from engine_probe.overhead import run

    logging.getLogger("vllm").setLevel(logging.ERROR)
    console = Console(stderr=True)
    columns = (TimeElapsedColumn(), BarColumn(20), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        task = bars.add_task("", total=len(levels) * rounds)

        def say(what: str) -> None:
            bars.update(task, description=what)
            if not console.is_terminal:
                click.echo(what, err=True)

        return list(run(levels, rounds, lambda: bars.advance(task), say))


def microseconds(ns: float) -> str:
    return f"{ns / 1e3:.1f}" if abs(ns) < 1e5 else f"{ns / 1e3:.0f}"


def show(costs: list[Cost]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    titles = (
        "run-\nning",
        "step",
        "sched-\nule()",
        "probe",
        "±",
        "own\ncount",
        "of sche-\ndule()",
        "statis-\ntics",
        "±",
    )
    for title in (*titles, "with\ndetails", "snap-\nshot", "details\n/probe", "bytes\n/row"):
        table.add_column(title, justify="right", no_wrap=True)
    for cost in costs:
        ratio = cost.times_cheaper(cost.details_ns)
        table.add_row(
            str(cost.running),
            *map(microseconds, (cost.step_ns, cost.schedule_ns, cost.probe_ns, cost.spread_ns["probe"])),
            microseconds(cost.probe_counted_ns),
            f"{cost.share_of_schedule:.2%}",
            *map(microseconds, (cost.statistics_ns, cost.spread_ns["statistics"], cost.details_ns, cost.snapshot_ns)),
            "-" if ratio is None else f"{ratio:.1f}",
            f"{cost.disk_bytes:.0f}",
        )
    console = Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else 120, highlight=False)
    console.print(table)
    console.print(
        f"µs per iteration, medians of {costs[0].rounds} rounds of pairs; ± is half the distance between the "
        "quartiles.\nstatistics, details, snapshot: vLLM's own, the last once in 200 ms; own count: what the probe "
        "counts\nof itself. A probe cost below its ± is not told from nothing: no ratio is given.",
        style="dim",
    )


def write(path: Path, costs: list[Cost]) -> None:
    import msgspec

    found = installed_vllm()
    facts = {
        "command": " ".join(["engine_probe", *sys.argv[1:]]),
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "vllm": " ".join(found) if found else None,
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "unit": "ns per iteration unless named otherwise",
        "costs": costs,
    }
    with path.open("xb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(facts)) + b"\n")
