"""What a sweep came to, on a terminal: a table for each curve, what its words mean, and what they say."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from statistics import mean

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from engine_probe.analysis.lines import NEAR
from engine_probe.analysis.regions import letter
from engine_probe.analysis.repeats import column, pooled
from engine_probe.analysis.saturation import Saturation
from engine_probe.report.terminal import duration
from engine_probe.sweep.driven import Between
from engine_probe.sweep.result import (
    RECOMPUTES_SHARE,
    SKIPPED,
    PointResult,
    Row,
    Unwatched,
    curve,
    curve_of,
    interpretation,
)
from engine_probe.workload.load import AT_ONCE, IN_ALL, RATE, USERS

REGION_STYLES = {"spare": "green", "shared": "yellow", "plateau": "yellow", "overload": "red"}
LOAD_TITLES = {AT_ONCE: "at\nonce", USERS: "users", RATE: "requests\n/s", IN_ALL: "requests\nin all"}
PRESSURE_STYLES = {"free": "green", "waits": "yellow", "recomputes": "red"}
PRESSURES = (
    "KV pressure: free, no request waited for KV blocks; waits, some did; recomputes,\n"
    f"at least {RECOMPUTES_SHARE:.0%} of the tokens were computed a second time, after preemptions."
)
REPEATS = (
    "A row is the mean over its repeats, and ± half the interval of that mean, with\n"
    "95% (Student's t), from how far the repeats of all rows lie apart."
)
REGIONS = (
    f"Region, and how sure: A, a request gets at least {NEAR:.0%} of what it gets alone; B,\n"
    "less, but throughput grows; B+, it no longer grows; C, it falls. It is read off\n"
    "the whole curve."
)


def idle_line(found: Between) -> str:
    """What a warm engine did not measure."""
    return (
        f"Between points the engine waited {found.between_seconds / found.points * 1000:.0f} ms each, "
        f"{found.share:.1%} of its time."
    )


def show_results(results: list[Row], console: Console) -> None:
    """A table for each curve over the load, what its words mean, and what they say."""
    results = [result for result in results if result.point.quality is None]  # those the report tells
    curves: dict[str, list[Row]] = {}
    for result in results:
        curves.setdefault(curve(result.point), []).append(result)
    if all(len({row.point.load for row in rows}) == 1 for rows in curves.values()):
        curves = {"": results}  # something else varies: one table, its points by name
    for name, rows in curves.items():
        if name:
            console.print(f"\n[bold]{escape(name)}[/]")
        console.print(table_of(rows))
    if any(isinstance(result, PointResult) for result in results):
        console.print(PRESSURES, style="dim")
    if any(len(level) > 1 for rows in curves.values() for level in levels_of(rows)):
        console.print(REPEATS, style="dim")
    if any(has_regions(rows) for rows in curves.values()):
        console.print(REGIONS, style="dim")
    if sentence := interpretation([result for result in results if isinstance(result, PointResult)]):
        console.print(f"\n{sentence}")


def has_regions(rows: list[Row]) -> bool:
    return len({curve(row.point) for row in rows}) == 1 and regions_of(rows).growth is not None


def regions_of(rows: list[Row]) -> Saturation:
    return curve_of([row for row in rows if isinstance(row, PointResult)])


def levels_of(rows: list[Row]) -> Iterator[list[Row]]:
    """Measured repeats of one point together; what has no figures is a row of its own."""
    alike = sorted(rows, key=lambda row: row.point.load)  # stable: points by name stay in their order
    for _, same in groupby(alike, key=lambda row: (row.point.load, curve(row.point))):
        level = list(same)
        measured: list[Row] = [row for row in level if isinstance(row, PointResult)]
        if measured:
            yield measured
        yield from ([row] for row in level if row not in measured)


def table_of(rows: list[Row]) -> Table:
    by_name = len({curve(row.point) for row in rows}) > 1
    levels = list(levels_of(rows))
    measured = [[row for row in level if isinstance(row, PointResult)] for level in levels]
    rates = column(pooled([[row.output_tokens_per_s for row in same] for same in measured if same]), "{:.1f}".format)
    firsts = column(pooled([[row.median_ttft_seconds for row in same] for same in measured if same]), seconds)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    title = "point" if by_name else LOAD_TITLES[rows[0].point.load_in]
    table.add_column(title, justify="left" if by_name else "right")
    table.add_column(f"tokens\n/s {rates.reach}".rstrip(), justify="right")
    table.add_column(f"TTFT p50\n{firsts.reach}".rstrip(), justify="right")
    for title in ("running\nmean", "waiting\npeak", "KV\npeak", "pre-\nempted"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("KV\npressure", no_wrap=True)
    found = regions_of(rows) if has_regions(rows) else None
    if found is not None:
        table.add_column("\nregion", no_wrap=True)
    means = zip(rates.cells, firsts.cells, strict=True)
    for level, same in zip(levels, measured, strict=True):
        first = level[0]
        region = [] if found is None else [region_cell(found, first)]
        name = escape(first.point.label) if by_name else f"{first.point.load:g}"
        table.add_row(name, *([*next(means), *counts(same)] if same else no_figures(first)), *region)
    return table


def seconds(value: float) -> str:
    """As a report writes it."""
    return duration(value * 1e9)


def region_cell(found: Saturation, row: Row) -> str:
    load = row.point.load
    kind = found.region(load)
    return f"[{REGION_STYLES[kind]}]{letter(found, load)}[/]" if kind and isinstance(row, PointResult) else "-"


def no_figures(result: Row) -> list[str]:
    if isinstance(result, Unwatched):
        tokens = result.driven.answered_tokens
        rate = "-" if tokens is None else f"{tokens / result.driven.seconds:.1f}"
        return [rate, *["-"] * 5, "[dim]unwatched[/]"]
    return [*["-"] * 6, f"[{'dim' if result.status == SKIPPED else 'red'}]{result.status}[/]"]


def counts(same: list[PointResult]) -> list[str]:
    """Of one level over its repeats; its pressure is the worst of them."""
    pressure = max((row.kv_pressure for row in same), key=list(PRESSURE_STYLES).index)
    twice = "" if pressure == "free" else f" {mean(row.recomputed_share for row in same):.0%}"
    return [
        f"{mean(row.mean_running for row in same):.1f}",
        str(max(row.peak_waiting for row in same)),
        f"{max(row.peak_kv_share for row in same):.0%}",
        f"{mean(row.preemptions for row in same):.4g}",
        f"[{PRESSURE_STYLES[pressure]}]{pressure}{twice}[/]",
    ]
