"""What a person sees of engines that run side by side: where each runs, how far it is, and how long all will take."""

import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Self

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
from engine_probe.sweep.engine_process.messages import Began, Notice, StartStep
from engine_probe.sweep.execution import events
from engine_probe.sweep.progress import progress_lines
from engine_probe.sweep.progress.screens import PictureScreen
from engine_probe.sweep.progress.time_left import about
from engine_probe.sweep.results.point_results import PointResult, Row, Scored, Unmeasured, Unprobed
from engine_probe.text_format import counted

PLAIN_SECONDS = 30  # between signs of life of the same engine in a log
BAR_WIDTH = 8
MOST_SHOWN = 16  # engines on a terminal; the rest is counted


@dataclass
class GroupState:
    """What one engine group is doing."""

    host: str = ""  # empty until its engine has a machine
    gpus: tuple[str, ...] = ()
    doing: str = ""
    point: Point | None = None
    moment: Moment | Scoring | None = None
    printed_at: float = 0.0  # when a line about it was last printed
    phases: FinishedPhases = field(default_factory=FinishedPhases)

    @property
    def place(self) -> str:
        return f"{self.host} GPU {','.join(self.gpus)}" if self.gpus else self.host

    @property
    def state(self) -> str:
        if self.point is None:
            return self.doing
        if isinstance(self.moment, Scoring):
            return progress_lines.scoring_line(self.point, self.moment)
        return progress_lines.live_line(self.point, self.moment) if self.moment else f"{self.point.label}: warming up"

    @property
    def pieces(self) -> list[str]:
        """Return the state in pieces; a narrow terminal leaves out the last ones."""
        if self.point is None or not isinstance(self.moment, Moment):
            return [self.state]
        return [self.point.label, *progress_lines.live_figures(self.moment)]

    @property
    def progress(self) -> tuple[int, int | None]:
        """Return how much of the point is done, and of how much. None for the latter if it is unknown."""
        if isinstance(self.moment, Scoring):
            return self.moment.done, self.moment.windows
        total = self.point.output_tokens if self.point else None
        return (self.moment.output_tokens if self.moment and self.point else 0), total

    def update(self, event: events.Event, todo: list[Point]) -> None:
        match event:
            case events.Placed(host=host, gpus=gpus):
                self.host, self.gpus = host, gpus
            case StartStep(text):
                self.doing, self.point = text, None
            case Starting():
                self.doing = event.words
            case Started(seconds=seconds):
                self.doing = f"engine started in {seconds:.0f} s"
            case Began(number):
                self.point, self.moment = todo[number], None
            case Moment() | Scoring():
                self.moment = event
            case events.Moved():
                self.host, self.gpus, self.point, self.doing = "", (), None, "waiting for another machine"
            case PointResult() | Unmeasured() | Unprobed() | Scored():
                self.doing, self.point = "next point", None


class FleetState:
    """What all engine groups are doing, and how many points are done."""

    def __init__(self, todo: list[Point]) -> None:
        self.todo, self._total = todo, len(todo)
        self.groups: dict[int, GroupState] = {}
        self._done = self._measured = 0
        self._began = time.monotonic()

    def update(self, event: events.Event, group: int | None) -> GroupState | None:
        """Take an event. Return the state of its engine group; None if it has none, or has ended."""
        if isinstance(event, Row):
            self._done += 1
            self._measured += group is not None
        if group is None:
            return None
        if isinstance(event, events.GroupEnded):
            self.groups.pop(group, None)
            return None
        state = self.groups.setdefault(group, GroupState())
        state.update(event, self.todo)
        return state

    def place_in(self, number: int) -> str:
        return progress_lines.place_in(number, self._total)

    def summary(self, now: float) -> str:
        engines = counted(sum(bool(group.host) for group in self.groups.values()), "engine")
        of = f" of {self._total}" if self._total else ""
        return f"{self._done}{of} points, {engines} running{self._left(now)}"

    def _left(self, now: float) -> str:
        """Estimate the time left from the rate so far. Empty before a point was measured, and for a search."""
        left = self._total - self._done
        if not self._measured or left <= 0:
            return ""
        seconds = (now - self._began) / self._measured * left
        return f", {about(seconds)}"


class FleetTerminal(PictureScreen):
    """A line for the sweep and one for each engine, rewritten in place."""

    def __init__(self, todo: list[Point], console: Console | None = None) -> None:
        self._fleet = FleetState(todo)
        self._drawing = threading.Lock()  # rich draws the picture in a thread of its own
        super().__init__(console)  # last, because it draws the picture

    def show(self, event: events.Event, group: int | None = None) -> None:
        with self._drawing:
            state = self._fleet.update(event, group)
        where = f" [dim]{escape(state.place)}[/]" if state and state.place else ""
        match event:
            case PointResult() | Unmeasured() | Unprobed() | Scored():
                self._console.print(
                    f"  {progress_lines.mark_of(event)} {escape(progress_lines.result_line(event))}{where}"
                )
            case Notice(text):
                self._console.print(f"  {escape(text)}{where}")
            case events.Moved():
                self._console.print(f"  [yellow]↻[/] {escape(moved_line(event))}")
            case events.SearchEnded() | events.BestSoFar():
                self._console.print(escape(progress_lines.found_line(event)))

    def picture(self) -> Group:
        with self._drawing:
            return self._picture()

    def _picture(self) -> Group:
        groups = self._fleet.groups.values()
        at_work = [group for group in groups if group.host]
        table = Table.grid(padding=(0, 1, 0, 0), expand=True)
        table.add_column(no_wrap=True, min_width=2 + max((len(group.place) for group in at_work), default=0))
        table.add_column(no_wrap=True, min_width=BAR_WIDTH, ratio=1)
        table.add_column(no_wrap=True, ratio=3)
        for group in at_work[:MOST_SHOWN]:
            done, total = group.progress
            bar = ProgressBar(total=total or 1, completed=done)
            table.add_row(f"  {escape(group.place)}", bar, FittingLine(group.pieces))
        rest = [f"{len(at_work) - MOST_SHOWN} more running"] if len(at_work) > MOST_SHOWN else []
        waiting = Counter(group.doing for group in groups if not group.host and group.doing)
        rest += [f"{number} {doing}" for doing, number in waiting.items()]
        return Group(Text(self._fleet.summary(time.monotonic())), table, Text("  " + "; ".join(rest), style="dim"))


class FleetPlain:
    """A line for each event, with the place of its engine, and now and then one for each engine at work."""

    def __init__(self, todo: list[Point], verbose: bool) -> None:
        self._fleet, self._verbose = FleetState(todo), verbose

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None: ...

    def show(self, event: events.Event, group: int | None = None) -> None:
        state = self._fleet.update(event, group)
        if isinstance(event, events.MeasuredBefore):
            self._print(f"{self._fleet.place_in(event.number)}: measured before")
        if state is not None:
            self._show_of_group(event, state)

    def _show_of_group(self, event: events.Event, group: GroupState) -> None:
        match event:
            case StartStep(text) | Notice(text):
                self._print(text, group)
            case Starting():
                if phase := group.phases.ended(event):
                    self._print(phase.words, group)
                else:
                    self._sign_of_life(f"{group.state} so far", group)
            case Started(seconds=seconds):
                self._print(f"engine started in {seconds:.0f} s", group)
            case Began(number):
                self._print(f"{self._fleet.place_in(number)}: {self._fleet.todo[number].label}", group)
            case PointResult() | Unmeasured() | Unprobed() | Scored():
                self._print(progress_lines.result_line(event), group)
                self._print(self._fleet.summary(time.monotonic()))
            case events.Moved():
                self._print(moved_line(event))
            case events.SearchEnded() | events.BestSoFar():
                self._print(progress_lines.found_line(event))
            case events.LogText(text) if self._verbose:
                for line in text.splitlines():
                    self._print(line, group)
            case None | Moment() | Scoring():
                self._sign_of_life(group.state, group)

    def _sign_of_life(self, line: str, group: GroupState) -> None:
        if time.monotonic() - group.printed_at >= PLAIN_SECONDS:
            self._print(line, group)

    def _print(self, line: str, group: GroupState | None = None) -> None:
        place = f"[{group.place}] " if group and group.place else ""
        if group is not None:
            group.printed_at = time.monotonic()
        progress_lines.print_line(f"{place}{line}")


def moved_line(event: events.Moved) -> str:
    where = f"{event.host}: " if event.host else ""
    return f"{where}{event.reason}; {event.point} is measured again on another machine"
