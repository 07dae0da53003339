"""A point of a sweep that is next in its engine group, and what an engine makes of it."""

from pathlib import Path
from typing import NamedTuple

import msgspec

from engine_probe.errors import EngineProbeError, UnavailableError
from engine_probe.sweep.definition.sweep_file import Point
from engine_probe.sweep.results.point_results import FAILED, Row, Unmeasured


class PlannedPoint(NamedTuple):
    """A point, its number in the sweep, the folder of its recording, and its row if no engine is needed for it."""

    number: int
    point: Point
    folder: Path
    row: Row | None = None
    sent_as: str = ""  # its key, if its files have other paths on this machine

    @property
    def id(self) -> str:
        return self.sent_as or self.point.key

    def failed(self, reason: str, exit_code: int = UnavailableError.exit_code, status: str = FAILED) -> Unmeasured:
        """Return the row of this point when it could not be measured."""
        return Unmeasured(self.id, self.point, status, reason, exit_code, self.folder.name)


class Measurement(msgspec.Struct, frozen=True):
    """The row of a point that an engine was given."""

    row: Row
    engine_died: bool = False  # at this point, which is why there are no figures


class EngineStartError(EngineProbeError):
    """The engine ended before its first point began."""

    def __init__(self, sentence: str, exit_code: int) -> None:
        super().__init__(sentence)
        self.exit_code = exit_code
