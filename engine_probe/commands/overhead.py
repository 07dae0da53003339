"""`engine_probe overhead`: the cost of the probe on this machine."""

from __future__ import annotations

import logging
import os
import platform
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine_probe.commands.options.engine_options import GroupedCommand, under
from engine_probe.errors import InputError
from engine_probe.files.new_file import STANDARD_OUTPUT, check_free
from engine_probe.hook.vllm_versions import check_version, installed_vllm
from engine_probe.record.probe_calibration import Uncounted, store
from kernels_bench.devices.cpu import cpu
from kernels_bench.options import FILE

if TYPE_CHECKING:
    from engine_probe.overhead.probe import Cost


what, output = under("What is measured"), under("Output")


@click.command("overhead", cls=GroupedCommand)
@what(
    "--running",
    multiple=True,
    type=click.IntRange(1, 4096),
    help="Number of running requests; may be repeated [default: 1, 32, 256, 1024].",
)
@what("--rounds", type=click.IntRange(2, 200), help="Rounds of alternating blocks [default: 15].")
@what("--force", is_flag=True, help="Measure with an unsupported vLLM version anyway.")
@output("--json", "json_file", metavar="FILE", type=FILE, help="Also write every figure to this new file.")
def command(json_file: Path | None, running: tuple[int, ...], rounds: int | None, force: bool) -> None:
    """Measure the cost of the probe and compare it with that of vLLM's statistics.

    The real scheduler runs with an executor that computes nothing, in one process, in alternating blocks: nothing on,
    the probe, vLLM's statistics, statistics with iteration details. Takes about two minutes.
    """
    check_version(force)
    if json_file == STANDARD_OUTPUT:
        raise InputError("--json -: standard output already shows the table: name a new file")
    check_free(json_file)
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")

    from engine_probe.overhead.probe import ROUNDS, RUNNING

    levels, rounds = running or RUNNING, rounds or ROUNDS
    costs = measure_live(levels, rounds)
    show(costs)
    uncounted = [Uncounted(cost.running, cost.uncounted_ns, cost.uncounted_half_width_ns) for cost in costs]
    click.echo(f"stored for later recordings on this machine: {store(cpu().identity, uncounted)}")
    if json_file is not None:
        write(json_file, costs)
        click.echo(f"written to {json_file}")


def measure_live(levels: tuple[int, ...], rounds: int) -> list[Cost]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from engine_probe.overhead.probe import run

    logging.getLogger("vllm").setLevel(logging.ERROR)
    console = Console(stderr=True)
    columns = (TimeElapsedColumn(), BarColumn(None), TextColumn("{task.description}"))
    piped = not console.is_terminal
    with Progress(*columns, console=console, transient=True, expand=True, disable=piped) as bars:
        task = bars.add_task("", total=len(levels) * rounds)

        def say(what: str) -> None:
            bars.update(task, description=what)
            if piped:
                click.echo(what, err=True)

        return list(run(levels, rounds, lambda: bars.advance(task), say))


def microseconds(ns: float) -> str:
    return f"{ns / 1e3:.1f}" if abs(ns) < 1e5 else f"{ns / 1e3:.0f}"


def show(costs: list[Cost]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from engine_probe.overhead.probe import empty_file_bytes

    table = Table(box=box.SIMPLE_HEAD, show_edge=False)
    table.add_column("µs per iteration, at")
    for cost in costs:
        table.add_column(f"{cost.running} running", justify="right", no_wrap=True)

    def row(name: str, figure: Callable[[Cost], str]) -> None:
        table.add_row(name, *map(figure, costs))

    row("step, nothing on", lambda cost: microseconds(cost.step_ns))
    row("  of which schedule()", lambda cost: microseconds(cost.schedule_ns))
    row("[bold]probe[/]", lambda cost: spread(cost, "probe", cost.probe_ns))
    row("  counted by itself", lambda cost: microseconds(cost.probe_counted_ns))
    row("  not counted", lambda cost: " ± ".join(map(microseconds, (cost.uncounted_ns, cost.uncounted_half_width_ns))))
    row("  of schedule()", lambda cost: f"{cost.share_of_schedule:.2%}")
    row("vLLM's statistics", lambda cost: spread(cost, "statistics", cost.statistics_ns))
    row("  with details", lambda cost: spread(cost, "details", cost.details_ns))
    row("  a snapshot each 200 ms", lambda cost: microseconds(cost.snapshot_ns))
    row("[bold]details / probe[/]", times_cheaper)
    row("bytes on disk, of a row alone", lambda cost: f"{cost.disk_bytes:.0f}")
    console = Console(highlight=False)
    console.print(table)
    console.print(
        f"Medians of {costs[0].rounds} rounds of pairs; ± is half the interquartile range, and half the 95 % interval "
        "of the mean for what the probe does not count. "
        "A probe cost below its ± is not significant, and has no ratio. The caches are warm, telemetry is off; "
        f"a recording's file has {empty_file_bytes():,} bytes besides its rows.",
        style="dim",
    )


def spread(cost: Cost, mode: str, ns: float) -> str:
    return f"{microseconds(ns)} ± {microseconds(cost.spread_ns[mode])}"


def times_cheaper(cost: Cost) -> str:
    ratio = cost.times_cheaper(cost.details_ns)
    return "-" if ratio is None else f"{ratio:.1f}"


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
