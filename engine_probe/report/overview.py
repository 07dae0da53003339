"""A report as a person reads it in a terminal: a run in a page, a sweep in a table and what it says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from engine_probe.analysis.anatomy import Anatomy
from engine_probe.analysis.points import PointFigures
from engine_probe.report.plain import plain
from engine_probe.report.sweep_charts import Curve
from engine_probe.report.swept import Swept
from engine_probe.report.terminal import duration, summary_view
from engine_probe.report.verdicts import SEGMENTS, run_verdicts, sweep_verdicts
from engine_probe.run import Run

STYLES = {"spare": "green", "shared": "yellow", "plateau": "yellow", "overload": "red"}


def print_run(run: Run, found: Anatomy, console: Console) -> None:
    console.print(Text(plain(f"{run.facts['model']['name']}, {run.folder}"), "bold"))
    console.print(summary_view(found.summary))
    console.print(Text("\nWhat limits", "bold"))
    for said in run_verdicts(found):
        console.print(Text(plain(said)))


def print_sweep(swept: Swept, curves: Sequence[Curve], console: Console) -> None:
    console.print(Text(plain(swept.question), "bold"))
    for curve in curves:
        console.print(*curve_view(curve), sep="\n")
    for point in swept.points:
        if point.anatomy is None:
            console.print(Text(plain(f"{point.name} was not measured: {point.reason}"), "red"))


def curve_view(curve: Curve) -> Iterator[RenderableType]:
    if curve.label:
        yield Text(f"\n{plain(curve.label)}", "bold")
    if curve.figures:
        yield level_table(curve)
    regions = dict.fromkeys(SEGMENTS[kind] for kind in (curve.found.growth.shape if curve.found.growth else ()))
    yield from (Text(f"{meaning}.", "dim") for meaning in regions)
    yield Text()
    yield from (Text(said) for said in sweep_verdicts(curve.found, curve.unit))


def level_table(curve: Curve) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    titles = (
        curve.unit.removeprefix("requests ").replace(" ", "\n").replace("/", "\n/"),
        "tokens\n/s",
        "TTFT\np50",
        "TPOT\np50",
        "waiting\npeak",
        "KV\npeak",
        "computed\ntwice",
    )
    for title in titles:
        table.add_column(title, justify="right", no_wrap=True)
    for title in ("limited\nmost by", "\nregion"):
        table.add_column(title, no_wrap=True)
    for figures in curve.figures:
        table.add_row(*cells(curve, figures))
    return table


def cells(curve: Curve, figures: PointFigures) -> list[str | Text]:
    summary, region = figures.summary, curve.found.region(figures.load)
    return [
        f"{figures.load:g}",
        f"{summary.output_tokens_per_s:,.1f}",
        duration(figures.percentile_ns("TTFT", 50)),
        duration(figures.percentile_ns("TPOT", 50)),
        f"{summary.peak_waiting:,}",
        f"{summary.peak_kv_share:.0%}",
        f"{summary.recomputed_share:.1%}",
        figures.limits.main,
        Text(SEGMENTS[region].partition(",")[0], STYLES[region]) if region else "-",
    ]
