"""An opened measurement that is compared: a run, a sweep or a scored text."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from engine_probe.analysis.compare.changes import Change
from engine_probe.analysis.statistics.level_noise import in_rounds
from engine_probe.errors import InputError
from engine_probe.recordings.experiment import SWEEP
from engine_probe.recordings.perplexity import NAME, TextPoint, changed, open_alone, text_folder
from engine_probe.recordings.run import Run, load
from engine_probe.recordings.suite import is_suite, open_suite
from engine_probe.recordings.sweep import Swept, is_sweep, open_sweep
from engine_probe.recordings.sweep_point import SweptPoint


@dataclass(frozen=True)
class Side:
    """Holds the repeats of one point, and the point itself (None for a run outside a sweep)."""

    runs: list[Run]
    point: SweptPoint | None = None
    ids: list[str] = field(default_factory=list)  # of its points, hashes of their settings; none outside a sweep


class Opened(NamedTuple):
    """Holds a measurement's points by name, and by name why a point is missing or incomplete."""

    kind: str
    points: dict[str, Side]
    notes: dict[str, str]
    texts: dict[str, TextPoint]
    swept: Swept | None = None

    @property
    def in_rounds(self) -> bool:
        """Return whether other points were measured between the repeats of each point."""
        sides = enumerate(self.points.values())
        return in_rounds((number, run.facts["clock"]["wall_ns"]) for number, side in sides for run in side.runs)

    def named(self, name: str) -> str:
        """Return a name of this measurement, which says so if a twin predicted a part of it."""
        is_predicted = any(run.predicted for side in self.points.values() for run in side.runs)
        return f"{name} (predicted)" if is_predicted else name

    @property
    def started_ns(self) -> int:
        """Return when the first of its runs began, by the wall clock."""
        return min(int(run.facts["clock"]["wall_ns"]) for side in self.points.values() for run in side.runs)


def refuse_twice(folders: Sequence[Path]) -> None:
    places = [folder.resolve() for folder in folders]
    if twice := next((place for place in places if places.count(place) > 1), None):
        raise InputError(f"{twice} is named twice: each measurement counts once")


def opened(folder: Path) -> Opened:
    """Open a run, a sweep, a suite or a scored text."""
    if is_suite(folder):
        return opened_suite(folder)
    if not is_sweep(folder):
        if text_folder(folder):
            return Opened("perplexity result", {}, {}, {NAME: open_alone(folder)})
        run = load(folder)
        return Opened("run", {"": Side([run])}, {"": f"{folder}: {'; '.join(run.notes)}"} if run.notes else {}, {})
    return opened_sweep(folder, open_sweep(folder))


def opened_suite(folder: Path) -> Opened:
    """Open all sweeps of a suite; the name of each point ends with that of its sweep."""
    points: dict[str, Side] = {}
    notes: dict[str, str] = {}
    texts: dict[str, TextPoint] = {}
    for name, swept in open_suite(folder).sweeps.items():
        named = (replace(point, curve={**point.curve, SWEEP: name}) for point in swept.points)
        found = opened_sweep(folder, replace(swept, points=tuple(named)))
        points |= found.points
        notes |= found.notes
        texts |= {f"{text}, {name}": each for text, each in found.texts.items()}
    return Opened("suite", points, notes, texts)


def opened_sweep(folder: Path, swept: Swept) -> Opened:
    points: dict[str, Side] = {}
    notes = {}
    for point in swept.points:
        name = point.name
        if point.unprobed:
            notes[name] = f"{folder}: {name} ran without the probe: there is nothing to compare"
        elif point.cluster is not None and len(point.cluster.engines) > 1:
            engines = len(point.cluster.engines)
            notes[name] = f"{folder}: {name} was measured by {engines} engines together, and is not compared"
        elif point.run is None or point.analysis is None:
            notes[name] = f"{folder}: {name} was not measured: {point.reason}"
        else:
            side = points.setdefault(name, Side([], point))
            side.runs.append(point.run)
            side.ids.append(point.id)
    return Opened("sweep", points, notes, {text.name: text for text in swept.texts}, swept)


class TextChanges(NamedTuple):
    changes: dict[str, tuple[Change, float]]  # by name, with the seconds that the later measurement took
    notes: list[str]
    missing: list[str]  # names that are in both and cannot be compared


def text_changes(before: Path, old: dict[str, TextPoint], after: Path, new: dict[str, TextPoint]) -> TextChanges:
    """Compare the texts by name; note those that only one side has, and those that cannot be compared."""
    changes: dict[str, tuple[Change, float]] = {}
    notes, missing = [], []
    for name in dict.fromkeys((*old, *new)):
        if name not in old or name not in new:
            notes.append(f"only in {before if name in old else after}: {name}")
            continue
        change = changed(old[name], new[name])
        measured = new[name].measured
        if isinstance(change, str):
            notes.append(f"{name} is not compared: {change}")
            missing.append(name)
        elif measured is not None:
            changes[name] = change, measured.seconds
    return TextChanges(changes, notes, missing)
