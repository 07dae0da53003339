"""`engine_probe perplexity`: how well a model predicts a text, by the engine that serves it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine_probe.commands.places import make_folder
from engine_probe.hook.engine import check_version

if TYPE_CHECKING:
    from rich.console import Console

    from engine_probe.sweep.events import Event, Finished
    from engine_probe.sweep.plan import Point

COUNT = click.IntRange(1)
TICK_SECONDS = 0.25


@click.command("perplexity", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("--model", default="smollm2", show_default=True, help="Embedded, a folder, org/name.")
@click.option("--text", required=True, help="A local file in UTF-8.")
@click.option("--window", type=click.IntRange(2), default=2048, show_default=True, help="Tokens seen at once.")
@click.option(
    "--overlap", type=click.IntRange(0), default=0, show_default=True, help="Of them seen before, not scored."
)
@click.option("--windows", type=COUNT, help="At most so many, from the beginning [default: the whole text].")
@click.option(
    "--lines",
    type=click.Choice(["kept", "joined"]),
    default="kept",
    show_default=True,
    help="joined: as published tables read WikiText-2, an empty line between all lines.",
)
@click.option(
    "--bos",
    type=click.Choice(["tokenizer", "window", "none"]),
    default="tokenizer",
    show_default=True,
    help="The beginning token: as the tokenizer adds it to the whole text, before each window, nowhere.",
)
@click.option("--out", type=click.Path(path_type=Path), help="New folder [default: runs/perplexity-<time>].")
@click.option("--force", is_flag=True, help="Go on with a vLLM version that is not known here.")
@click.argument("engine_arguments", nargs=-1, type=click.UNPROCESSED)
def command(
    model: str,
    text: str,
    window: int,
    overlap: int,
    windows: int | None,
    lines: str,
    bos: str,
    out: Path | None,
    force: bool,
    engine_arguments: tuple[str, ...],
) -> None:
    """Perplexity of a local text, from the log-probabilities that vLLM gives its tokens.

    Any vLLM engine argument follows under its own name, as --dtype float32 or --quantization fp8. Two of its folders
    are held against each other, window by window, by `engine_probe compare`; a sweep measures it for each of its
    engines with [quality].
    """
    import msgspec

    from engine_probe.engine.arguments import parse_arguments
    from engine_probe.engine.build import check_model
    from engine_probe.quality.spec import Quality
    from engine_probe.quality.text import read_text
    from engine_probe.sweep.plan import EngineSection, Point, Workload
    from engine_probe.sweep.texts import check_predictor

    arguments = parse_arguments(engine_arguments, "perplexity")
    check_model(model)
    told = {"text": text, "window": window, "overlap": overlap, "windows": windows, "lines": lines, "bos": bos}
    asked = msgspec.convert(told, Quality)
    asked.check("--")
    read_text(asked, "--text ")
    engine = EngineSection(model, arguments)
    check_predictor(engine, asked, "--")
    check_version(force)
    folder = out or Path("runs") / f"perplexity-{datetime.now():%Y%m%dT%H%M%S}"
    make_folder(folder)
    try:
        measure(Point(engine, Workload(), label="perplexity", quality=asked), folder, force)
    except KeyboardInterrupt:
        click.echo(f"interrupted: nothing is kept of a text that was not read to its end; see {folder}", err=True)
        sys.exit(130)
    sys.exit(show(folder))


def measure(point: Point, folder: Path, force: bool) -> None:
    """The engine in a process of its own, so that its noise goes to a file."""
    from rich.console import Console

    from engine_probe.report.texts import NAME
    from engine_probe.sweep.folders import LOG_FILE
    from engine_probe.sweep.one_engine import run_engine

    tasks = iter([(0, point, folder / NAME)])
    with closing(run_engine(point.engine, tasks, folder / LOG_FILE, force, tick_seconds=TICK_SECONDS)) as events:
        watch(events, Console(stderr=True, highlight=False), point)


def watch(events: Iterator[Event | Finished], console: Console, point: Point) -> None:
    """A bar on a terminal, plain lines elsewhere; what ended it early is raised."""
    from engine_probe.errors import InputError, UnavailableError
    from engine_probe.sweep.events import Finished
    from engine_probe.sweep.result import Unmeasured
    from engine_probe.sweep.screen import PlainScreen, TerminalScreen

    with TerminalScreen([point]) if console.is_terminal else PlainScreen([point]) as screen:
        for event in events:
            if not isinstance(event, Finished):
                screen.show(event)
            elif isinstance(event.row, Unmeasured):
                kind = InputError if event.row.exit_code == InputError.exit_code else UnavailableError
                raise kind(event.row.reason)


def show(folder: Path) -> int:
    """What it came to; 1 where that is no figure."""
    from rich.console import Console

    from engine_probe.report.precision_view import text_view
    from engine_probe.report.texts import open_alone

    found = open_alone(folder)
    Console(highlight=False).print(*text_view(found), sep="\n")
    click.echo(f"Each window is in {folder}; what vLLM said is there too.")
    return 0 if found.perplexity else 1
