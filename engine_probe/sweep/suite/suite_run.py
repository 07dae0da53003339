"""Runs a suite: one sweep after the other, whatever happens to each of them.

`suite.json` is written before and after every sweep, so that at any moment `--resume` knows what is left. A sweep that
cannot start is a row with its reason, and the next one goes on.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
from msgspec.structs import replace

from engine_probe.errors import INTERRUPTED, EngineProbeError
from engine_probe.files.config_file import RESULT_FILE, SUITE_FILE
from engine_probe.files.new_file import atomic_write, writing
from engine_probe.recordings.suite import (
    COMPLETE,
    FAILED,
    PARTIAL,
    RUNNING,
    WAITING,
    SuiteState,
    SweepState,
    read_state,
)
from engine_probe.sweep.definition.loader import read_sweep
from engine_probe.sweep.definition.sweep_file import SweepFile
from engine_probe.sweep.execution.folders import RESUMABLE, rows_of, set_aside
from engine_probe.sweep.execution.skip_saturated import SATURATED
from engine_probe.sweep.results.point_results import SKIPPED
from engine_probe.sweep.suite.plan import PlannedSweep, Prepare, as_it_is, failed, read
from engine_probe.text_format import counted

Say = Callable[[str], None]


# Measures a sweep into a folder, which may hold a part of it already, and returns its exit code.
MeasureSweep = Callable[[SweepFile, SweepState, Path, bool], int]


class SuiteRun:
    """A suite in its folder, with the rows of its sweeps."""

    def __init__(self, folder: Path, state: SuiteState, found: Sequence[PlannedSweep]) -> None:
        self.folder, self.state = folder, state
        self._found = list(found)

    @classmethod
    def resumed(cls, folder: Path, prepare: Callable[[SuiteState], Prepare] = lambda _: as_it_is) -> "SuiteRun":
        """Go on in the folder of a suite: complete sweeps are kept, the others are measured or gone on with."""
        state = read_state(folder)
        change = prepare(state)
        found = [
            PlannedSweep(row, None) if row.status == COMPLETE else begun(folder, row, change) for row in state.sweeps
        ]
        return cls(folder, replace(state, sweeps=[each.state for each in found]), found)

    @property
    def left(self) -> list[int]:
        """Return the places of the sweeps that are not complete, in their order."""
        return [place for place, row in enumerate(self.state.sweeps) if row.status != COMPLETE]

    def sweep_at(self, place: int) -> SweepFile | None:
        """Return a sweep that is left. None if it cannot be read."""
        return self._found[place].sweep

    def save(self) -> None:
        path = self.folder / SUITE_FILE
        with writing(path, RESUMABLE):
            atomic_write(path, msgspec.json.format(msgspec.json.encode(self.state), indent=1))

    def run(self, measure: MeasureSweep, say: Say) -> int:
        """Measure what is left. Return 0 if all is complete, 1 if some of it, else the code of the last failure."""
        self.save()
        for place in self.left:
            each, row = self._found[place], self.state.sweeps[place]
            if each.sweep is None:
                say(f"{row.name}, not {self.state.how}: {row.reason}")
                continue
            try:
                ended = self._measure(place, each.sweep, measure)
            except KeyboardInterrupt:
                return INTERRUPTED
            if ended.exit_code == INTERRUPTED:
                return INTERRUPTED
            if ended.reason:
                say(f"{row.name}, {ended.status}: {ended.reason}")
        rows = self.state.sweeps
        if all(row.status == COMPLETE for row in rows):
            return 0
        measured = any(row.status in (COMPLETE, PARTIAL) for row in rows)
        return 1 if measured else rows[-1].exit_code or 1

    def _measure(self, place: int, sweep: SweepFile, measure: MeasureSweep) -> SweepState:
        row = self._set(place, replace(self.state.sweeps[place], status=RUNNING, exit_code=0, reason=""))
        folder, begin = self.folder / row.folder, time.monotonic()
        resume = (folder / RESULT_FILE).is_file()
        if not resume:
            set_aside_what_is_left(folder)
        try:
            code = measure(sweep, row, folder, resume)
            ended = replace(row, **outcome(folder, code))
        except EngineProbeError as error:
            ended = failed(row, error)
        return self._set(place, replace(ended, seconds=row.seconds + time.monotonic() - begin))

    def _set(self, place: int, row: SweepState) -> SweepState:
        self.state.sweeps[place] = row
        self.save()
        return row


def begun(folder: Path, row: SweepState, prepare: Prepare) -> PlannedSweep:
    """Read a sweep that is not complete: as it was asked for where a part of it is measured, or else again."""
    place, again = folder / row.folder, replace(row, status=WAITING, exit_code=0, reason="")
    if not (place / RESULT_FILE).is_file():
        return read(again, prepare)
    try:
        return PlannedSweep(again, read_sweep(str(place)))
    except EngineProbeError as error:
        return PlannedSweep(failed(row, error), None)


def outcome(folder: Path, code: int) -> dict[str, object]:
    """Return what an exit code of a sweep says of its row."""
    if code == 0:
        return {"status": COMPLETE, "exit_code": 0, "reason": left_out(folder)}
    if code == INTERRUPTED:
        return {"exit_code": code, "reason": "interrupted"}
    lost = rows_of(folder, lambda row: row["status"] not in (COMPLETE, SKIPPED))
    reasons = dict.fromkeys(str(row.get("reason", "")) for row in lost)
    counted = f"{len(lost)} of its points are not measured" if lost else f"it ended with exit code {code}"
    why = next(iter(reasons), "")
    status = PARTIAL if rows_of(folder, lambda row: row["status"] == COMPLETE) else FAILED
    return {"status": status, "exit_code": code, "reason": f"{counted}: {why}" if why else counted}


def left_out(folder: Path) -> str:
    """Say which points of a sweep were left out, and why; those beyond saturation are as its file wants it."""
    rows = rows_of(folder, lambda row: row["status"] == SKIPPED and not str(row.get("reason")).startswith(SATURATED))
    reasons = dict.fromkeys(str(row.get("reason", "")) for row in rows)
    return f"{counted(len(rows), 'point')} left out: {'; '.join(reasons)}" if rows else ""


def set_aside_what_is_left(folder: Path) -> None:
    """Rename a folder in which a sweep was killed before it wrote a row."""
    if folder.is_dir() and any(folder.iterdir()):
        set_aside(folder)
