"""`engine_probe export`: a run or sweep for other programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine_probe.commands.options import reading_options
from engine_probe.commands.options.engine_options import under
from engine_probe.commands.options.result_location import recorded
from engine_probe.errors import InputError
from engine_probe.files.new_file import STANDARD_OUTPUT, check_free, fresh_file
from engine_probe.text_format import plain
from kernels_bench.options import FILE

if TYPE_CHECKING:
    from engine_probe.analysis.run.slo import Slo
    from engine_probe.recordings.run import Run

output = under("Output")
FORMATS, SERVE, THROUGHPUT = ("parquet", "csv"), "vllm-bench-serve", "vllm-bench-throughput"
FPM = "fpm"


@click.command("export", cls=reading_options.WithGoodput)
@click.argument("folder", type=recorded)
@output(
    "--to",
    "kind",
    type=click.Choice([*FORMATS, SERVE, THROUGHPUT, FPM]),
    default="parquet",
    show_default=True,
    metavar="KIND",
    help=f"What is written: {', '.join(FORMATS)}, {SERVE}, {THROUGHPUT} or {FPM}.",
)
@output(
    "--out",
    type=FILE,
    required=True,
    metavar="PATH",
    help="New or empty folder; for the vllm-bench JSON or the fpm trace of a single run, a new file.",
)
@output("--save-detailed", is_flag=True, help=f"Add the lengths and latencies of every request ({SERVE}).")
@reading_options.goodput
def command(folder: Path, kind: str, out: Path, save_detailed: bool, limits: tuple[str, ...]) -> None:
    """Convert the run or sweep in FOLDER for other programs.

    Parquet and CSV hold every table in full. In CSV, lists are JSON, and text that a spreadsheet would run as a
    formula is prefixed with an apostrophe. The vllm-bench kinds have the keys and definitions of the JSON that `vllm
    bench serve --save-result` and `vllm bench throughput --output-json` write, measured inside the engine.

    fpm is the forward-pass trace of NVIDIA Dynamo (dynamo.fpm.trace.v1): a record per engine step with its batch, its
    queues and its wall time. Steps whose figures do not follow from the recording are left out and counted.

    A sweep becomes a table of its points (settings and metrics) and one folder of tables per point, or one JSON per
    point; fpm takes a single run.
    """
    from engine_probe.analysis.run.slo import read_goodput
    from engine_probe.recordings.forward_passes import ENDING
    from engine_probe.recordings.sweep import is_sweep

    slo = read_goodput(list(limits))
    if slo is not None and slo.whole_limits:
        name = next(iter(slo.whole_limits))
        raise InputError(f"--goodput {name} bounds a whole run, and {kind} counts requests: leave it out")
    if slo is not None and kind != SERVE:
        raise InputError(f"--goodput is for --to {SERVE}: {kind} has no goodput; leave it out")
    if save_detailed and kind != SERVE:
        raise InputError(f"--save-detailed is for --to {SERVE}: {kind} has no such lists; leave it out")
    if kind == FPM and is_sweep(folder):
        raise InputError(f"{folder} is a sweep, and --to {FPM} takes a single run: name one of {folder}/points")
    if kind == FPM and out != STANDARD_OUTPUT and not out.name.endswith(ENDING):
        raise InputError(f"--out {out} does not end with {ENDING}, by which a trace is known again: name it so")
    single_file = kind not in FORMATS and not is_sweep(folder)
    if single_file:
        check_free(out)
    elif out == STANDARD_OUTPUT:
        raise InputError("--out -: this export is a folder of files, which standard output cannot hold: name a folder")
    if is_sweep(folder):
        export_sweep(folder, kind, out, save_detailed, slo)
    else:
        export_run(folder, kind, out, save_detailed, slo)


def export_run(folder: Path, kind: str, out: Path, detailed: bool, slo: Slo | None) -> None:
    from engine_probe.export.arrow import export
    from engine_probe.record.schema import TABLES
    from engine_probe.recordings.run import load

    run = load(folder)
    for note in run.notes:
        say(note)
    if kind in FORMATS:
        for path in export({name: getattr(run, name) for name in TABLES}, out, kind):
            click.echo(str(path))
    elif kind == FPM:
        export_trace(run, out)
    else:
        export_bench(run, kind, out, detailed, slo)


def export_bench(run: Run, kind: str, out: Path, detailed: bool, slo: Slo | None) -> None:
    from engine_probe.export.vllm_bench import not_seen_to_begin

    if unseen := not_seen_to_begin(run.requests):
        say(f"{unseen} requests are left out: they arrived before the probe was attached, at an unknown time")
    with fresh_file(out) as file:
        file.write(json.dumps(vllm_bench_result(run, kind, detailed, slo)).encode())
    if out != STANDARD_OUTPUT:
        click.echo(str(out))


def export_trace(run: Run, out: Path) -> None:
    from engine_probe.export.forward_passes import write_trace

    with fresh_file(out) as file:
        written, left_out = write_trace(run, file)
    if left_out:
        say(f"{left_out:,} of {written + left_out:,} steps are left out: their batch or queue does not follow exactly")
    if out != STANDARD_OUTPUT:
        click.echo(str(out))


def export_sweep(folder: Path, kind: str, out: Path, detailed: bool, slo: Slo | None) -> None:
    from engine_probe.export.sweep import export_results, export_tables
    from engine_probe.recordings.sweep import open_sweep

    def result_of(run: Run, name: str) -> dict[str, Any]:
        found = vllm_bench_result(run, kind, detailed, slo)
        return found | {"label": name} if "label" in found else found

    swept = open_sweep(folder)
    written = export_tables(swept, out, kind, say) if kind in FORMATS else export_results(swept, out, result_of, say)
    for path in written:
        click.echo(plain(path))


def vllm_bench_result(run: Run, kind: str, detailed: bool, slo: Slo | None) -> dict[str, Any]:
    from engine_probe.export.vllm_bench import serve_result, throughput_result

    return serve_result(run, detailed, slo) if kind == SERVE else throughput_result(run)


def say(message: str) -> None:
    """Print a note to standard error, apart from the paths."""
    click.echo(plain(message), err=True)
