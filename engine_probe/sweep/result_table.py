"""What a sweep came to, on a terminal: a table for each curve, what its words mean, and what they say."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from engine_probe.analysis.lines import NEAR
from engine_probe.analysis.regions import letter
from engine_probe.analysis.saturation import Saturation
from engine_probe.sweep.driven import Between
from engine_probe.sweep.result import (
    RECOMPUTES_SHARE,
    SKIPPED,
    PointResult,
    Row,
    Scored,
    Unmeasured,
    Unwatched,
    curve,
    curve_of,
    interpretation,
)

REGION_STYLES = {"spare": "green", "shared": "yellow", "plateau": "yellow", "overload": "red"}
PRESSURE_STYLES = {"free": "green", "waits": "yellow", "recomputes": "red"}
PRESSURES = (
    "KV pressure: free, no request waited for KV blocks; waits, some did; recomputes,\n"
    f"at least {RECOMPUTES_SHARE:.0%} of the tokens were computed a second time, after preemptions."
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
    """A table for each curve over concurrency, what its words mean, and what they say."""
    results = [result for result in results if result.point.quality is None]  # those the report tells
    curves: dict[str, list[Row]] = {}
    for result in results:
        curves.setdefault(curve(result.point), []).append(result)
    if all(len({row.point.concurrency for row in rows}) == 1 for rows in curves.values()):
        curves = {"": results}  # something else varies: one table, its points by name
    for name, rows in curves.items():
        if name:
            console.print(f"\n[bold]{escape(name)}[/]")
        console.print(table_of(sorted(rows, key=lambda row: row.point.concurrency)))
    if any(isinstance(result, PointResult) for result in results):
        console.print(PRESSURES, style="dim")
    if any(has_regions(rows) for rows in curves.values()):
        console.print(REGIONS, style="dim")
    if sentence := interpretation([result for result in results if isinstance(result, PointResult)]):
        console.print(f"\n{sentence}")


def has_regions(rows: list[Row]) -> bool:
    return len({curve(row.point) for row in rows}) == 1 and regions_of(rows).growth is not None


def regions_of(rows: list[Row]) -> Saturation:
    return curve_of([row for row in rows if isinstance(row, PointResult)])


def table_of(rows: list[Row]) -> Table:
    by_name = len({curve(row.point) for row in rows}) > 1
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column("point" if by_name else "at\nonce", justify="left" if by_name else "right")
    titles = ("tokens\n/s", "1st token\nmedian", "running\nmean", "waiting\npeak", "KV\npeak", "pre-\nempted")
    for title in titles:
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("KV\npressure", no_wrap=True)
    found = regions_of(rows) if has_regions(rows) else None
    if found is not None:
        table.add_column("\nregion", no_wrap=True)
    for row in rows:
        region = [] if found is None else [region_cell(found, row)]
        table.add_row(*cells(escape(row.point.label) if by_name else str(row.point.concurrency), row), *region)
    return table


def region_cell(found: Saturation, row: Row) -> str:
    load = row.point.concurrency
    kind = found.region(load)
    return f"[{REGION_STYLES[kind]}]{letter(found, load)}[/]" if kind and isinstance(row, PointResult) else "-"


def cells(name: str, result: Row) -> list[str]:
    if isinstance(result, Unmeasured | Scored):
        return [name, *["-"] * 6, f"[{'dim' if result.status == SKIPPED else 'red'}]{result.status}[/]"]
    if isinstance(result, Unwatched):
        tokens = result.driven.answered_tokens
        rate = "-" if tokens is None else f"{tokens / result.driven.seconds:.1f}"
        return [name, rate, *["-"] * 5, "[dim]unwatched[/]"]
    twice = "" if result.kv_pressure == "free" else f" {result.recomputed_share:.0%}"
    return [
        name,
        f"{result.output_tokens_per_s:.1f}",
        "-" if result.median_first_token_seconds is None else f"{result.median_first_token_seconds:.2f} s",
        f"{result.mean_running:.1f}",
        str(result.peak_waiting),
        f"{result.peak_kv_share:.0%}",
        str(result.preemptions),
        f"[{PRESSURE_STYLES[result.kv_pressure]}]{result.kv_pressure}{twice}[/]",
    ]
