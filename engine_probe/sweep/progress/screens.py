"""The progress of a sweep: a live picture on a terminal, plain lines elsewhere."""

import sys
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Protocol, Self

from rich.console import Console, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table

from engine_probe.engine.start_phases import FinishedPhases, Started, Starting, longest_first, worth_telling
from engine_probe.perplexity.scoring import Scoring
from engine_probe.recordings.live_reader import Moment
from engine_probe.report.renderers.live import FittingLine, LiveView, clock, two_ends
from engine_probe.sweep.definition.sweep_file import Point
from engine_probe.sweep.engine_process.messages import Began, Notice, StartStep
from engine_probe.sweep.execution.events import BestSoFar, Event, MeasuredBefore, SearchEnded
from engine_probe.sweep.progress import progress_lines
from engine_probe.sweep.progress.time_left import Remaining
from engine_probe.sweep.results.point_results import PointResult, Scored, Unmeasured, Unprobed

PLAIN_SECONDS = 10  # between signs of life in a log


class Screen(Protocol):
    """Shows the events of a sweep; a context manager, because a terminal has to be restored afterwards."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...

    def show(self, event: Event, group: int | None = None) -> None:
        """Show an event, and the number of the engine group that it is of."""


class PictureScreen(ABC):
    """A picture on a terminal, rewritten in place, with the lines that stay above it."""

    def __init__(self, console: Console | None) -> None:
        self._console = console or Console(stderr=True, highlight=False)
        self._live = Live(console=self._console, refresh_per_second=4, transient=True, get_renderable=self.picture)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.stop()

    @abstractmethod
    def picture(self) -> RenderableType: ...


class TerminalScreen(PictureScreen):
    """The sweep and the running point: a line and a bar for each, and the point's figures; rewritten in place."""

    def __init__(self, todo: list[Point], console: Console | None = None, heading: str = "") -> None:
        self._todo, self._total, self._heading = todo, len(todo), heading
        self._remaining = Remaining(todo)
        self._began = self._task_began = time.monotonic()
        self._doing = "starting"
        self._finished = self._number = 0
        self._task, self._figures = "", list[str]()
        self._done: float = 0
        self._of: float | None = None  # None: unknown
        super().__init__(console)  # last, because it draws the picture

    def show(self, event: Event, group: int | None = None) -> None:
        match event:
            case StartStep(text):
                self._remaining.starting(time.monotonic())
                self._doing = text
                self._begin(text, None)
            case Starting():
                self._task = event.words
                self._figures = longest_first(event.finished)
                self._done, self._of = event.share or 0, None if event.share is None else 1
            case Started():
                self._console.print(FittingLine(event.words), style="dim")
            case Notice(text):
                self._console.print(escape(text), style="dim")
            case Began(number):
                self._number = number
                point = self._todo[number]
                self._remaining.began(point, time.monotonic())
                self._doing = progress_lines.place_in(number, self._total)
                self._begin(point.label, point.output_tokens)
                self._figures = [] if point.quality else ["warming up"]
            case MeasuredBefore(number):
                self._doing = f"{progress_lines.place_in(number, self._total)}: measured before"
            case Moment():
                self._done, self._figures = event.output_tokens, progress_lines.live_figures(event)
            case Scoring():
                self._done, self._of = event.done, event.windows
                self._figures = [progress_lines.scoring_line(self._todo[self._number], event)]
            case SearchEnded() | BestSoFar():
                self._console.print(escape(progress_lines.found_line(event)))
            case PointResult() | Unmeasured() | Unprobed() | Scored():
                self._remaining.ended(event)
                self._finished += 1
                self._console.print(f"  {progress_lines.mark_of(event)} {escape(progress_lines.result_line(event))}")

    def _begin(self, task: str, of: float | None) -> None:
        self._task, self._task_began = task, time.monotonic()
        self._done, self._of, self._figures = 0, of, []

    def picture(self) -> Table:
        now = time.monotonic()
        rows = Table.grid(expand=True)
        if self._heading:
            rows.add_row(FittingLine([self._heading]))
        rows.add_row(two_ends(self._doing + self._remaining.words(now), clock(now - self._began)))
        rows.add_row(ProgressBar(total=self._total or None, completed=self._finished, pulse=not self._total))
        rows.add_row(two_ends(self._task, clock(now - self._task_began)))
        rows.add_row(ProgressBar(total=self._of, completed=self._done, pulse=self._of is None))
        rows.add_row(FittingLine(self._figures))
        return rows


class PointScreen(PictureScreen):
    """A single point: the phases of its engine's start, and then its recording while it grows."""

    def __init__(self, title: str, point: Point) -> None:
        self._view = LiveView(title, point.workload.output_tokens)
        super().__init__(None)

    def picture(self) -> LiveView:
        return self._view

    def show(self, event: Event, group: int | None = None) -> None:
        match event:
            case StartStep(text):
                self._view.say(text)
            case Starting():
                phases = [*worth_telling(event.finished), event.phase]
                self._view.start([(phase.name, phase.seconds) for phase in phases], event.share)
            case Notice(text):
                self._console.print(text, style="dim", markup=False)
            case Started():
                self._view.say("warming up")
                self._console.print(FittingLine(event.words), style="dim")
            case Moment():
                self._view.add(event)


class PlainScreen:
    """A line for each event, and one now and then while nothing happens."""

    def __init__(self, todo: list[Point], log: Path | None = None) -> None:
        self._todo, self._total = todo, len(todo)
        self._log = log  # vLLM's log, which is streamed
        self._shown_bytes = 0
        self._doing = ""
        self._point: Point | None = None
        self._scoring: Scoring | None = None  # how far a text is, where the point is one
        self._phases = FinishedPhases()
        self._remaining = Remaining(todo)
        self._since = self._last = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._show_log()

    def show(self, event: Event, group: int | None = None) -> None:
        self._show_log()
        match event:
            case StartStep(text):
                self._remaining.starting(time.monotonic())
                self._begin(text)
            case Starting():
                if phase := self._phases.ended(event):
                    self._print(f"  {phase.words}")
                elif time.monotonic() - self._last >= PLAIN_SECONDS:
                    self._print(f"  {event.words} so far")
            case Started(seconds=seconds):
                self._print(f"engine started in {seconds:.0f} s")
            case Notice(text):
                self._print(text)
            case Began(number):
                self._point = self._todo[number]
                self._remaining.began(self._point, time.monotonic())
                left = self._remaining.words(time.monotonic())
                self._begin(f"{progress_lines.place_in(number, self._total)}{left}: {self._point.label}")
            case MeasuredBefore(number):
                self._print(f"{progress_lines.place_in(number, self._total)}: measured before")
            case PointResult() | Unmeasured() | Unprobed() | Scored():
                self._remaining.ended(event)
                self._print(f"  {progress_lines.result_line(event)}")
            case SearchEnded() | BestSoFar():
                self._print(progress_lines.found_line(event))
            case None | Moment() | Scoring():
                self._scoring = event if isinstance(event, Scoring) else self._scoring
                self._sign_of_life(event)

    def _sign_of_life(self, event: Event) -> None:
        if time.monotonic() - self._last >= PLAIN_SECONDS:
            self._print(f"  {time.monotonic() - self._since:.0f} s: {self._state(event)}")

    def _state(self, event: Event) -> str:
        if self._point and self._scoring:
            return progress_lines.scoring_line(self._point, self._scoring)
        return (
            progress_lines.live_line(self._point, event)
            if self._point and isinstance(event, Moment)
            else f"still {self._doing}"
        )

    def _begin(self, doing: str) -> None:
        self._doing, self._since, self._scoring = doing, time.monotonic(), None
        self._print(doing)

    def _print(self, line: str) -> None:
        self._last = time.monotonic()
        progress_lines.print_line(line)

    def _show_log(self) -> None:
        if self._log is None or not self._log.is_file():
            return
        with self._log.open("rb") as log:
            log.seek(self._shown_bytes)
            fresh = log.read()
        self._shown_bytes += len(fresh)
        sys.stderr.write(fresh.decode(errors="replace"))
        sys.stderr.flush()


def can_draw() -> bool:
    """Return whether progress is drawn, on a terminal or where rich is told to, or told in lines."""
    return Console(stderr=True).is_terminal


def screen_of(point: Point) -> TerminalScreen | PlainScreen:
    return TerminalScreen([point]) if can_draw() else PlainScreen([point])
