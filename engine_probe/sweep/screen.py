"""What a person sees of a sweep: live lines on a terminal, plain lines elsewhere, a table at the end."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Protocol

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.table import Table

from engine_probe.analysis.regions import letter
from engine_probe.analysis.saturation import Saturation
from engine_probe.record.follow import Moment
from engine_probe.sweep.driven import Between
from engine_probe.sweep.messages import Began, Said
from engine_probe.sweep.plan import Point
from engine_probe.sweep.result import (
    RECOMPUTES_SHARE,
    SKIPPED,
    PointResult,
    Row,
    Unmeasured,
    Unwatched,
    curve,
    curve_of,
    interpretation,
)
from engine_probe.sweep.run import Discovered, Event, Reused

PLAIN_SECONDS = 10  # between signs of life in a log
REGION_STYLES = {"spare": "green", "shared": "yellow", "plateau": "yellow", "overload": "red"}
PRESSURE_STYLES = {"free": "green", "waits": "yellow", "recomputes": "red"}
PRESSURES = (
    "KV pressure: free, no request waited for KV blocks; waits, some did; recomputes,\n"
    f"at least {RECOMPUTES_SHARE:.0%} of the tokens were computed a second time, after preemptions."
)
REGIONS = (
    "Region, and how sure: A, throughput grows in proportion; B, more slowly; B+, no\n"
    "longer; C, it falls. It is read off the whole curve."
)


class Screen(Protocol):
    """Shows events; a context manager, because a terminal has to be put right afterwards."""

    def __enter__(self) -> Screen: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def show(self, event: Event) -> None: ...


def live_line(point: Point, now: Moment) -> str:
    rate = now.output_tokens / now.seconds if now.seconds else 0.0
    return (
        f"{point.label}: {rate:.1f} tokens/s, {now.running} run, {now.waiting} wait, "
        f"KV {now.kv_share:.0%}, {now.preemptions} preempted"
    )


def result_line(result: Row) -> str:
    start = f"{result.point.label}:"
    if isinstance(result, Unmeasured):
        return f"{start} {result.reason}"
    if isinstance(result, Unwatched):
        return f"{start} {result.driven.seconds:.2f} s for {result.driven.steps:,} steps, nobody watching"
    return f"{start} {result.output_tokens_per_s:.1f} tokens/s over {result.seconds:.1f} s{ending(result)}"


def ending(result: PointResult) -> str:
    """Why a point ended before everything was answered, and how steady it was."""
    driven = result.driven
    if driven is None:
        return ""
    unanswered = driven.aborted + driven.never_handed_over
    early = f"; ended by stop.{driven.why}, {unanswered:,} requests unanswered" if driven.why != "answered" else ""
    if driven.steady is None:
        return early
    rate = driven.steady.rate
    if rate is None:
        return f"{early}; never steady"
    begin = (rate.from_ns - driven.started_ns) / 1e9
    said = f"{rate.output_tokens_per_s:.1f} ± {rate.relative:.1%} from {begin:.1f} s on"
    return f"{early}; steady: {said}" if driven.steady.reached else f"{early}; not steady: {said}"


def idle_line(found: Between) -> str:
    """What a warm engine did not measure."""
    return (
        f"Between points the engine waited {found.between_seconds / found.points * 1000:.0f} ms each, "
        f"{found.share:.1%} of its time."
    )


def place_in(number: int, total: int) -> str:
    """How many points a search takes nobody knows before."""
    return f"point {number + 1} of {total}" if total else f"point {number + 1}"


def found_line(event: Discovered) -> str:
    """What a search found, and how narrowly."""
    name, found = event.adaptive.axis.rpartition(".")[2], event.found
    start = f"{event.curve}: " if event.curve else ""
    if found.best is None:
        return f"{start}nothing found: {event.problem or f'not even {name} {found.below} meets the SLO'}"
    goal = "throughput saturates at" if event.adaptive.goal == "saturation" else "the SLO is met up to"
    tried = [f"{way} {value}" for way, value in (("above", found.above), ("below", found.below)) if value is not None]
    narrowed = f" (measured between: {', '.join(tried)})" if tried else ""
    high = f", highest at {found.highest}" if found.highest not in (None, found.best) else ""
    judged = {None: "", True: "; repeats confirm it", False: "; repeats do not settle it: chance may move it"}
    return f"{start}{goal} {name} {found.best}{high}{narrowed}{judged[found.sure]}"


class TerminalScreen:
    """A line for the sweep and a line for the running point, both rewritten in place."""

    def __init__(self, todo: list[Point]) -> None:
        self._todo, self._total = todo, len(todo)
        columns = (TimeElapsedColumn(), BarColumn(8), TextColumn("{task.description}"))
        self._bars = Bars(*columns, console=Console(stderr=True, highlight=False), refresh_per_second=4, transient=True)
        self._sweep = self._bars.add_task("starting", total=len(todo) or None)
        self._line = self._bars.add_task("", total=None, visible=False)
        self._number = 0

    def __enter__(self) -> TerminalScreen:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def show(self, event: Event) -> None:
        match event:
            case Said(text):
                self._bars.update(self._sweep, description=text)
            case Began(number):
                self._number = number
                point = self._todo[number]
                self._bars.update(self._sweep, description=place_in(number, self._total))
                self._bars.reset(self._line, description=point.label, total=point.workload.output_tokens, visible=True)
            case Reused(number):
                self._bars.update(self._sweep, description=f"{place_in(number, self._total)}: measured before")
            case Moment():
                line = live_line(self._todo[self._number], event)
                self._bars.update(self._line, completed=event.output_tokens, description=line)
            case Discovered():
                self._bars.console.print(found_line(event), highlight=False)
            case PointResult() | Unmeasured() | Unwatched():
                self._bars.update(self._sweep, advance=1)
                self._bars.update(self._line, visible=False)
                mark = mark_of(event)
                self._bars.console.print(f"  {mark} {escape(result_line(event))}")


def mark_of(row: Row) -> str:
    if not isinstance(row, Unmeasured):
        return "[green]✓[/]"
    return "[dim]·[/]" if row.status == SKIPPED else "[red]✗[/]"


class PlainScreen:
    """One line for each thing that happens, and one now and then while nothing does."""

    def __init__(self, todo: list[Point], log: Path | None = None) -> None:
        self._todo, self._total = todo, len(todo)
        self._log = log  # the engine's own words, to be shown as they come
        self._shown_bytes = 0
        self._doing = ""
        self._point: Point | None = None
        self._since = self._last = time.monotonic()

    def __enter__(self) -> PlainScreen:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._show_log()

    def show(self, event: Event) -> None:
        self._show_log()
        match event:
            case Said(text):
                self._begin(text)
            case Began(number):
                self._point = self._todo[number]
                self._begin(f"{place_in(number, self._total)}: {self._point.label}")
            case Reused(number):
                self._print(f"{place_in(number, self._total)}: measured before")
            case PointResult() | Unmeasured() | Unwatched():
                self._print(f"  {result_line(event)}")
            case Discovered():
                self._print(found_line(event))
            case None | Moment():
                if time.monotonic() - self._last >= PLAIN_SECONDS:
                    self._print(f"  {time.monotonic() - self._since:.0f} s: {self._state(event)}")

    def _state(self, event: Moment | None) -> str:
        return live_line(self._point, event) if self._point and event else f"still {self._doing}"

    def _begin(self, doing: str) -> None:
        self._doing, self._since = doing, time.monotonic()
        self._print(doing)

    def _print(self, line: str) -> None:
        self._last = time.monotonic()
        print(line, file=sys.stderr, flush=True)

    def _show_log(self) -> None:
        if self._log is None or not self._log.is_file():
            return
        with self._log.open("rb") as log:
            log.seek(self._shown_bytes)
            fresh = log.read()
        self._shown_bytes += len(fresh)
        sys.stderr.write(fresh.decode(errors="replace"))
        sys.stderr.flush()


def show_results(results: list[Row], console: Console) -> None:
    """A table for each curve over concurrency, what its words mean, and what they say."""
    curves: dict[str, list[Row]] = {}
    for result in results:
        curves.setdefault(curve(result.point), []).append(result)
    if all(len({row.point.concurrency for row in rows}) == 1 for rows in curves.values()):
        curves = {"": results}  # something else varies: one table, its points by name
    for name, rows in curves.items():
        if name:
            console.print(f"\n[bold]{escape(name)}[/]")
        console.print(table_of(sorted(rows, key=lambda row: row.point.concurrency)))
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
    if isinstance(result, Unmeasured):
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
