"""`engine_probe compare`: what changed between measurements, and a gate for CI."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import click

from engine_probe.commands.options import reading_options
from engine_probe.commands.options.engine_options import under
from engine_probe.commands.options.result_location import recorded
from engine_probe.errors import InputError
from engine_probe.files.new_file import STANDARD_OUTPUT, check_free, fresh_file
from engine_probe.text_format import plain

if TYPE_CHECKING:
    from engine_probe.analysis.compare.gates import Gate
    from engine_probe.analysis.run.slo import Slo
    from engine_probe.evaluation.comparison import Comparison
    from engine_probe.report.document import Document

FOLDER = re.compile(r"[^-].*", re.DOTALL)  # not an option
OPEN = 4  # exit code if a bound is open and none is broken
KINDS = ("table", "markdown", "json", "junit")
MORE = "--verbose shows every point, the statistics and names for --fail-if; --html FILE draws the charts."


class WithFolders(reading_options.WithGoodput):
    further: ClassVar = {**reading_options.WithGoodput.further, "--against": FOLDER, "--history": FOLDER}


sides, output, judge, costs = map(under, ("Sides", "Output", "Criteria", "Costs"))


@click.command("compare", cls=WithFolders)
@click.argument("folders", metavar="FOLDER...", nargs=-1, required=True, type=recorded)
@sides(
    "--against",
    "others",
    multiple=True,
    type=recorded,
    metavar="FOLDER ...",
    help="Compare several measurements of each side: compare A1 A2 A3 --against B1 B2 B3.",
)
@sides(
    "--history",
    "earlier",
    multiple=True,
    type=recorded,
    metavar="FOLDER ...",
    help="Earlier runs or sweeps of A or B on this machine: they show how far two of them differ.",
)
@sides(
    "--trend",
    "axis",
    metavar="AXIS",
    help="Follow the figures of three or more measurements over time, vllm (its version), or your labels: v1,v2,v3.",
)
@judge(
    "--fail-if",
    "bounds",
    multiple=True,
    metavar="BOUND",
    help='Exit 1 when this change occurs: "output_tokens_per_s < -5%"; or at this rate, cost or energy itself: '
    '"success_rate < 95%", "joules_per_token > 0.5". May be repeated.',
)
@costs(
    "--money", "prices", metavar="FILE", help="A price list (TOML): compare costs as well, and allow bounds on them."
)
@costs("--cost-per-hour", metavar="SUM", help="Total cost of the engine per hour, on either side: 2.5 or 2.5EUR.")
@judge("--strict", is_flag=True, help="Exit 1 also when a bound is open.")
@reading_options.goodput
@output(
    "--format",
    "kind",
    type=click.Choice(KINDS),
    default="table",
    show_default=True,
    metavar="KIND",
    help="Print a table, markdown, json or junit.",
)
@output("--verbose", is_flag=True, help="Show everything in the terminal: every point, statistics, metric names.")
@reading_options.html
def command(
    folders: tuple[Path, ...],
    others: tuple[Path, ...],
    earlier: tuple[Path, ...],
    axis: str | None,
    bounds: tuple[str, ...],
    strict: bool,
    kind: str,
    verbose: bool,
    page: Path | None,
    limits: tuple[str, ...],
    prices: str | None,
    cost_per_hour: str | None,
) -> None:
    """Compare each further run or sweep with the first, point by point.

    With --against, each side is several runs or sweeps with the same settings, and each of them counts once: Welch's
    t-test decides whether a change is significant, corrected for multiple comparisons. Repeats within a sweep do not
    show how far two sweeps of one engine differ: with one on each side nothing is tested, and --history adds that drift
    to the intervals.

    With --trend all of them are put in order along one axis: where each figure changed, and how the last differs from
    those before it, which is what --fail-if judges.

    Each --fail-if bound states a change that must not occur (one-sided test at 5%, corrected for the number of points):
    it passes (exit code 0), fails (1), or stays open (4, or 1 with --strict) because the measurements do not decide it,
    as is always so with one on each side and no --history.
    """
    from engine_probe.analysis.compare.gates import read_gate
    from engine_probe.report.renderers.html_document import html_page

    check_free(page)
    gates = [read_gate(bound) for bound in bounds]
    check_sides(folders, others, earlier, axis)
    if kind == "junit" and not gates:
        raise InputError("--format junit has a test case for each bound: name one with --fail-if")
    slo = asked_slo(limits, prices, cost_per_hour)
    compared = followed(folders, axis, gates, slo) if axis else side_by_side(folders, others, earlier, gates, slo)
    worth_saying = [held for comparison in compared.found for held in comparison.worth_saying(gates)]
    if page is not None:
        with fresh_file(page) as file:
            file.write(html_page(compared.document()).encode())
    if page != STANDARD_OUTPUT:
        show(compared, gates, kind, strict, verbose)
    if page not in (None, STANDARD_OUTPUT):
        click.echo(f"\n{page}", err=kind != "table")
    if not on_terminal(kind, page):
        for held in worth_saying:
            click.echo(plain(held.said), err=True)
    sys.exit(1 if any(held.stops(strict) for held in worth_saying) else OPEN if worth_saying else 0)


@dataclass(frozen=True)
class ComparisonShown:
    """What was compared, for gates, and how it is shown."""

    found: Sequence[Comparison]
    document: Callable[[], Document]
    figures: Callable[[], str]


def side_by_side(
    folders: Sequence[Path], others: Sequence[Path], earlier: Sequence[Path], gates: Sequence[Gate], slo: Slo | None
) -> ComparisonShown:
    from engine_probe.evaluation.comparison import compare_each
    from engine_probe.evaluation.occasions import compare_occasions
    from engine_probe.report.compare_document import compare_document
    from engine_probe.report.renderers.json_comparison import comparison_figures

    found = [compare_occasions(folders, others, slo)] if others else compare_each(folders[0], folders[1:], slo, earlier)
    return ComparisonShown(found, lambda: compare_document(found, gates), lambda: comparison_figures(found, gates))


def followed(folders: Sequence[Path], axis: str, gates: Sequence[Gate], slo: Slo | None) -> ComparisonShown:
    """Return the trend over an axis; its gates are those of the last measurement."""
    from engine_probe.evaluation.trend import trend_over
    from engine_probe.report.compare_document import trend_document
    from engine_probe.report.renderers.json_comparison import trend_figures

    found = trend_over(folders, axis, slo)
    return ComparisonShown([found.last], lambda: trend_document(found, gates), lambda: trend_figures(found, gates))


def check_sides(
    folders: Sequence[Path], others: Sequence[Path], earlier: Sequence[Path], axis: str | None = None
) -> None:
    if axis is not None and (others or earlier):
        raise InputError("--trend puts all measurements on one axis: leave --against and --history out")
    if not others and len(folders) < 2:
        raise InputError(f"there is nothing to compare {folders[0]} with: name a second folder")
    if others and earlier:
        raise InputError("--history is for one measurement on each side: with --against, name all of them as sides")


def asked_slo(limits: Sequence[str], prices: str | None, cost_per_hour: str | None) -> Slo | None:
    """Return the limits of `--goodput`, with the prices by which costs are compared."""
    import msgspec

    from engine_probe.analysis.run.slo import Slo, read_goodput
    from engine_probe.evaluation.money.price_list import judged_with, prices_of

    priced = prices_of(prices, cost_per_hour, None)
    slo = judged_with(read_goodput(list(limits)), priced)
    return slo if priced is None else msgspec.structs.replace(slo or Slo(), prices=priced)


def on_terminal(kind: str, page: Path | None) -> bool:
    """Return whether a terminal shows the comparison, its bounds included."""
    from engine_probe.commands.options.console import is_piped

    return kind == "table" and page != STANDARD_OUTPUT and not is_piped()


def show(compared: ComparisonShown, gates: Sequence[Gate], kind: str, strict: bool, verbose: bool) -> None:
    from engine_probe.commands.options.console import PIPED_WIDTH, output_console
    from engine_probe.report.brief_document import LINES
    from engine_probe.report.renderers.junit import junit
    from engine_probe.report.renderers.markdown import markdown
    from engine_probe.report.renderers.terminal import print_document

    if kind == "json":
        click.echo(compared.figures())
    elif kind == "junit":
        click.echo(junit(compared.found, gates, strict), nl=False)
    elif kind == "markdown":
        click.echo(markdown(compared.document()), nl=False)
    else:
        lines = LINES * len(compared.found)
        print_document(compared.document(), output_console(PIPED_WIDTH), verbose, MORE, lines)
