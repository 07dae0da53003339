"""`engine_probe profile`: one measured point, shown live."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from engine_probe.commands.options import measuring_options
from engine_probe.commands.options.engine_options import EngineCommand
from engine_probe.commands.options.measuring_options import engine, output
from engine_probe.commands.options.result_location import Results, holds_steps, new_folder, open_results
from engine_probe.commands.options.workload_options import WorkloadOptions, workload_options
from engine_probe.errors import INTERRUPTED, InputError, UnavailableError
from engine_probe.hook.vllm_versions import check_version

if TYPE_CHECKING:
    from engine_probe.sweep.definition.sweep_file import Point
    from engine_probe.workload.answers import KeepAnswers

RECORDING = "recording"


@click.command(
    "profile", cls=EngineCommand, epilog="Example: engine_probe profile --model tiny --num-prompts 64 --max-num-seqs 8"
)
@engine(
    "--model",
    metavar="MODEL",
    default="smollm2",
    show_default=True,
    help="An embedded model (smollm2, tiny), a name from `engine_probe models`, a folder, or org/name.",
)
@measuring_options.force
@workload_options
@output(
    "--operators",
    metavar="STEPS@FIRST",
    help="Run torch's profiler in these steps: where the forward's time goes. 20@100 is 20 steps from step 100 on.",
)
@output(
    "--keep-answers",
    type=click.Choice(["tokens", "text"]),
    help="Keep the tokens of each answer, or its text as well [default: a checksum].",
)
@output("--answer-logprobs", is_flag=True, help="Also keep the log-probability of each token and of the best other.")
@output("--out", metavar="FOLDER", help="New folder, or URI such as s3://... [default: runs/profile-<time>].")
def command(
    model: str,
    out: str | None,
    force: bool,
    operators: str | None,
    keep_answers: Literal["tokens", "text"] | None,
    answer_logprobs: bool,
    engine_arguments: dict[str, object],
    **asked: Any,
) -> None:
    """Measure one workload on a real engine, record every iteration, and name the bottleneck.

    Options may be in any order, mixed with vLLM's engine arguments. Arguments after -- go to vLLM only: -- --seed 3.
    """
    from engine_probe.hook.workers.operators import check_torch
    from engine_probe.sweep.definition.request_memory import check_plans
    from engine_probe.sweep.definition.setting_checks import (
        check_engine,
        check_kept,
        check_lengths,
        check_requests,
        check_window,
    )
    from engine_probe.sweep.definition.sweep_file import EngineSection, Point
    from engine_probe.sweep.preflight.memory_fit import check_fit
    from kernels_bench.devices.cpu import cpu

    workload = WorkloadOptions(**asked).workload()
    kept = answers_to_keep(keep_answers, answer_logprobs)
    point = Point(EngineSection(model, engine_arguments), workload, label=model, operators=operators, answers=kept)
    check_engine(point.engine.spec, "profile")
    check_lengths(point)
    check_fit([point])
    check_version(force)
    check_plans([point], cpu().memory_bytes)
    check_requests([point])
    check_kept(point)
    if operators is not None:
        check_window(point)
        check_torch()
    results = open_results(None, out or new_folder("profile"))
    try:
        measure(point, results.folder, force)
        code = show(results)
    except KeyboardInterrupt:
        show_interrupted(results)
        code = INTERRUPTED
    finally:
        results.close()
    sys.exit(code)


def answers_to_keep(keep: Literal["tokens", "text"] | None, logprobs: bool) -> KeepAnswers | None:
    from engine_probe.workload.answers import KeepAnswers

    if logprobs and keep is None:
        raise InputError("profile: --answer-logprobs belong to tokens: add --keep-answers tokens")
    return KeepAnswers(keep, logprobs) if keep is not None else None


def show_interrupted(results: Results) -> None:
    """Summarise what was recorded; if nothing was, remove the folder."""
    if not holds_steps(results.folder):
        results.discard()
        click.echo("interrupted before anything was recorded", err=True)
        return
    click.echo(f"interrupted: everything until then is recorded in {results.location}", err=True)
    show(results)


def measure(point: Point, folder: Path, force: bool) -> None:
    """Measure the point, shown live. An engine that dies is an error; what it recorded stays."""
    from engine_probe.sweep.execution.engine_run import measure_point
    from engine_probe.sweep.progress.screens import PlainScreen, PointScreen, can_draw
    from engine_probe.sweep.results.point_results import FAILED, Unmeasured

    with PointScreen(title(point), point) if can_draw() else PlainScreen([point]) as screen:
        row = measure_point(point, folder / RECORDING, screen.show, force)
    if isinstance(row, Unmeasured) and row.status == FAILED:
        raise UnavailableError(row.reason)


def title(point: Point) -> str:
    """Return the title: the model, the number of requests, the load, and their lengths."""
    from engine_probe.workload.load import load_words
    from engine_probe.workload.workload_spec import prompt_files

    work = point.workload
    files = [Path(path).name for path in prompt_files(work.prompts)]
    asked = f"from {', '.join(files)}" if files else f"{work.input_len} + {work.output_len} tokens"
    count = [] if work.requests is None else [f"{work.requests} requests"]
    return " · ".join(dict.fromkeys((point.label, *count, load_words(*work.load), asked)))


def show(results: Results) -> int:
    """Print the summary of the recording, and return 1 if it is not complete."""
    from engine_probe.commands.options.console import PIPED_WIDTH, output_console
    from engine_probe.record.run_folder import COMPLETE
    from engine_probe.recordings.run import load
    from engine_probe.report.brief_document import LINES
    from engine_probe.report.renderers.terminal import print_document
    from engine_probe.report.run_report import run_document

    run = load(results.folder)
    console = output_console(PIPED_WIDTH)
    print_document(run_document(run, run.analysis()), console, lines=LINES)
    console.print(f"\nEvery iteration is recorded in {results.location}.", soft_wrap=True)
    return 0 if run.status == COMPLETE else 1
