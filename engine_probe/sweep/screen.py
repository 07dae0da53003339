"""What a person sees of a sweep: live lines on a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Protocol

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from engine_probe.quality.scoring import Scoring
from engine_probe.record.follow import Moment
from engine_probe.sweep.events import Discovered, Event, Reused
from engine_probe.sweep.messages import Began, Said
from engine_probe.sweep.plan import Point
from engine_probe.sweep.remaining import Remaining
from engine_probe.sweep.result import (
    SKIPPED,
    PointResult,
    Row,
    Scored,
    Unmeasured,
    Unwatched,
)

PLAIN_SECONDS = 10  # between signs of life in a log


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


def scoring_line(point: Point, now: Scoring) -> str:
    told = f": {math.exp(now.nll / now.tokens):.3f} so far" if now.tokens else ""
    return f"{point.label}{told}, {now.done:,} of {now.windows:,} windows"


def result_line(result: Row) -> str:
    start = f"{result.point.label}:"
    if isinstance(result, Scored):
        return f"{start} {scored_words(result)}"
    if isinstance(result, Unmeasured):
        return f"{start} {result.reason}"
    if isinstance(result, Unwatched):
        return f"{start} {result.driven.seconds:.2f} s for {result.driven.steps:,} steps, nobody watching"
    return f"{start} {result.output_tokens_per_s:.1f} tokens/s over {result.seconds:.1f} s{ending(result)}"


def scored_words(result: Scored) -> str:
    if result.perplexity is None:
        return f"none: {result.not_finite_tokens:,} of {result.tokens:,} tokens have no finite probability"
    reach = "" if result.reach is None else f" ± {result.reach:.2g}"
    return f"{result.perplexity:.4f}{reach} over {result.tokens:,} tokens in {result.seconds:.1f} s"


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
        self._number, self._doing = 0, ""
        self._remaining = Remaining(todo)

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
                self._remaining.starting(time.monotonic())
                self._tell(text)
            case Began(number):
                self._number = number
                point = self._todo[number]
                self._remaining.began(point, time.monotonic())
                self._tell(place_in(number, self._total))
                self._bars.reset(self._line, description=point.label, total=point.workload.output_tokens, visible=True)
            case Reused(number):
                self._tell(f"{place_in(number, self._total)}: measured before")
            case None:
                self._tell(self._doing)
            case Moment():
                self._tell(self._doing)
                line = live_line(self._todo[self._number], event)
                self._bars.update(self._line, completed=event.output_tokens, description=line)
            case Scoring():
                self._tell(self._doing)
                line = scoring_line(self._todo[self._number], event)
                self._bars.update(self._line, completed=event.done, total=event.windows, description=line)
            case Discovered():
                self._bars.console.print(found_line(event), highlight=False)
            case PointResult() | Unmeasured() | Unwatched() | Scored():
                self._remaining.ended(event)
                self._bars.update(self._sweep, advance=1)
                self._bars.update(self._line, visible=False)
                mark = mark_of(event)
                self._bars.console.print(f"  {mark} {escape(result_line(event))}")

    def _tell(self, doing: str) -> None:
        """What the sweep is at, and how long it will take."""
        self._doing = doing
        self._bars.update(self._sweep, description=doing + self._remaining.words(time.monotonic()))


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
        self._scoring: Scoring | None = None  # how far a text is, where the point is one
        self._remaining = Remaining(todo)
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
                self._remaining.starting(time.monotonic())
                self._begin(text)
            case Began(number):
                self._point = self._todo[number]
                self._remaining.began(self._point, time.monotonic())
                left = self._remaining.words(time.monotonic())
                self._begin(f"{place_in(number, self._total)}{left}: {self._point.label}")
            case Reused(number):
                self._print(f"{place_in(number, self._total)}: measured before")
            case PointResult() | Unmeasured() | Unwatched() | Scored():
                self._remaining.ended(event)
                self._print(f"  {result_line(event)}")
            case Discovered():
                self._print(found_line(event))
            case None | Moment() | Scoring():
                self._scoring = event if isinstance(event, Scoring) else self._scoring
                if time.monotonic() - self._last >= PLAIN_SECONDS:
                    self._print(f"  {time.monotonic() - self._since:.0f} s: {self._state(event)}")

    def _state(self, event: Event) -> str:
        if self._point and self._scoring:
            return scoring_line(self._point, self._scoring)
        return live_line(self._point, event) if self._point and isinstance(event, Moment) else f"still {self._doing}"

    def _begin(self, doing: str) -> None:
        self._doing, self._since, self._scoring = doing, time.monotonic(), None
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
