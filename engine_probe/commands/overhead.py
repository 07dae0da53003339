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
    from rich.table import Table

    from engine_probe.overhead.paired import PairedEstimate
    from engine_probe.overhead.probe import Costs, StepCost


what, output = under("What is measured"), under("Output")


@click.command("overhead", cls=GroupedCommand)
@what(
    "--running",
    multiple=True,
    type=click.IntRange(1, 4096),
    help="Number of running requests; may be repeated [default: 1, 32, 256].",
)
@what(
    "--pairs",
    type=click.IntRange(100, 3_800),
    help="Pairs of steps with and without the probe, at each load [default: 2,000].",
)
@what("--force", is_flag=True, help="Measure with an unsupported vLLM version anyway.")
@output("--json", "json_file", metavar="FILE", type=FILE, help="Also write every figure to this new file.")
def command(json_file: Path | None, running: tuple[int, ...], pairs: int | None, force: bool) -> None:
    """Measure the cost of the probe and compare it with that of vLLM's statistics.

    The real scheduler runs in one process, with an executor that computes nothing and from cold caches. Its steps take
    turns: nothing switched on, the probe, vLLM's statistics, those with iteration details. Takes about three minutes.
    """
    check_version(force)
    if json_file == STANDARD_OUTPUT:
        raise InputError("--json -: standard output already shows the table: name a new file")
    check_free(json_file)
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")

    from engine_probe.overhead.probe import PAIRS, RUNNING

    costs = measure_live(running or RUNNING, pairs or PAIRS)
    show(costs)
    uncounted = [Uncounted(each.running, each.uncounted_ns.median, each.uncounted_ns.half_width) for each in costs.core]
    stored = store(cpu().identity, uncounted, costs.collective_ns.median)
    click.echo(f"stored for later recordings on this machine: {stored}")
    if json_file is not None:
        write(json_file, costs)
        click.echo(f"written to {json_file}")


def measure_live(levels: tuple[int, ...], pairs: int) -> Costs:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from engine_probe.overhead.probe import run

    logging.getLogger("vllm").setLevel(logging.ERROR)
    console = Console(stderr=True)
    columns = (TimeElapsedColumn(), BarColumn(None), TextColumn("{task.description}"))
    piped = not console.is_terminal
    with Progress(*columns, console=console, transient=True, expand=True, disable=piped) as bars:
        task = bars.add_task("", total=(3 + len(levels)) * pairs)

        def say(what: str) -> None:
            bars.update(task, description=what)
            if piped:
                click.echo(what, err=True)

        return run(levels, pairs, lambda: bars.advance(task), say)


def show(costs: Costs) -> None:
    from rich.console import Console

    from engine_probe.overhead.probe import empty_file_bytes

    console = Console(highlight=False)
    console.print(cost_table(costs))
    console.print(
        f"CPU time; medians of {costs.core[0].pairs:,} pairs of steps from cold caches, with their 95% intervals. The "
        "hot path is the probe's code in a step; the whole step has its side effects, too. Telemetry is off; a "
        f"recording's file has {empty_file_bytes():,} bytes besides its rows.\n",
        style="dim",
    )
    console.print(budget_table(costs))
    console.print(
        f"\nOf the worker's hooks, passing the calls on takes {interval(costs.passing_ns)} µs: no hook takes less."
    )
    console.print(
        f"Timing a collective, as an eager CPU engine with tensor parallelism does: "
        f"{interval(costs.collective_ns)} µs each, without a budget."
    )


def cost_table(costs: Costs) -> Table:
    from engine_probe.report.renderers.plain_table import plain_table

    table = plain_table()
    table.add_column("µs per step, at")
    for cost in costs.core:
        table.add_column(f"{cost.running} running", justify="right", no_wrap=True)

    def row(name: str, figure: Callable[[StepCost], str]) -> None:
        table.add_row(name, *map(figure, costs.core))

    row("step, probe off", lambda cost: microseconds(cost.step_ns))
    row("[bold]probe[/], hot path", lambda cost: interval(cost.hot_path_ns))
    row("  as a share of schedule()", lambda cost: interval(cost.of_schedule, "{:.2%}".format))
    row("  whole step", lambda cost: interval(cost.probe_ns))
    row("  by its own clock", lambda cost: microseconds(cost.probe_counted_ns))
    row("  not counted", lambda cost: interval(cost.uncounted_ns))
    row("vLLM's statistics", lambda cost: interval(cost.statistics_ns))
    row("  with details", lambda cost: interval(cost.details_ns))
    row("  a snapshot each 200 ms", lambda cost: microseconds(cost.snapshot_ns))
    row("bytes on disk, of a row alone", lambda cost: f"{cost.disk_bytes:.0f}")
    return table


def budget_table(costs: Costs) -> Table:
    from engine_probe.overhead.probe import budgets
    from engine_probe.report.renderers.plain_table import plain_table

    table = plain_table("budget", "limit", "measured", "")
    for each in budgets(costs):
        if each.unit:
            limit, found = f"at most {microseconds(each.limit)} µs", interval(each.found)
        else:
            limit, found = f"at least {each.limit:g}", interval(each.found, "{:.1f}".format)
        table.add_row(each.what, limit, found, each.verdict)
    return table


def microseconds(ns: float) -> str:
    return f"{ns / 1e3:.1f}" if abs(ns) < 1e5 else f"{ns / 1e3:.0f}"


def interval(found: PairedEstimate, form: Callable[[float], str] = microseconds) -> str:
    return f"{form(found.median)} [{form(found.low)}, {form(found.high)}]".replace("[", "\\[")


def write(path: Path, costs: Costs) -> None:
    import msgspec

    from engine_probe.overhead.probe import budgets

    found = installed_vllm()
    facts = {
        "command": " ".join(["engine_probe", *sys.argv[1:]]),
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "vllm": " ".join(found) if found else None,
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "unit": "ns per iteration unless named otherwise",
        "worker_ns": costs.worker_ns,
        "passing_ns": costs.passing_ns,
        "collective_ns": costs.collective_ns,
        "core": costs.core,
        "budgets": list(budgets(costs)),
    }
    with path.open("xb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(facts)) + b"\n")
