"""A report as a person reads it in a terminal: a run in a page, a sweep in a table and what it says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import mean

from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from engine_probe.analysis.curve.levels import PointFigures
from engine_probe.analysis.curve.regions import MEANINGS, letter
from engine_probe.analysis.run_analysis import RunAnalysis
from engine_probe.evaluation.published import Beside, Reference, beside
from engine_probe.recordings.curve import Curve
from engine_probe.recordings.run import Run
from engine_probe.recordings.sweep import Swept
from engine_probe.report.charts.levels import by_load, limits_cell, rate_and_latencies, repeats_note
from engine_probe.report.findings import run_verdicts, sweep_verdicts
from engine_probe.report.sections.advice import advice_lines, advised
from engine_probe.report.sections.ceiling_warnings import ceiling_warnings, sweep_doubts, sweep_warnings
from engine_probe.report.sections.gpu_health import health_words
from engine_probe.report.sections.load_effect import effect_view, load_effects
from engine_probe.report.sections.memory import memory_lines
from engine_probe.report.sections.precision import precision_view
from engine_probe.report.sections.prefix_cache import cache_cell, cache_verdict, worth_a_column
from engine_probe.report.sections.published import nothing_beside, reference_rows
from engine_probe.report.sections.roofline import roofline_words
from engine_probe.report.sections.slo import offers, slo_verdicts
from engine_probe.report.summary import summary_view
from engine_probe.text_format import plain

MEANS = ("tokens/s", "TTFT p50", "TPOT p50")
TITLES = ("waiting\npeak", "KV\npeak", "computed\ntwice")
STYLES = {"spare": "green", "shared": "yellow", "plateau": "yellow", "overload": "red"}


def print_run(run: Run, found: RunAnalysis, console: Console) -> None:
    console.print(Text(plain(f"{run.facts['model']['name']}, {run.folder}"), "bold"))
    console.print(summary_view(found.summary))
    print_limits(run, found, console)


def print_limits(run: Run, found: RunAnalysis, console: Console) -> None:
    """What held the run up, how near the ceilings it came, and where the memory went."""
    console.print(Text("\nWhat limits", "bold"))
    for warning in ceiling_warnings(found.roofline):
        console.print(Text(plain(warning), "bold red"))
    for said in (*run_verdicts(found), *roofline_words(found.roofline)):
        console.print(Text(plain(said)))
    if memory := list(memory_lines(run.facts, found.summary)):
        console.print(Text("\nMemory", "bold"), *memory, sep="\n")
    print_health([run], console)


def print_health(runs: Sequence[Run], console: Console) -> None:
    """The evidence that the cards were well, or not; nothing without cards."""
    if cards := list(health_words(runs)):
        console.print(Text("\nCards", "bold"), *(Text(plain(said)) for said in cards), sep="\n")


def print_sweep(swept: Swept, curves: Sequence[Curve], console: Console) -> None:
    console.print(Text(plain(swept.question), "bold"))
    if not swept.points:
        console.print(Text(plain(f"{swept.folder} holds no point yet: the sweep ended before its first"), "red"))
    for curve in curves:
        if curve.worth_words or len(curves) == 1:
            console.print(*curve_view(curve), sep="\n")
    if len(curves) > 1 and (alone := [curve for curve in curves if curve.figures and not curve.worth_words]):
        console.print(level_table(alone))
    if told := advised(swept, curves):
        console.print(*advice_lines(told), sep="\n")
    for curve in curves:
        if (effect := load_effects(swept.curves[curve.label], swept.scores)).tested:
            console.print(Text("\n" + plain(f"Does load change it? {curve.label}".rstrip()), "bold"))
            console.print(*effect_view(effect), sep="\n")
    measured = [point.anatomy for point in swept.points if point.anatomy]
    for warning in sweep_warnings(measured):
        console.print(Text(plain(warning), "bold red"))
    for doubt in sweep_doubts(measured):
        console.print(Text(plain(doubt), "yellow"))
    print_health(swept.runs, console)
    console.print()
    for said in offers(swept, curves):
        console.print(Text(plain(said), "dim"), soft_wrap=True)
    console.print(*precision_view(swept), sep="\n")
    for said in swept.unwatched_lines:
        console.print(Text(plain(said)))
    if swept.reference and swept.reference.figures:
        console.print(*reference_view(swept.reference, beside(swept.reference, swept, curves)), sep="\n")
    for said in swept.unmeasured:
        console.print(Text(plain(said), "red"))


def reference_view(reference: Reference, found: Sequence[Beside]) -> Iterator[RenderableType]:
    yield Text(f"\nPublished: {plain(reference.title)}", "bold")
    yield Text(plain(f"{reference.source}. {reference.doubt}"), "dim")
    if not found:
        yield Text(plain(nothing_beside(reference)))
        return
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for number, title in enumerate(("figure", "at", "published", "measured", "ratio", "differs in", "doubts")):
        table.add_column(title, justify="right" if 1 <= number <= 4 else "left")
    for row in reference_rows(found):
        table.add_row(*(Text(plain(cell)) for cell in row))
    yield table


def curve_view(curve: Curve) -> Iterator[RenderableType]:
    if curve.label:
        yield Text(f"\n{plain(curve.label)}", "bold")
    if curve.figures:
        yield level_table([curve])
    regions = dict.fromkeys(MEANINGS[kind] for kind in (curve.found.growth.shape if curve.found.growth else ()))
    yield from (Text(f"{meaning}.", "dim") for meaning in regions)
    yield Text()
    yield from (Text(said) for said in repeats_note(curve.figures))
    told = (*sweep_verdicts(curve.found, curve.unit), *cache_verdict(curve), *slo_verdicts(curve))
    yield from (Text(plain(said)) for said in told)


def level_table(curves: Sequence[Curve]) -> Table:
    """One row per load, over its repeats; of several curves with what sets each apart."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    load = curves[0].unit.removeprefix("requests ").replace(" ", "\n").replace("/", "\n/")
    cached = worth_a_column(curves)
    columns = rate_and_latencies([curve.figures for curve in curves])
    means = (f"{title}\n{told.reach}" for title, told in zip(MEANS, columns, strict=True))
    for title in (load, *means, *TITLES, *(["from\ncache"] if cached else [])):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("limited\nmost by")  # the one to give way where the terminal is narrow: figures are never cut
    table.add_column("\nregion" if len(curves) == 1 else "\nsettings", no_wrap=True)
    levels = [(curve, same) for curve in curves for same in by_load(curve.figures)]
    for (curve, same), *told in zip(levels, *(each.cells for each in columns), strict=True):
        last = region_cell(curve, same[0].load) if len(curves) == 1 else Text(plain(curve.label))
        found = [cache_cell(same)] if cached else []
        table.add_row(f"{same[0].load:g}", *told, *cells(same), *found, limits_cell(same), last)
    return table


def region_cell(curve: Curve, load: float) -> Text:
    region = curve.found.region(load)
    return Text(letter(curve.found, load), STYLES[region]) if region else Text("-")


def cells(same: Sequence[PointFigures]) -> list[str]:
    return [
        f"{max(each.summary.peak_waiting for each in same):,}",
        f"{max(each.summary.peak_kv_share for each in same):.0%}",
        f"{mean(each.summary.recomputed_share for each in same):.1%}",
    ]
