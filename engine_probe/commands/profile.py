"""`engine_probe profile`: one measured point, watched live."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine_probe.commands.places import Results, open_results
from engine_probe.errors import UnavailableError
from engine_probe.hook.engine import check_version

if TYPE_CHECKING:
    from rich.console import Console

    from engine_probe.sweep.events import Event, Finished
    from engine_probe.sweep.plan import Point

RECORDING = "recording"
INTERRUPTED = 130  # what a shell gives for Ctrl-C
TICK_SECONDS = 0.25
PLAIN_SECONDS = 10.0
RATE = click.FloatRange(min=0, min_open=True)


@click.command("profile", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("--model", default="smollm2", show_default=True, help="Embedded, from the catalogue, a folder, org/name.")
@click.option("--num-prompts", type=click.IntRange(1), default=32, show_default=True, help="Requests in all.")
@click.option("--max-concurrency", type=click.IntRange(1), help="Most requests in flight [default: all at once].")
@click.option("--input-len", type=click.IntRange(1), default=128, show_default=True, help="Tokens of each prompt.")
@click.option("--output-len", type=click.IntRange(1), default=128, show_default=True, help="Tokens of each answer.")
@click.option(
    "--request-rate", type=RATE, default=math.inf, help="Requests per second, Poisson [default: all at once]."
)
@click.option("--burstiness", type=RATE, default=1.0, show_default=True, help="Below 1 in clusters, above evenly.")
@click.option("--seed", type=int, default=0, show_default=True, help="The same seed gives the same prompts.")
@click.option("--out", metavar="FOLDER", help="New folder, or URI as of sweep [default: runs/profile-<time>].")
@click.option("--force", is_flag=True, help="Record a vLLM version that the probe does not know.")
@click.argument("engine_arguments", nargs=-1, type=click.UNPROCESSED)
def command(
    model: str,
    num_prompts: int,
    max_concurrency: int | None,
    input_len: int,
    output_len: int,
    request_rate: float,
    burstiness: float,
    seed: int,
    out: str | None,
    force: bool,
    engine_arguments: tuple[str, ...],
) -> None:
    """Measure one point on a real engine, and record every iteration.

    Any vLLM engine argument follows under its own name, as --block-size 32 or --tensor-parallel-size 2.
    """
    from engine_probe.engine.arguments import parse_arguments
    from engine_probe.engine.build import check_model
    from engine_probe.sweep.checks import check_length
    from engine_probe.sweep.plan import EngineSection, Point, Workload
    from engine_probe.sweep.plan_memory import check_plans
    from engine_probe.workload.arrivals import OpenLoop
    from kernels_bench.processor import cpu

    arguments = parse_arguments(engine_arguments, "profile")
    check_model(model)
    arrivals = None if math.isinf(request_rate) else OpenLoop(request_rate, burstiness)
    workload = Workload(
        input_len,
        output_len,
        concurrency=max_concurrency or num_prompts,
        num_prompts=num_prompts,
        arrivals=arrivals,
        seed=seed,
    )
    check_length(workload, arguments.get("max_model_len"))
    check_version(force)
    point = Point(EngineSection(model, arguments), workload, label=model)
    check_plans([point], cpu().memory_bytes)
    results = open_results(None, out or str(Path("runs") / f"profile-{datetime.now():%Y%m%dT%H%M%S}"))
    try:
        measure(point, results.folder, force)
        code = show(results)
    except KeyboardInterrupt:
        told = f"interrupted: what ran is recorded in {results.told}, up to the last quarter of a second"
        click.echo(told, err=True)
        code = INTERRUPTED
    finally:
        results.close()
    sys.exit(code)


def measure(point: Point, folder: Path, force: bool) -> None:
    """The engine in a process of its own, its recording drawn while it grows."""
    from rich.console import Console

    from engine_probe.sweep.folders import LOG_FILE
    from engine_probe.sweep.one_engine import run_engine

    console = Console(stderr=True, highlight=False)
    tasks = iter([(0, point, folder / RECORDING)])
    with closing(run_engine(point.engine, tasks, folder / LOG_FILE, force, tick_seconds=TICK_SECONDS)) as events:
        show_all = draw if console.is_terminal else tell
        show_all(failing(events), console, point)


def failing(events: Iterator[Event | Finished]) -> Iterator[Event | Finished]:
    """An engine that dies is an error here; what it recorded stays."""
    from engine_probe.sweep.events import Finished
    from engine_probe.sweep.result import FAILED, Unmeasured

    for event in events:
        if isinstance(event, Finished) and isinstance(event.row, Unmeasured) and event.row.status == FAILED:
            raise UnavailableError(event.row.reason)
        yield event


def draw(events: Iterator[Event | Finished], console: Console, point: Point) -> None:
    from rich.live import Live

    from engine_probe.record.follow import Moment
    from engine_probe.report.live import LiveView
    from engine_probe.sweep.messages import Said

    work = point.workload
    title = f"{point.label}: {work.requests} requests, {work.at_once} at once, {work.input_len} tokens in"
    view = LiveView(f"{title}, {work.output_len} out", work.output_tokens or 1)
    with Live(view, console=console, refresh_per_second=4, transient=True):
        for event in events:
            match event:
                case Said(text):
                    view.say(text)
                case Moment():
                    view.add(event)


def tell(events: Iterator[Event | Finished], console: Console, point: Point) -> None:
    """Not a terminal: a line for what begins, and one now and then."""
    from engine_probe.record.follow import Moment
    from engine_probe.sweep.messages import Said
    from engine_probe.sweep.screen import live_line

    told = 0.0
    for event in events:
        match event:
            case Said(text):
                console.print(text)
            case Moment() if event.seconds - told >= PLAIN_SECONDS:
                told = event.seconds
                console.print(f"  {live_line(point, event)}", soft_wrap=True)


def show(results: Results) -> int:
    """The summary of the recording; 1 when it is not whole."""
    from rich.console import Console

    from engine_probe.analysis.anatomy import anatomy
    from engine_probe.record.folder import COMPLETE
    from engine_probe.report.overview import print_limits
    from engine_probe.report.terminal import print_summary
    from engine_probe.run import load

    run = load(results.folder)
    piped = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    console = Console(width=100 if piped else None, highlight=False)
    found = anatomy(run)
    print_summary(found.summary, console)
    print_limits(run, found, console)
    console.print(f"\nEvery iteration is recorded in {results.told}.", soft_wrap=True)
    return 0 if run.status == COMPLETE else 1
