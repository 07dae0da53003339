"""What a sweep tells its listener while it runs."""

from collections.abc import Callable

import msgspec

from engine_probe.engine.start_phases import Started, Starting
from engine_probe.perplexity.scoring import Scoring
from engine_probe.recordings.live_reader import Moment
from engine_probe.sweep.definition.search import Adaptive, Found
from engine_probe.sweep.engine_process.messages import Began, Notice, Ready, StartStep
from engine_probe.sweep.results.point_results import Row


class MeasuredBefore(msgspec.Struct, frozen=True):
    """The point with this number was measured by an earlier run; its row is the next event."""

    number: int


class SearchEnded(msgspec.Struct, frozen=True):
    """The result of a search."""

    curve: str
    adaptive: Adaptive
    found: Found
    problem: str | None  # why it ended early


class BestSoFar(msgspec.Struct, frozen=True):
    """Where a search over engine arguments is, after a trial."""

    trials: int  # so far
    of: int
    setting: str  # the best so far; empty if none is feasible
    value: float | None
    unit: str
    gain: float | None  # over the baseline; None if that is the best, or was not measured


class Placed(msgspec.Struct, frozen=True):
    """The engine of this group has a machine of the fleet."""

    host: str
    gpus: tuple[str, ...] = ()  # those it may use
    process: int = 0  # the parent of the engine's process
    node: str = ""  # the cluster's id of the machine


class Moved(msgspec.Struct, frozen=True):
    """A point was lost together with its machine, and will be measured again on another one."""

    number: int
    point: str
    host: str
    reason: str


class GroupEnded(msgspec.Struct, frozen=True):
    """This engine group has no points left."""


class LogText(msgspec.Struct, frozen=True):
    """New text of an engine's log on another machine."""

    text: str


# None: a tick has passed and nothing has changed.
Event = (
    StartStep
    | Notice
    | Starting
    | Started
    | Began
    | Ready
    | Scoring
    | Moment
    | Row
    | MeasuredBefore
    | SearchEnded
    | BestSoFar
    | Placed
    | Moved
    | GroupEnded
    | LogText
    | None
)
Show = Callable[[Event], None]
Listener = Callable[[Event, int | None], None]  # the event, and the number of its engine group where it has one
