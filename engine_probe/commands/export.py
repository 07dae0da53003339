"""`engine_probe export`: a recording for other programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine_probe.commands import goodput_option
from engine_probe.commands.places import recorded
from engine_probe.errors import InputError

if TYPE_CHECKING:
    from engine_probe.analysis.slo import Slo
    from engine_probe.run import Run

TABLES, SERVE, THROUGHPUT = ("parquet", "csv"), "vllm-bench-serve", "vllm-bench-throughput"


@click.command("export", cls=goodput_option.WithGoodput)
@click.argument("folder", type=recorded)
@click.option("--to", "kind", type=click.Choice([*TABLES, SERVE, THROUGHPUT]), default="parquet", show_default=True)
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="New or empty folder; for vllm-bench a file."
)
@click.option("--save-detailed", is_flag=True, help=f"With {SERVE}: every request's lengths and latencies too.")
@goodput_option.option
def command(folder: Path, kind: str, out: Path, save_detailed: bool, limits: tuple[str, ...]) -> None:
    """Write the recording in FOLDER for other programs.

    Parquet and CSV hold every table without loss (lists become JSON in CSV). The vllm-bench kinds are the JSON that
    `vllm bench serve --save-result` and `vllm bench throughput --output-json` save: their names and definitions, from
    what happened in the engine.
    """
    from engine_probe.analysis.slo import read_goodput
    from engine_probe.record.export import export
    from engine_probe.record.schema import SCHEMAS
    from engine_probe.report.fresh_file import check_free
    from engine_probe.report.plain import plain
    from engine_probe.run import load

    slo = read_goodput(list(limits))
    if slo is not None and kind != SERVE:
        raise InputError(f"--goodput is for --to {SERVE}: {kind} has no such figure")
    if save_detailed and kind != SERVE:
        raise InputError(f"--save-detailed is for --to {SERVE}: {kind} has no such lists")
    if kind not in TABLES:
        check_free(out)
    run = load(folder)
    for note in run.notes:
        click.echo(plain(note), err=True)
    if kind in TABLES:
        for path in export({name: getattr(run, name) for name in SCHEMAS}, out, kind):
            click.echo(str(path))
    else:
        write_result(run, kind, out, save_detailed, slo)


def write_result(run: Run, kind: str, out: Path, detailed: bool, slo: Slo | None) -> None:
    from engine_probe.analysis.vllm_bench import not_seen_to_begin, serve_result, throughput_result
    from engine_probe.report.fresh_file import fresh_file

    if unseen := not_seen_to_begin(run.requests):
        click.echo(
            f"{unseen} requests are left out: when they came is not known, as of those that came before the probe",
            err=True,
        )
    with fresh_file(out) as file:
        result = serve_result(run, detailed, slo) if kind == SERVE else throughput_result(run)
        file.write(json.dumps(result).encode())
    click.echo(str(out))
