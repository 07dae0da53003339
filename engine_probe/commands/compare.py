"""`engine_probe compare`: what changed between measurements, and a gate for CI."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine_probe.commands.options import html_option, slo_option
from engine_probe.commands.options.engine_options import under
from engine_probe.commands.options.result_location import recorded
from engine_probe.errors import InputError

if TYPE_CHECKING:
    from engine_probe.analysis.compare.gates import Gate
    from engine_probe.evaluation.comparison import Comparison

KINDS = ("table", "markdown", "json", "junit")


output, judge = under("Output"), under("Criteria")


@click.command("compare", cls=slo_option.WithGoodput)
@click.argument("folders", nargs=-1, required=True, type=recorded)
@judge(
    "--fail-if",
    "bounds",
    multiple=True,
    metavar="BOUND",
    help='Exit 1 when this change occurs: "output_tokens_per_s < -5%". May be repeated.',
)
@judge("--strict", is_flag=True, help="Exit 1 also when a bound is undecided.")
@slo_option.option
@output(
    "--format",
    "kind",
    type=click.Choice(KINDS),
    default="table",
    show_default=True,
    metavar="KIND",
    help="table, markdown, json or junit, on standard output.",
)
@html_option.option
def command(
    folders: tuple[Path, ...],
    bounds: tuple[str, ...],
    strict: bool,
    kind: str,
    page: Path | None,
    limits: tuple[str, ...],
) -> None:
    """Compare each further run or sweep in FOLDERS with the first, point by point.

    With repeated points, Welch's t-test decides whether a change is significant, corrected for multiple comparisons;
    the variance of rates and times is pooled over the points of a curve. Each --fail-if bound is a one-sided test at
    5 %: kept (exit code 0), broken (1), or undecided (reported; 0, or 1 with --strict). Without repeats, the change
    itself is compared with the bound.
    """
    from engine_probe.analysis.compare.gates import read_gate
    from engine_probe.analysis.run.slo import read_goodput
    from engine_probe.evaluation.comparison import compare
    from engine_probe.files.new_file import STANDARD_OUTPUT, check_free, fresh_file
    from engine_probe.text_format import plain

    check_free(page)
    gates = [read_gate(bound) for bound in bounds]
    first, *others = folders
    if not others:
        raise InputError(f"there is nothing to compare {first} with: name a second folder")
    if kind == "junit" and not gates:
        raise InputError("--format junit has a test case for each bound: name one with --fail-if")
    found = compare(first, others, read_goodput(list(limits)))
    worth_saying = [held for comparison in found for held in comparison.worth_saying(gates)]
    if page is not None:
        from engine_probe.report.compare_report import compared_page

        with fresh_file(page) as file:
            file.write(compared_page(found, gates).encode())
    if page != STANDARD_OUTPUT:
        show(found, gates, kind, strict)
    if page not in (None, STANDARD_OUTPUT):
        click.echo(f"\n{page}", err=kind != "table")
    for held in worth_saying:
        click.echo(plain(held.said), err=True)
    sys.exit(1 if any(held.stops(strict) for held in worth_saying) else 0)


def show(found: Sequence[Comparison], gates: Sequence[Gate], kind: str, strict: bool) -> None:
    from rich.text import Text

    from engine_probe.commands.options.console import PIPED_WIDTH, output_console
    from engine_probe.report.compare_text import as_json, foremost_words, markdown, tables
    from engine_probe.report.renderers.junit import junit
    from engine_probe.text_format import plain

    if kind in ("json", "junit"):
        click.echo(as_json(found, gates) if kind == "json" else junit(found, gates, strict), nl=kind == "json")
        return
    if kind == "markdown":
        for comparison in found:
            click.echo("\n".join(markdown(comparison, gates)))
        return
    console = output_console(PIPED_WIDTH)
    for comparison in found:
        said = f"{comparison.before} (before), {comparison.after} (after): {foremost_words(comparison)}"
        console.print(Text(plain(said), "bold"))
    console.print(*tables(found), sep="\n")
    for note in dict.fromkeys(note for comparison in found for note in comparison.notes):
        console.print(Text(plain(note), "yellow"))
