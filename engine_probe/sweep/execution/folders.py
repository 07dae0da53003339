"""The files of a sweep's folder, and the rule that nothing in it is overwritten."""

import itertools
from pathlib import Path

from engine_probe.sweep.definition.sweep_file import Point

LOG_STEM = "engine"
LOG_FILE = f"{LOG_STEM}.log"
RESUMABLE = "every finished point is kept, continue with --resume"  # where it cannot be written to any more
PARTIAL = ".partial"  # ends the name of a recording that is being copied here, which begins with a dot


def point_folder(folder: Path, point: Point) -> Path:
    return folder / "points" / point.key


def set_aside(recording: Path) -> None:
    """Rename an incomplete recording, so that the point can be measured again."""
    if recording.exists():
        number = next(n for n in itertools.count(1) if not recording.with_name(f"{recording.name}.cut-{n}").exists())
        recording.rename(recording.with_name(f"{recording.name}.cut-{number}"))


def new_log(folder: Path, stem: str = LOG_STEM) -> Path:
    """Return `engine.log`, or the next free number: every engine has a log of its own."""
    names = itertools.chain([f"{stem}.log"], (f"{stem}-{number}.log" for number in itertools.count(2)))
    return next(folder / name for name in names if not (folder / name).exists())
