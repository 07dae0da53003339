"""Where the files of a sweep are, and the rule that nothing which lies there is overwritten."""

from __future__ import annotations

import itertools
from pathlib import Path

from engine_probe.sweep.definition.sweep_file import Point

LOG_FILE = "engine.log"


def place_of(folder: Path, point: Point) -> Path:
    return folder / "points" / point.key


def set_aside(place: Path) -> None:
    """A recording that is not whole makes room, and is kept."""
    if place.exists():
        number = next(n for n in itertools.count(1) if not place.with_name(f"{place.name}.cut-{n}").exists())
        place.rename(place.with_name(f"{place.name}.cut-{number}"))


def new_log(folder: Path) -> Path:
    """engine.log, or the next free number: every engine's words are kept."""
    names = itertools.chain([LOG_FILE], (f"engine-{number}.log" for number in itertools.count(2)))
    return next(folder / name for name in names if not (folder / name).exists())
