"""What happens while a sweep runs, as everybody who follows it hears it."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import msgspec

from engine_probe.engine.start_phases import Started, Starting
from engine_probe.errors import EngineProbeError
from engine_probe.perplexity.scoring import Scoring
from engine_probe.recordings.live_reader import Moment
from engine_probe.sweep.definition.search import Adaptive, Found
from engine_probe.sweep.definition.sweep_file import Point
from engine_probe.sweep.engine_process.messages import Began, Noted, Said
from engine_probe.sweep.execution.lanes import Lane, Left, Moved, Placed, Waiting, Words
from engine_probe.sweep.results.point_results import Row, Unmeasured

Numbered = tuple[int, Point, Path]  # a point, its number in the sweep, and its folder


class Reused(msgspec.Struct, frozen=True):
    """The point with this number was measured before: its row comes next."""

    number: int


class Finished(msgspec.Struct, frozen=True):
    """The row of the point with this number in the whole sweep."""

    number: int
    row: Row
    engine_died: bool = False  # at this point, which is why it has no figures


class Discovered(msgspec.Struct, frozen=True):
    """What a search came to."""

    curve: str
    adaptive: Adaptive
    found: Found
    problem: str | None  # why it ended early


class NeverBeganError(EngineProbeError):
    """An engine that ended before its first point, which was this one."""

    def __init__(self, sentence: str, exit_code: int, task: Numbered) -> None:
        super().__init__(sentence)
        self.exit_code = exit_code
        self.task = task


Event = (
    Said
    | Noted
    | Starting
    | Started
    | Began
    | Scoring
    | Reused
    | Moment
    | Row
    | Discovered
    | Waiting
    | Placed
    | Moved
    | Words
    | Left
    | Lane
    | None
)
Running = Generator["Event | Finished", None, Unmeasured | None]
