"""The files of a sweep's folder, the names of its points' folders, and the rule that nothing in it is overwritten."""

import itertools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine_probe.errors import InputError, reason_of
from engine_probe.files.config_file import RESULT_FILE
from engine_probe.files.safe_read import read_json
from engine_probe.sweep.definition.sweep_file import Point
from engine_probe.workload.load import IN_ALL, RATE, USERS

LOG_STEM = "engine"
LOG_FILE = f"{LOG_STEM}.log"
RESUMABLE = "every finished point is kept, continue with --resume"  # where it cannot be written to any more
PARTIAL = ".partial"  # ends the name of a recording that is being copied here, which begins with a dot
POINTS = "points"
LOAD_NAMES = {USERS: "users", RATE: "request_rate", IN_ALL: "requests"}  # other loads are a concurrency
UNSAFE = re.compile(r"[^A-Za-z0-9._+=-]+")
LONGEST_VALUE, LONGEST_NAME = 40, 120
KEY_DIGITS = 6  # of a point's key, where two points would have one name


class PointFolders:
    """The folder of each point: named by its settings, and found again by its key however the sweep was extended.

    `sweep.json` has the folder of each row. A sweep of an earlier version named folders by the points' keys.
    """

    def __init__(self, folder: Path) -> None:
        self.sweep, self._points = folder, folder / POINTS
        rows = rows_of(folder, named)
        self._names = {row["id"]: Path(str(row.get("folder") or row["id"])).name for row in rows}

    def of(self, point: Point) -> Path:
        key = point.key
        if key not in self._names:
            self._names[key] = self._new_name(point, key)
        return self._points / self._names[key]

    def _new_name(self, point: Point, key: str) -> str:
        if (self._points / key).is_dir():
            return key
        name = folder_name(point)
        return f"{name},{key[:KEY_DIGITS]}" if name in self._names.values() else name


def folder_name(point: Point) -> str:
    """Return the settings in which the sweep's points differ, the load and the repeat, as the name of a folder.

    The first repeat has no number, so that a sweep that is resumed with more repeats names it as before. Without a
    `run.json`, which holds the point's key, the name has a part of the key.
    """
    if point.quality is not None:
        parts = [safe(part.replace(" ", "=", 1)) for part in point.label.split(", ")]
    else:
        load = f"{LOAD_NAMES.get(point.load_in, 'concurrency')}={point.load:g}"
        parts = [*(f"{safe(name)}={safe(value)}" for name, value in point.curve.items()), load]
    parts += [f"repeat={point.repeat + 1}"] if point.repeat else []
    if not point.has_run_json:
        parts.append(point.key[:KEY_DIGITS])
    name = ",".join(parts)
    return name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME].rstrip(',=.')},{point.key[:KEY_DIGITS]}"


def safe(value: object) -> str:
    """Return a value as a part of a folder's name that needs no quotes; of a path its end."""
    text = str(value).rstrip("/").rpartition("/")[2] if isinstance(value, str) else str(value)
    return UNSAFE.sub("_", text).strip("._-")[:LONGEST_VALUE] or "none"


def named(row: Any) -> bool:
    return isinstance(row.get("id"), str)


def rows_of(folder: Path, wanted: Callable[[dict[str, Any]], object]) -> list[dict[str, Any]]:
    """Return the wanted rows of `sweep.json`; none where the folder has none yet."""
    path = folder / RESULT_FILE
    if not path.exists():
        return []
    try:
        rows = read_json(path)["points"]
        if not all(isinstance(row.get("id", ""), str) for row in rows):
            raise TypeError("an id is no text")
        return [row for row in rows if wanted(row)]
    except (InputError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path} is not what a sweep writes ({reason_of(error)}), so it cannot be resumed: "
            "name another folder with --out"
        ) from error


def set_aside(recording: Path) -> None:
    """Rename an incomplete recording, so that the point can be measured again."""
    if recording.exists():
        number = next(n for n in itertools.count(1) if not recording.with_name(f"{recording.name}.cut-{n}").exists())
        recording.rename(recording.with_name(f"{recording.name}.cut-{number}"))


def new_log(folder: Path, stem: str = LOG_STEM) -> Path:
    """Return `engine.log`, or the next free number: every engine has a log of its own."""
    names = itertools.chain([f"{stem}.log"], (f"{stem}-{number}.log" for number in itertools.count(2)))
    return next(folder / name for name in names if not (folder / name).exists())
