"""`engine_probe sweep`: measure a grid of points on a real engine."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine_probe.commands.options.engine_options import GroupedCommand, under
from engine_probe.commands.options.result_location import Results, check_resumable, holds_steps, open_results
from engine_probe.errors import INTERRUPTED, InputError
from engine_probe.hook.vllm_versions import check_version
from engine_probe.text_format import plain

if TYPE_CHECKING:
    from engine_probe.sweep.definition.sweep_file import Point, SweepFile
    from engine_probe.sweep.execution.events import Event
    from engine_probe.sweep.execution.local import Ways
    from engine_probe.sweep.progress.screens import Screen
    from engine_probe.sweep.results.point_results import Row

PIPED_WIDTH = 100


what, engine, output = map(under, ("What is measured", "Model and engine", "Output"))


@click.command(
    "sweep",
    cls=GroupedCommand,
    epilog="Example: engine_probe sweep smoke --model tiny --set repeats=1 --dry-run",
)
@click.argument("name", required=False)
@what("--list", "list_only", is_flag=True, help="List the shipped sweeps and the question each answers.")
@what(
    "--init",
    "new_file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Write a commented sweep file to start from.",
)
@what("--json-schema", is_flag=True, help="Print the JSON Schema of sweep files, for editors.")
@what("--dry-run", is_flag=True, help="Show the points, whether they fit and how long they will take; start nothing.")
@what(
    "--like",
    metavar="FOLDER",
    type=click.Path(path_type=Path),
    help="Predict times from the earlier sweeps in this folder [default: runs].",
)
@what(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change a key of the sweep: workload.output_len=8. A list makes an axis. May be repeated.",
)
@engine("--model", help="Measure this model instead of the sweep's.")
@engine(
    "--ray", "address", metavar="ADDRESS", help="Run engines side by side on a Ray cluster: auto, local or HOST:PORT."
)
@engine("--force", is_flag=True, help="Record an unsupported vLLM version anyway.")
@output("--out", metavar="FOLDER", help="New folder, or URI such as s3://... [default: runs/<name>-<time>].")
@output("--resume", metavar="FOLDER", help="Continue the sweep in this folder or URI; complete points are kept.")
@output("--verbose", "-v", is_flag=True, help="Also stream vLLM's log (always saved to engine.log).")
def command(
    name: str | None,
    list_only: bool,
    new_file: Path | None,
    json_schema: bool,
    dry_run: bool,
    like: Path | None,
    settings: tuple[str, ...],
    model: str | None,
    address: str | None,
    force: bool,
    out: str | None,
    resume: str | None,
    verbose: bool,
) -> None:
    """Measure the points of NAME and record every iteration of each.

    NAME is a shipped sweep [default: smoke], a TOML file (docs/sweep_files.md explains its keys), or the folder of an
    earlier sweep; with --resume it is what was asked there.
    """
    from engine_probe.record.run_folder import COMPLETE
    from engine_probe.sweep.definition.checks import check_requests
    from engine_probe.sweep.definition.loader import read_sweep, shipped_names
    from engine_probe.sweep.definition.perplexity_points import check_texts, texts
    from engine_probe.sweep.definition.sweep_file import points

    if list_only:
        for shipped in shipped_names():
            click.echo(f"{shipped:24} {read_sweep(shipped).question}")
        return
    if new_file is not None:
        write_starter_file(new_file, name, model)
        return
    if json_schema:
        from engine_probe.sweep.definition import file_schema

        click.echo(json.dumps(file_schema.json_schema(), indent=1))
        return
    from engine_probe.recordings.remote_folder import is_uri, local_copy
    from engine_probe.sweep.definition.request_memory import check_plans
    from engine_probe.sweep.preflight.memory_fit import check_fit
    from kernels_bench.devices.cpu import cpu

    if resume is not None:
        check_resumable(resume)
        if out is not None:
            raise InputError(
                "--resume and --out are both given: resuming writes to the same folder, so leave --out out"
            )
    name = name or resume or "smoke"
    sweep = read_sweep(str(local_copy(name)) if is_uri(name) else name, settings, model)
    check_fit(points(sweep))
    if dry_run:
        from engine_probe.commands.dry_run import predict

        predict(sweep, like, address)
        return
    if address is None:
        check_plans(points(sweep), cpu().memory_bytes)
    check_requests(points(sweep))
    check_texts(texts(sweep))
    with fleet(address, points(sweep), force) if address else here(points(sweep), force) as ways:
        out = out or str(Path("runs") / f"{Path(name).stem}-{datetime.now():%Y%m%dT%H%M%S}")
        rows: list[Row] = []
        with closing(open_results(resume, out)) as results:
            click.echo(plain(f"{Path(name).stem}: {sweep.question}"), err=True)
            try:
                run(sweep, results, verbose, force, rows, ways)
            except KeyboardInterrupt:
                click.echo(interrupted(results, bool(rows), resume is not None), err=True)
                sys.exit(INTERRUPTED)
            finally:
                if any(row.status == COMPLETE for row in rows):
                    show(rows, results)
    sys.exit(exit_code(rows))


def write_starter_file(path: Path, name: str | None, model: str | None) -> None:
    from engine_probe.engine.build import check_model
    from engine_probe.files.new_file import fresh_file
    from engine_probe.sweep.definition import starter_file

    if name is not None:
        raise InputError(f"--init {path} writes a file of its own: leave {name} out")
    check_model(model or starter_file.MODEL)
    with fresh_file(path) as file:
        file.write(starter_file.starter_file(model or starter_file.MODEL).encode())
    click.echo(f"{path} is written: engine_probe sweep {path} --dry-run shows its points", err=True)


def interrupted(results: Results, any_rows: bool, resumed: bool) -> str:
    """Say what is kept; where nothing was recorded, leave nothing behind."""
    if any_rows or resumed or any(map(holds_steps, results.folder.glob("points/*"))):
        return f"interrupted: what is complete is kept; go on with --resume {results.told}"
    results.discard()
    return "interrupted before anything was recorded"


@contextmanager
def here(found: list[Point], force: bool) -> Iterator[Ways]:
    from engine_probe.sweep.execution.local import Here
    from engine_probe.sweep.preflight.memory_fit import check_cards, check_host
    from engine_probe.telemetry.hardware import visible_gpus
    from kernels_bench.devices.cpu import cpu

    gpus = visible_gpus()
    check_cards(found, gpus)
    if not gpus:
        check_host(found, cpu().memory_bytes)
    check_version(force)
    yield Here()


@contextmanager
def fleet(address: str, found: list[Point], force: bool) -> Iterator[Ways]:
    """Refuses what its machines cannot hold, or what they would measure with other programs."""
    from engine_probe.sweep.fleet.ray_cluster import connected
    from engine_probe.sweep.fleet.resources import check_claims, mixed_cards
    from engine_probe.sweep.fleet.runner import Fleet

    with connected(address) as cluster:
        nodes = cluster.nodes()
        fit = check_claims((point.engine.spec for point in found), nodes)
        cluster.check_installed(fit, force)
        if warning := mixed_cards(fit):
            click.echo(warning, err=True)
        yield Fleet(cluster)


def exit_code(rows: list[Row]) -> int:
    """0 when every point is measured, 1 when some are; when none is, why, and the code of that."""
    from engine_probe.sweep.execution.repeated_failures import NOT_TRIED
    from engine_probe.sweep.results.point_results import SKIPPED, Unmeasured

    lost = [row for row in rows if isinstance(row, Unmeasured) and row.status != SKIPPED]
    if lost and len(lost) == len(rows):
        tried = [row for row in lost if not row.reason.startswith(NOT_TRIED)]
        last = (tried or lost)[-1]
        click.echo("\n".join(map(plain, f"engine_probe: {last.reason}".splitlines())), err=True)
        return last.exit_code
    return 1 if lost else 0


def run(sweep: SweepFile, results: Results, verbose: bool, force: bool, rows: list[Row], ways: Ways) -> None:
    """Shows every event, and adds the row of every point to `rows`."""
    from engine_probe.sweep.definition.perplexity_points import texts
    from engine_probe.sweep.definition.sweep_file import points
    from engine_probe.sweep.execution.lanes import Lane
    from engine_probe.sweep.execution.runner import run_sweep
    from engine_probe.sweep.results.point_results import PointResult, Scored, Unmeasured, Unwatched

    todo = [] if sweep.adaptive else [*points(sweep), *texts(sweep)]  # a search adds its own
    folder = results.folder
    try:
        with (
            screen_for(ways, todo, folder, verbose) as screen,
            closing(run_sweep(sweep, folder, todo, force, ways)) as events,
        ):
            told: set[str] = set()
            for event in events:
                screen.show(told_once(event, told))
                event = event.event if isinstance(event, Lane) else event
                if isinstance(event, PointResult | Unmeasured | Unwatched | Scored):
                    rows.append(event)
                    results.send()
    finally:  # engines side by side end theirs in any order, and those of an interrupted sweep are shown, too
        order = {point.key: number for number, point in enumerate(todo)}
        rows.sort(key=lambda row: order[row.id])


def told_once(event: Event, told: set[str]) -> Event:
    """Return the event; where a point failed for a reason in `told`, without repeating all of it."""
    import msgspec

    from engine_probe.sweep.execution.lanes import Lane
    from engine_probe.sweep.execution.repeated_failures import NOT_TRIED
    from engine_probe.sweep.results.point_results import FAILED, Unmeasured

    if isinstance(event, Lane):
        return Lane(event.number, told_once(event.event, told))
    if not isinstance(event, Unmeasured) or event.status != FAILED:
        return event
    if event.reason in told:
        short = f"{NOT_TRIED}as above" if event.reason.startswith(NOT_TRIED) else "failed, as above"
        return msgspec.structs.replace(event, reason=short)
    told.add(event.reason)
    return event


def screen_for(ways: Ways, todo: list[Point], folder: Path, verbose: bool) -> Screen:
    from engine_probe.sweep.execution.folders import LOG_FILE
    from engine_probe.sweep.execution.local import Here
    from engine_probe.sweep.progress.fleet_screens import FleetPlain, FleetTerminal
    from engine_probe.sweep.progress.screens import PlainScreen, TerminalScreen

    lines = verbose or not sys.stderr.isatty()
    if isinstance(ways, Here):
        return PlainScreen(todo, folder / LOG_FILE if verbose else None) if lines else TerminalScreen(todo)
    return FleetPlain(todo, verbose) if lines else FleetTerminal(todo)


def show(rows: list[Row], results: Results) -> None:
    """Print what `report` prints of the sweep, and where everything is."""
    from engine_probe.commands.options.console import output_console
    from engine_probe.recordings.sweep import open_sweep
    from engine_probe.report.charts.sweep import curves
    from engine_probe.report.terminal_report import print_sweep
    from engine_probe.sweep.execution.folders import LOG_FILE
    from engine_probe.sweep.results.driver_log import between
    from engine_probe.sweep.results.point_results import Unmeasured

    console = output_console(PIPED_WIDTH)
    console.print()
    swept = replace(open_sweep(results.folder), uri=results.told)
    print_sweep(swept, curves(swept), console)
    if idle := between(row.driven for row in rows if not isinstance(row, Unmeasured) and row.driven):
        console.print(idle.line, style="dim")
    console.print(
        f"Every iteration is recorded below {results.told}/points; what vLLM said is in {results.told}/{LOG_FILE}.",
        soft_wrap=True,
    )
