"""The run of `engine_probe sweep`: its engines, its screen, its report and its exit code."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import click
import msgspec

from engine_probe.commands.options.console import PIPED_WIDTH, output_console
from engine_probe.commands.options.result_location import Results, holds_steps, open_results
from engine_probe.commands.sweep.sweep_argument import caution
from engine_probe.errors import INTERRUPTED
from engine_probe.hook.vllm_versions import check_version
from engine_probe.hook.workers.operators import check_torch
from engine_probe.record.run_folder import COMPLETE
from engine_probe.recordings.curve import curves
from engine_probe.recordings.sweep import open_sweep
from engine_probe.report.brief_document import LINES
from engine_probe.report.renderers.terminal import print_document
from engine_probe.report.sweep_report import sweep_document
from engine_probe.sweep.definition.perplexity_points import texts
from engine_probe.sweep.definition.sweep_file import Point, SweepFile, points
from engine_probe.sweep.execution.engine_run import Engines, LocalEngines
from engine_probe.sweep.execution.events import Event
from engine_probe.sweep.execution.folders import LOG_FILE, LOG_STEM, PARTIAL, POINTS, rows_of
from engine_probe.sweep.execution.oversized_points import Reasons, beyond_fleet, beyond_machine, check_any_left, told
from engine_probe.sweep.execution.repeated_failures import NOT_TRIED
from engine_probe.sweep.execution.runner import SweepRun
from engine_probe.sweep.fleet.ray_cluster import connected
from engine_probe.sweep.fleet.resources import check_claims, mixed_gpus
from engine_probe.sweep.fleet.runner import Fleet
from engine_probe.sweep.progress.fleet_screens import FleetPlain, FleetTerminal
from engine_probe.sweep.progress.screens import PlainScreen, Screen, TerminalScreen, can_draw
from engine_probe.sweep.results.driver_log import between
from engine_probe.sweep.results.point_results import FAILED, SKIPPED, Row, Unmeasured
from engine_probe.telemetry.hardware import visible_gpus
from engine_probe.text_format import plain
from kernels_bench.devices.cpu import cpu


def measure(
    sweep: SweepFile,
    name: str,
    address: str | None,
    force: bool,
    out: str,
    resume: str | None = None,
    verbose: bool = False,
    report: bool = True,
    heading: str = "",
) -> int:
    """Run the sweep, report what came of it, also after Ctrl-C, and return the exit code."""
    asked = [*points(sweep), *texts(sweep)]
    with fleet(address, asked, force) if address else here(asked, force) as (engines, left_out):
        rows: list[Row] = []
        with closing(open_results(resume, out)) as results:
            click.echo(plain(f"{name}: {sweep.question}"), err=True)
            for line in filter(None, [caution(sweep), *told(asked, left_out)]):
                click.echo(plain(line), err=True)
            try:
                run(sweep, results, verbose, force, rows, engines, left_out, heading)
            except KeyboardInterrupt:
                click.echo(interrupted(results, bool(rows), resume is not None), err=True)
                return INTERRUPTED
            finally:
                if report and any(row.status == COMPLETE for row in rows):
                    show(rows, results)
    return exit_code(rows, sweep.search is not None)


def interrupted(results: Results, any_rows: bool, resumed: bool) -> str:
    """Say what is kept; where nothing was recorded, leave nothing behind."""
    if any_rows or resumed or holds_results(results.folder):
        return f"interrupted: what is complete is kept; continue with --resume {results.location}"
    results.discard()
    return "interrupted before anything was recorded"


def holds_results(folder: Path) -> bool:
    """Return whether a row was saved, a recording has iterations, or one was still being copied from its machine."""
    points = folder / POINTS
    is_recorded = any(points.glob(f".*{PARTIAL}")) or any(map(holds_steps, points.glob("*")))
    return is_recorded or bool(rows_of(folder, lambda row: True))


@contextmanager
def here(found: list[Point], force: bool) -> Iterator[tuple[Engines, Reasons]]:
    """Yield this machine's engines, and the points that it cannot hold; refuse a sweep of which it can hold none."""
    gpus = visible_gpus()
    left_out = beyond_machine(found, gpus, cpu().memory_bytes)
    check_any_left(found, left_out)
    check_version(force)
    if any(point.operators is not None for point in found):
        check_torch()
    yield LocalEngines(len(gpus)), left_out


@contextmanager
def fleet(address: str, found: list[Point], force: bool) -> Iterator[tuple[Engines, Reasons]]:
    """Refuse a sweep whose machines can hold none of its points, or have other versions of the programs."""
    with connected(address) as cluster:
        nodes = cluster.nodes()
        left_out = beyond_fleet(found, nodes)
        check_any_left(found, left_out)
        fit = check_claims([point.engines for point in found if point.key not in left_out], nodes)
        cluster.check_installed(fit, force)
        if warning := mixed_gpus(fit):
            click.echo(warning, err=True)
        yield Fleet(cluster), left_out


def exit_code(rows: list[Row], failures_are_results: bool) -> int:
    """0 when every point is measured, 1 when some are; when none is, why, and the code of that.

    In a search over engine arguments, a setting that cannot run is a result.
    """
    lost = [row for row in rows if isinstance(row, Unmeasured) and row.status != SKIPPED]
    if lost and len(lost) == len(rows):
        tried = [row for row in lost if not row.reason.startswith(NOT_TRIED)]
        last = (tried or lost)[-1]
        click.echo("\n".join(map(plain, f"engine_probe: {last.reason}".splitlines())), err=True)
        return last.exit_code
    return 1 if lost and not failures_are_results else 0


def run(
    sweep: SweepFile,
    results: Results,
    verbose: bool,
    force: bool,
    rows: list[Row],
    engines: Engines,
    left_out: Reasons,
    heading: str = "",
) -> None:
    """Show every event, and add the row of every point to `rows`."""
    todo = [] if sweep.adaptive or sweep.search else [*points(sweep), *texts(sweep)]  # a search adds its own
    reasons: set[str] = set()
    try:
        with screen_for(engines, todo, results.folder, verbose, heading) as screen:

            def listen(event: Event, group: int | None) -> None:
                screen.show(without_repetition(event, reasons), group)
                if isinstance(event, Row):
                    rows.append(event)
                    results.send()

            SweepRun(sweep, results.folder, todo, listen, engines, force, left_out).run()
    finally:  # engines side by side end theirs in any order, and those of an interrupted sweep are shown, too
        order = {point.key: number for number, point in enumerate(todo)}
        rows.sort(key=lambda row: order[row.id])


def without_repetition(event: Event, reasons: set[str]) -> Event:
    """Return the event; where a point failed for one of the reasons that were shown, say so in short."""
    if not isinstance(event, Unmeasured) or event.status != FAILED:
        return event
    if event.reason in reasons:
        short = f"{NOT_TRIED}as above" if event.reason.startswith(NOT_TRIED) else "failed, as above"
        return msgspec.structs.replace(event, reason=short)
    reasons.add(event.reason)
    return event


def screen_for(engines: Engines, todo: list[Point], folder: Path, verbose: bool, heading: str) -> Screen:
    lines = verbose or not can_draw()
    if isinstance(engines, LocalEngines):
        return (
            PlainScreen(todo, folder / LOG_FILE if verbose else None)
            if lines
            else TerminalScreen(todo, heading=heading)
        )
    return FleetPlain(todo, verbose) if lines else FleetTerminal(todo)


def show(rows: list[Row], results: Results) -> None:
    """Print what `report` prints of the sweep, and where everything is."""
    console = output_console(PIPED_WIDTH)
    console.print()
    swept = replace(open_sweep(results.folder), uri=results.location)
    more = f"engine_probe report {results.location} --verbose shows the rest."
    print_document(sweep_document(swept, curves(swept.points)), console, more=more, lines=LINES)
    if idle := between(row.driven for row in rows if not isinstance(row, Unmeasured) and row.driven):
        console.print(idle.line, style="dim")
    console.print(
        f"Every iteration is recorded in {results.location}/points, vLLM's log in {results.location}/{LOG_STEM}*.log.",
        soft_wrap=True,
    )
