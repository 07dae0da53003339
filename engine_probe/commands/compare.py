"""`engine_probe compare`: what changed between measurements, and a gate for CI."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine_probe.commands import goodput_option
from engine_probe.errors import InputError

if TYPE_CHECKING:
    from engine_probe.report.compared import Comparison

PIPED_WIDTH = 100


@click.command("compare", cls=goodput_option.WithGoodput)
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--fail-if", "bounds", multiple=True, help='Exit 1 beyond this, as "output_tokens_per_s < -5%".')
@click.option("--format", "kind", type=click.Choice(["table", "markdown", "json"]), default="table", show_default=True)
@goodput_option.option
def command(folders: tuple[Path, ...], bounds: tuple[str, ...], kind: str, limits: tuple[str, ...]) -> None:
    """Compare every further of FOLDERS (runs, or sweeps) with the first, point by point.

    Repeats of a point on both sides tell whether a change is real (Welch's t-test, corrected for many metrics); a
    change that they show to be none breaks no bound. With one run each the bound is held to the change itself.
    """
    from engine_probe.analysis.gate import read_gate
    from engine_probe.analysis.slo import read_goodput
    from engine_probe.report.compared import compare

    gates = [read_gate(bound) for bound in bounds]
    first, *others = folders
    if not others:
        raise InputError(f"there is nothing to compare {first} with: name a second folder")
    slo = read_goodput(list(limits))
    found = [compare(first, other, slo) for other in others]
    show(found, kind)
    broken = [sentence for comparison in found for sentence in comparison.broken(gates)]
    for sentence in broken:
        click.echo(sentence, err=True)
    sys.exit(1 if broken else 0)


def show(found: list[Comparison], kind: str) -> None:
    from rich.console import Console
    from rich.text import Text

    from engine_probe.report.compared import as_json, markdown, tables
    from engine_probe.report.plain import plain

    if kind == "json":
        click.echo(f"[{','.join(map(as_json, found))}]")
        return
    if kind == "markdown":
        for comparison in found:
            click.echo("\n".join(markdown(comparison)))
        return
    piped = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    console = Console(width=PIPED_WIDTH if piped else None, highlight=False)
    for comparison in found:
        console.print(Text(plain(f"{comparison.before} (before), {comparison.after} (after)"), "bold"))
        console.print(*tables(comparison), sep="\n")
        for note in comparison.notes:
            console.print(Text(plain(note), "yellow"))
