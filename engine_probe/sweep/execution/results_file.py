"""The result of a sweep so far, on disk after every change (`sweep.json`)."""

from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from engine_probe.files.config_file import RESULT_FILE
from engine_probe.files.new_file import atomic_write, writing
from engine_probe.sweep.definition.search import Found
from engine_probe.sweep.definition.sweep_file import SweepFile
from engine_probe.sweep.execution.events import Moved
from engine_probe.sweep.execution.folders import RESUMABLE
from engine_probe.sweep.results.driver_log import between
from engine_probe.sweep.results.point_results import Row, Unmeasured


@dataclass
class ResultsFile:
    """The content of `sweep.json` in the folder; each `add_...` writes it."""

    folder: Path
    sweep: SweepFile
    rows: dict[int, Row] = field(default_factory=dict)  # by the number of the point
    found: dict[str, Found] = field(default_factory=dict)  # by the name of the searched curve
    moved: list[Moved] = field(default_factory=list)
    kept: list[Row] = field(default_factory=list)  # of an earlier search, which this one may not ask for again

    def add_row(self, number: int, row: Row) -> None:
        self.rows[number] = row
        self.save()

    def add_move(self, move: Moved) -> None:
        self.moved.append(move)
        self.save()

    def add_search(self, curve: str, found: Found) -> None:
        self.found[curve] = found
        self.save()

    def save(self) -> None:
        """Write `sweep.json` atomically."""
        path = self.folder / RESULT_FILE
        points = [self.rows[number] for number in sorted(self.rows)]
        asked = {row.id for row in points}
        points += [row for row in self.kept if row.id not in asked]
        idle = between(row.driven for row in points if not isinstance(row, Unmeasured) and row.driven)
        result = {"sweep": self.sweep, "points": points, "found": self.found, "moved": self.moved, "between": idle}
        with writing(path, RESUMABLE):
            atomic_write(path, msgspec.json.format(msgspec.json.encode(result)))
