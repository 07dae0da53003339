"""What a person sees of engines that run side by side: who runs where, how far each is, and how long all will take."""

from __future__ import annotations

import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from types import TracebackType

from rich.console import Console, Group
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from engine_probe.engine.start_phases import FinishedPhases, Started, Starting
from engine_probe.perplexity.scoring import Scoring
from engine_probe.recordings.live_reader import Moment
from engine_probe.report.renderers.live import FittingLine
from engine_probe.sweep.definition.sweep_file import Point
from engine_probe.sweep.engine_process.messages import Began, Noted, Said
from engine_probe.sweep.execution.events import Discovered, Event, Reused
from engine_probe.sweep.execution.lanes import Lane, Left, Moved, Placed, Words
from engine_probe.sweep.progress.progress_lines import (
    found_line,
    live_figures,
    live_line,
    mark_of,
    place_in,
    result_line,
    scoring_line,
)
from engine_probe.sweep.progress.screens import PictureScreen
from engine_probe.sweep.progress.time_left import about
from engine_probe.sweep.results.point_results import PointResult, Scored, Unmeasured, Unprobed

PLAIN_SECONDS = 30  # between signs of life of the same lane in a log
BAR_WIDTH = 8
MOST_SHOWN = 16  # lanes on a terminal; the rest is counted


@dataclass
class LaneState:
    """One lane, as it stands."""

    host: str = ""
    cards: tuple[str, ...] = ()
    doing: str = ""
    point: Point | None = None
    moment: Moment | Scoring | None = None
    told: float = 0.0  # when something of it was last printed
    phases: FinishedPhases = field(default_factory=FinishedPhases)

    @property
    def place(self) -> str:
        return f"{self.host} GPU {','.join(self.cards)}" if self.cards else self.host

    @property
    def state(self) -> str:
        if self.point is None:
            return self.doing
        if isinstance(self.moment, Scoring):
            return scoring_line(self.point, self.moment)
        return live_line(self.point, self.moment) if self.moment else f"{self.point.label}: warming up"

    @property
    def pieces(self) -> list[str]:
        """The state, in pieces of which a narrow terminal leaves out the last."""
        if self.point is None or not isinstance(self.moment, Moment):
            return [self.state]
        return [self.point.label, *live_figures(self.moment)]

    @property
    def progress(self) -> tuple[int, int | None]:
        """How much is done, and of how much, where that is known."""
        if isinstance(self.moment, Scoring):
            return self.moment.done, self.moment.windows
        total = self.point.workload.output_tokens if self.point else None
        return (self.moment.output_tokens if self.moment and self.point else 0), total

    def hear(self, event: Event, todo: list[Point]) -> None:
        match event:
            case Placed(host=host, cards=cards):
                self.host, self.cards = host, cards
            case Said(text):
                self.doing, self.point = text, None
            case Starting():
                self.doing = event.words
            case Started(seconds=seconds):
                self.doing = f"engine started in {seconds:.0f} s"
            case Began(number):
                self.point, self.moment = todo[number], None
            case Moment() | Scoring():
                self.moment = event
            case Moved():
                self.host, self.cards, self.point, self.doing = "", (), None, "waiting for another machine"
            case PointResult() | Unmeasured() | Unprobed() | Scored():
                self.doing, self.point = "next point", None


class Fleetwide:
    """What all lanes together have come to."""

    def __init__(self, todo: list[Point]) -> None:
        self.todo, self._total = todo, len(todo)
        self.lanes: dict[int, LaneState] = {}
        self._done = self._measured = 0
        self._began = time.monotonic()

    def hear(self, event: Event) -> LaneState | None:
        """The lane it is of."""
        number, inner = (event.number, event.event) if isinstance(event, Lane) else (None, event)
        if isinstance(inner, PointResult | Unmeasured | Unprobed | Scored):
            self._done += 1
            self._measured += number is not None
        if number is None:
            return None
        if isinstance(inner, Left):
            self.lanes.pop(number, None)
            return None
        row = self.lanes.setdefault(number, LaneState())
        row.hear(inner, self.todo)
        return row

    def place_in(self, number: int) -> str:
        return place_in(number, self._total)

    def summary(self, now: float) -> str:
        engines = sum(bool(lane.host) for lane in self.lanes.values())
        of = f" of {self._total}" if self._total else ""
        return f"{self._done}{of} points, {engines} engine{'' if engines == 1 else 's'} running{self._left(now)}"

    def _left(self, now: float) -> str:
        """As fast as so far; nothing before a point was measured, or where nobody knows how many there will be."""
        left = self._total - self._done
        if not self._measured or left <= 0:
            return ""
        seconds = (now - self._began) / self._measured * left
        return f", {about(seconds)}"


class FleetTerminal(PictureScreen):
    """A line for the sweep and one for each engine, rewritten in place."""

    def __init__(self, todo: list[Point], console: Console | None = None) -> None:
        self._all = Fleetwide(todo)
        super().__init__(console)  # last, because it draws the picture

    def show(self, event: Event) -> None:
        row = self._all.hear(event)
        inner = event.event if isinstance(event, Lane) else event
        where = f" [dim]{escape(row.place)}[/]" if row and row.place else ""
        match inner:
            case PointResult() | Unmeasured() | Unprobed() | Scored():
                self._console.print(f"  {mark_of(inner)} {escape(result_line(inner))}{where}")
            case Noted(text):
                self._console.print(f"  {escape(text)}{where}")
            case Moved():
                self._console.print(f"  [yellow]↻[/] {escape(moved_line(inner))}")
            case Discovered():
                self._console.print(escape(found_line(inner)))

    def picture(self) -> Group:
        at_work = [lane for lane in self._all.lanes.values() if lane.host]
        table = Table.grid(padding=(0, 1, 0, 0), expand=True)
        table.add_column(no_wrap=True, min_width=2 + max((len(lane.place) for lane in at_work), default=0))
        table.add_column(no_wrap=True, min_width=BAR_WIDTH, ratio=1)
        table.add_column(no_wrap=True, ratio=3)
        for lane in at_work[:MOST_SHOWN]:
            done, total = lane.progress
            bar = ProgressBar(total=total or 1, completed=done)
            table.add_row(f"  {escape(lane.place)}", bar, FittingLine(lane.pieces))
        rest = [f"{len(at_work) - MOST_SHOWN} more running"] if len(at_work) > MOST_SHOWN else []
        waiting = Counter(lane.doing for lane in self._all.lanes.values() if not lane.host and lane.doing)
        rest += [f"{number} {doing}" for doing, number in waiting.items()]
        return Group(Text(self._all.summary(time.monotonic())), table, Text("  " + "; ".join(rest), style="dim"))


class FleetPlain:
    """One line for each thing that happens, with its place; now and then one for each engine at work."""

    def __init__(self, todo: list[Point], verbose: bool = False) -> None:
        self._all, self._verbose = Fleetwide(todo), verbose

    def __enter__(self) -> FleetPlain:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def show(self, event: Event) -> None:
        row = self._all.hear(event)
        if not isinstance(event, Lane):
            if isinstance(event, Reused):
                self._print(f"{self._all.place_in(event.number)}: measured before")
            return
        if row is None:
            return
        match event.event:
            case Said(text) | Noted(text):
                self._print(text, row)
            case Starting():
                if phase := row.phases.ended(event.event):
                    self._print(phase.words, row)
                elif time.monotonic() - row.told >= PLAIN_SECONDS:
                    self._print(f"{row.state} so far", row)
            case Started(seconds=seconds):
                self._print(f"engine started in {seconds:.0f} s", row)
            case Began(number):
                self._print(f"{self._all.place_in(number)}: {self._all.todo[number].label}", row)
            case PointResult() | Unmeasured() | Unprobed() | Scored():
                self._print(result_line(event.event), row)
                self._print(self._all.summary(time.monotonic()))
            case Moved():
                self._print(moved_line(event.event))
            case Reused(number):
                self._print(f"{self._all.place_in(number)}: measured before")
            case Discovered():
                self._print(found_line(event.event))
            case Words(text) if self._verbose:
                for line in text.splitlines():
                    self._print(line, row)
            case None | Moment() | Scoring() if time.monotonic() - row.told >= PLAIN_SECONDS:
                self._print(row.state, row)

    def _print(self, line: str, row: LaneState | None = None) -> None:
        place = f"[{row.place}] " if row and row.place else ""
        if row is not None:
            row.told = time.monotonic()
        print(f"{place}{line}", file=sys.stderr, flush=True)


def moved_line(event: Moved) -> str:
    where = f"{event.host}: " if event.host else ""
    return f"{where}{event.reason}; {event.point} is measured again on another machine"
