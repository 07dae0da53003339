"""What a sweep came to, on a terminal: a table for each curve, what its words mean, and what they say."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator
from itertools import compress, groupby
from statistics import mean

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
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
COUNTS = ("running\nmean", "waiting\npeak", "KV\npeak", "pre-\nempted")
PRESSURE = "KV\npressure"
DISPENSABLE = ("running\nmean", "pre-\nempted")
PRESSURES = (
    "KV pressure: free, no request waited for KV blocks; waits, some did; recomputes, "
    f"at least {RECOMPUTES_SHARE:.0%} of the tokens were recomputed after preemptions."
)
REPEATS = "Each row is the mean of its repeats ± half its 95% confidence interval (Student's t, variance pooled)."
REGIONS = (
    f"Region and its confidence, from the whole curve: A, a request gets at least {NEAR:.0%} of what it gets alone; "
    "B, less, but throughput still grows; B+, throughput no longer grows; C, it falls."
)


def idle_line(found: Between) -> str:
    """Say how long the engine was idle between points."""
    return (
        f"Between points the engine was idle for {found.between_seconds / found.points * 1000:.0f} ms each, "
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
        console.print(fitting_table(rows, console))
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


def fitting_table(rows: list[Row], console: Console) -> Table:
    """Return the table, without its dispensable columns where the terminal is narrow: a figure is never cut."""
    table = table_of(rows)
    unlimited = console.options.update(max_width=sys.maxsize)
    return table if Measurement.get(console, unlimited, table).maximum <= console.width else table_of(rows, DISPENSABLE)


def table_of(rows: list[Row], left_out: Collection[str] = ()) -> Table:
    by_name = len({curve(row.point) for row in rows}) > 1
    levels = list(levels_of(rows))
    measured = [[row for row in level if isinstance(row, PointResult)] for level in levels]
    rates = column(pooled([[row.output_tokens_per_s for row in same] for same in measured if same]), "{:.1f}".format)
    firsts = column(pooled([[row.median_ttft_seconds for row in same] for same in measured if same]), seconds)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    title = "point" if by_name else LOAD_TITLES[rows[0].point.load_in]
    table.add_column(title, justify="left" if by_name else "right", no_wrap=not by_name)
    titles = (f"tokens\n/s {rates.reach}".rstrip(), f"TTFT p50\n{firsts.reach}".rstrip(), *COUNTS, PRESSURE)
    shown = [title not in left_out for title in titles]
    for title in compress(titles, shown):
        table.add_column(title, justify="left" if title == PRESSURE else "right", no_wrap=True)
    found = regions_of(rows) if has_regions(rows) else None
    if found is not None:
        table.add_column("\nregion", no_wrap=True)
    means = zip(rates.cells, firsts.cells, strict=True)
    for level, same in zip(levels, measured, strict=True):
        first = level[0]
        region = [] if found is None else [region_cell(found, first)]
        name = escape(first.point.label) if by_name else f"{first.point.load:g}"
        figures = [*next(means), *counts(same)] if same else no_figures(first)
        table.add_row(name, *compress(figures, shown), *region)
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
