"""The folder of a suite: its state (`suite.json`), and its sweeps, opened by section."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from engine_probe.analysis.run.slo import Slo
from engine_probe.errors import InputError
from engine_probe.files.config_file import RESULT_FILE, SUITE_FILE
from engine_probe.files.safe_read import read_json_as
from engine_probe.notebook_view import NotebookView
from engine_probe.recordings.sweep import Swept, open_sweep

Status = Literal["waiting", "running", "complete", "partial", "failed"]
WAITING: Status = "waiting"
RUNNING: Status = "running"  # or killed in the middle
COMPLETE: Status = "complete"
PARTIAL: Status = "partial"  # some of its points are not measured
FAILED: Status = "failed"


class SectionState(msgspec.Struct, frozen=True):
    """A section of the document that a suite follows."""

    title: str
    together: bool  # its sweeps are one experiment
    reference: str | None  # a table of published figures
    note: str = ""


class SweepState(msgspec.Struct, frozen=True):
    """One sweep of a suite, and what came of it so far."""

    name: str
    section: int
    sweep: str  # its file or shipped name
    settings: list[str]  # as for --set
    folder: str  # below the suite's folder
    status: Status = WAITING
    exit_code: int = 0
    reason: str = ""  # why it could not be measured, or not completely
    seconds: float = 0.0


class SuiteState(msgspec.Struct, frozen=True):
    title: str
    source: str
    sections: list[SectionState]
    sweeps: list[SweepState]
    model: str | None = None  # measured in place of those of the sweeps
    twin: str | None = None  # the recording or the GPU that everything is predicted from; None: it is measured

    @property
    def shown_title(self) -> str:
        """Return the title, which says so if everything is predicted."""
        return self.title if self.twin is None else f"Predicted: {self.title}"

    @property
    def how(self) -> str:
        return "measured" if self.twin is None else "predicted"

    def __post_init__(self) -> None:
        if any(not 0 <= sweep.section < len(self.sections) for sweep in self.sweeps):
            raise ValueError("a sweep is of no section")
        if any(Path(sweep.folder).is_absolute() or ".." in Path(sweep.folder).parts for sweep in self.sweeps):
            raise ValueError("the folder of a sweep is not below that of the suite")


@dataclass(frozen=True)
class Suite(NotebookView):
    """A suite and its measured sweeps, by their names. Jupyter shows what each came to."""

    folder: Path
    state: SuiteState
    sweeps: Mapping[str, Swept]

    def of_section(self, number: int) -> dict[str, Swept]:
        names = [sweep.name for sweep in self.state.sweeps if sweep.section == number]
        return {name: self.sweeps[name] for name in names if name in self.sweeps}

    def __repr__(self) -> str:
        done = sum(sweep.status == COMPLETE for sweep in self.state.sweeps)
        return f"<Suite {self.state.shown_title} ({done} of {len(self.state.sweeps)} sweeps complete)>"


def is_suite(folder: Path) -> bool:
    return (folder / SUITE_FILE).is_file()


def read_state(folder: Path) -> SuiteState:
    if not is_suite(folder):
        raise InputError(f"{folder} holds no {SUITE_FILE}: give the folder of a suite")
    return read_json_as(folder / SUITE_FILE, SuiteState)


def load_suite(path: str | os.PathLike[str]) -> Suite:
    """Open the folder of a suite."""
    return open_suite(Path(path))


def open_suite(folder: Path, slo: Slo | None = None) -> Suite:
    """Open a suite's folder; sweeps that have no results yet are left out."""
    state = read_state(folder)
    places = {sweep.name: folder / sweep.folder for sweep in state.sweeps}
    found = {name: open_sweep(place, slo) for name, place in places.items() if (place / RESULT_FILE).is_file()}
    return Suite(folder, state, {name: swept for name, swept in found.items() if swept.points or swept.texts})
