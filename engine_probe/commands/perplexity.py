"""`engine_probe perplexity`: the perplexity of a text, measured with the engine that serves the model."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine_probe.commands.options import measuring_options
from engine_probe.commands.options.engine_options import EngineCommand, under
from engine_probe.commands.options.measuring_options import engine, output
from engine_probe.commands.options.result_location import make_folder, new_folder
from engine_probe.errors import INTERRUPTED, InputError, UnavailableError
from engine_probe.hook.vllm_versions import check_version
from kernels_bench.options import FILE

if TYPE_CHECKING:
    from engine_probe.sweep.definition.sweep_file import Point

COUNT = click.IntRange(1)

text_options = under("Text")


@click.command("perplexity", cls=EngineCommand)
@engine(
    "--model",
    metavar="MODEL",
    default="smollm2",
    show_default=True,
    help="The embedded smollm2, a folder with weights and tokenizer, or org/name.",
)
@measuring_options.force
@text_options("--text", metavar="FILE", required=True, help="A local file in UTF-8.")
@text_options("--window", type=click.IntRange(2), default=2048, show_default=True, help="Tokens per window.")
@text_options(
    "--overlap",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Tokens repeated from the previous window as context, not scored again.",
)
@text_options("--windows", type=COUNT, help="Maximum number of windows to score [default: the whole text].")
@text_options(
    "--lines",
    type=click.Choice(["kept", "joined"]),
    default="kept",
    show_default=True,
    help="joined puts an empty line between lines, as published WikiText-2 figures do.",
)
@text_options(
    "--bos",
    type=click.Choice(["tokenizer", "window", "none"]),
    default="tokenizer",
    show_default=True,
    help="Beginning-of-sequence token: once as the tokenizer adds it, before each window, or none.",
)
@text_options(
    "--per",
    type=click.Choice(["token", "word"]),
    default="token",
    show_default=True,
    help="word: also word perplexity as lm_eval counts it, over documents in rolling windows.",
)
@output("--out", metavar="FOLDER", type=FILE, help="New folder [default: runs/perplexity-<time>].")
def command(model: str, out: Path | None, force: bool, engine_arguments: dict[str, object], **options: Any) -> None:
    """Measure the perplexity of a local text, from the log-probabilities that vLLM gives its tokens.

    Options may be in any order, mixed with vLLM's engine arguments: --dtype float32, --quantization fp8.
    `engine_probe compare` compares two such folders window by window. A sweep with a section [quality] measures the
    perplexity of each of its engines.
    """
    import msgspec

    from engine_probe.perplexity.perplexity_spec import Quality
    from engine_probe.perplexity.text import read_text
    from engine_probe.sweep.definition.perplexity_points import check_predictor
    from engine_probe.sweep.definition.setting_checks import check_engine
    from engine_probe.sweep.definition.sweep_file import EngineSection, Point
    from engine_probe.sweep.definition.workload_section import WorkloadSection

    asked_of = EngineSection(model, engine_arguments)
    check_engine(asked_of.spec, "perplexity")
    asked = msgspec.convert(options, Quality)
    asked.check("--")
    read_text(asked, "--text ")
    check_predictor(asked_of, asked, "--")
    check_version(force)
    folder = out or Path(new_folder("perplexity"))
    results = make_folder(folder)
    try:
        measure(Point(asked_of, WorkloadSection(), label="perplexity", quality=asked), folder, force)
    except KeyboardInterrupt:
        results.discard()
        click.echo("interrupted before the whole text was scored: nothing is kept", err=True)
        sys.exit(INTERRUPTED)
    finally:
        results.close()
    sys.exit(show(folder))


def measure(point: Point, folder: Path, force: bool) -> None:
    """Score the text, with a bar on a terminal and plain lines elsewhere; what ended it early is raised."""
    from engine_probe.recordings.perplexity import NAME
    from engine_probe.sweep.execution.engine_run import measure_point
    from engine_probe.sweep.progress.screens import screen_of
    from engine_probe.sweep.results.point_results import Unmeasured

    with screen_of(point) as screen:
        row = measure_point(point, folder / NAME, screen.show, force)
    if isinstance(row, Unmeasured):
        kind = InputError if row.exit_code == InputError.exit_code else UnavailableError
        raise kind(row.reason)


def show(folder: Path) -> int:
    """Print the result, and return 1 if there is no perplexity."""
    from engine_probe.commands.options.console import output_console
    from engine_probe.recordings.perplexity import open_alone
    from engine_probe.report.renderers.terminal import print_document
    from engine_probe.report.sections.sweep.precision import text_document

    found = open_alone(folder)
    print_document(text_document(found), output_console(), verbose=True)
    click.echo(f"Each window is in {folder}, with vLLM's log.")
    return 0 if found.perplexity else 1
