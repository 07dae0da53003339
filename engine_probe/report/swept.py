"""A sweep folder, opened: its points in the order they were asked in, each with its recording or the reason for none.

Only what was asked is read from `sweep.json`; every figure is counted again in the recordings.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine_probe.analysis.anatomy import Anatomy, anatomy
from engine_probe.analysis.points import PointFigures
from engine_probe.errors import InputError
from engine_probe.record.folder import COMPLETE
from engine_probe.run import Run, load

RESULT_FILE = "sweep.json"
POINTS_FOLDER = "points"


@dataclass(frozen=True)
class SweptPoint:
    """A point with a whole recording, or with the reason for having none."""

    id: str
    label: str  # of the curve it belongs to; empty where the sweep has only one
    concurrency: int
    run: Run | None
    anatomy: Anatomy | None
    reason: str = ""

    @property
    def figures(self) -> PointFigures | None:
        if self.anatomy is None:
            return None
        return PointFigures(self.id, self.concurrency, self.anatomy.summary, self.anatomy.limits)


@dataclass(frozen=True)
class Swept:
    folder: Path
    question: str
    points: tuple[SweptPoint, ...]

    @property
    def curves(self) -> dict[str, list[SweptPoint]]:
        """Points that differ in concurrency alone, or are repeats of one another."""
        found: dict[str, list[SweptPoint]] = {}
        for point in self.points:
            found.setdefault(point.label, []).append(point)
        return found


def is_sweep(folder: Path) -> bool:
    return (folder / RESULT_FILE).is_file()


def open_sweep(folder: Path) -> Swept:
    path = folder / RESULT_FILE
    try:
        document = json.loads(path.read_bytes())
        question = str(document["sweep"]["question"])
        asked = [(str(row["id"]), workload(row["point"]), row) for row in document["points"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{path} is not what a sweep writes ({type(error).__name__}: {error})") from error
    labels = curve_labels([row["point"] for _, _, row in asked])
    points = [
        open_point(folder, id_, int(work["concurrency"]), label, row)
        for (id_, work, row), label in zip(asked, labels, strict=True)
    ]
    return Swept(folder, question, tuple(points))


def workload(point: dict[str, Any]) -> dict[str, Any]:
    """What the requests of a point were."""
    work: dict[str, Any] = point.get("workload", point)
    if not isinstance(work["concurrency"], int) or work["concurrency"] < 1:
        raise ValueError(f"concurrency is {work['concurrency']!r}")
    return work


def open_point(folder: Path, id_: str, concurrency: int, label: str, row: dict[str, Any]) -> SweptPoint:
    place = folder / POINTS_FOLDER / Path(id_).name
    if not (place / "run.json").is_file():
        return SweptPoint(id_, label, concurrency, None, None, str(row.get("reason", "") or "no recording"))
    try:
        run = load(place)
        if run.status != COMPLETE:
            return SweptPoint(id_, label, concurrency, run, None, "; ".join(run.notes))
        return SweptPoint(id_, label, concurrency, run, anatomy(run))
    except InputError as error:
        return SweptPoint(id_, label, concurrency, None, None, str(error))


def curve_labels(points: list[dict[str, Any]]) -> list[str]:
    """For each point what sets its curve apart: the settings, but concurrency, in which the points differ."""
    settings = [flat(point) for point in points]
    ignored = {"concurrency", "num_prompts", "repeat", "label", "seed"}
    names = [name for name in dict.fromkeys(name for each in settings for name in each) if name not in ignored]
    varied = [name for name in names if len({json.dumps(each.get(name)) for each in settings}) > 1]
    return [", ".join(f"{name} {each.get(name, '-')}" for name in varied) for each in settings]


def flat(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings by their last name: `workload.input_len` is `input_len`."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        found |= flat(value) if isinstance(value, dict) else {name: value}
    return found
