"""Resuming in a folder: a sweep that does not ask for a point that is finished there is refused before it starts."""

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from engine_probe.errors import InputError
from engine_probe.files.config_file import RESULT_FILE, read_asked
from engine_probe.files.safe_read import read_json
from engine_probe.record.run_folder import COMPLETE
from engine_probe.sweep.argument_search.space import ArgumentSearch, Setting, own_setting
from engine_probe.sweep.definition.axes import WORKLOAD
from engine_probe.sweep.definition.sweep_file import Point, SweepFile, points
from engine_probe.sweep.execution.events import Moved
from engine_probe.sweep.execution.folders import PointFolders, rows_of
from engine_probe.sweep.execution.repeated_failures import NOT_TRIED
from engine_probe.sweep.results.point_results import FAILED, Row, Unmeasured, finished

MOST_NAMED = 3
WAY_OUT = "ask for those points too, name no sweep to go on with the one in the folder, or measure elsewhere with --out"


def check_grid(folder: Path, todo: list[Point]) -> None:
    """Refuse a grid that lacks a point that is finished in the folder: its row would be lost."""
    asked = {point.key for point in todo}
    refuse(folder, [row for row in finished_rows(folder) if row["id"] not in asked])


def kept_of_search(folder: Path, sweep: SweepFile) -> list[Row]:
    """Return the rows of finished points that differ from the search's points by the load alone; refuse others.

    Which loads the search will ask for is unknown before it runs.
    """
    axis, bases = sweep.adaptive.axis if sweep.adaptive else "", points(sweep)
    return kept(folder, lambda row: at_load_of(row, bases, axis))


def kept_of_trials(folder: Path, sweep: SweepFile, base: Point, failed: Mapping[str, Unmeasured]) -> list[Row]:
    """Return the rows of trials that differ from the base by what is searched alone; refuse others."""
    search, axis = sweep.search, sweep.adaptive.axis if sweep.adaptive else ""
    assert search is not None
    found = [*kept(folder, lambda row: with_arguments_of(row, search, base, axis)), *failed.values()]
    order = {row["id"]: number for number, row in enumerate(rows_of(folder, lambda row: True))}
    return sorted(found, key=lambda row: order[row.id])


def settings_tried(rows: Sequence[Row], search: ArgumentSearch, base: Point) -> list[Setting]:
    """Return the settings of an interrupted search besides the first, in the order in which they were tried."""
    first = own_setting(search, base.engine.arguments)
    found: list[Setting] = []
    for row in rows:
        setting = own_setting(search, row.point.engine.arguments)
        if not row.point.repeat and setting is not None and setting != first and setting not in found:
            found.append(setting)
    return found


def has_ended(folder: Path, rows: Sequence[Row], search: ArgumentSearch, base: Point) -> bool:
    """Return whether this very search ended with these rows by the rule of earlier versions.

    To them a setting that cannot run was one of the trials, and none was tried in its place. Repeats come last.
    """
    path = folder / RESULT_FILE
    if not path.exists() or not any(row.point.repeat for row in rows):
        return False
    try:
        same = msgspec.convert(read_asked(path).get("search"), ArgumentSearch) == search
    except msgspec.ValidationError:  # of another version
        return False
    return same and 1 + len(settings_tried(rows, search, base)) == search.trials


def kept(folder: Path, point_of: Callable[[dict[str, Any]], Point | None]) -> list[Row]:
    """Return the rows of finished points that `point_of` knows; refuse others."""
    rows = [(row, point_of(row)) for row in finished_rows(folder)]
    refuse(folder, [row for row, point in rows if point is None])
    folders = PointFolders(folder)
    return [found for _, point in rows if point and (found := finished(folders.of(point), point))]


def with_arguments_of(row: dict[str, Any], search: ArgumentSearch, base: Point, axis: str) -> Point | None:
    """Return the point of this row if it is the base with other values of what is searched. None if not."""
    point = point_in(row)
    if point is None:
        return None
    given = {name: value for name, value in point.engine.arguments.items() if name in search.arguments}
    fixed = {name: value for name, value in base.engine.arguments.items() if name not in search.arguments}
    engine = msgspec.structs.replace(base.engine, arguments=fixed | given)
    return moved_to(row, point, msgspec.structs.replace(base, engine=engine, curve=point.curve), axis)


def failed_rows(folder: Path) -> dict[str, Unmeasured]:
    """Return the trials that an earlier run could not measure, by id: a search learns from them as they are."""
    rows = rows_of(folder, lambda row: row["status"] == FAILED and not str(row["reason"]).startswith(NOT_TRIED))
    try:
        return {row["id"]: msgspec.convert(row, Unmeasured) for row in rows}
    except (KeyError, msgspec.ValidationError):
        return {}  # of another version; they are tried again


def finished_rows(folder: Path) -> list[dict[str, Any]]:
    """Return the rows of measured points from `sweep.json`; none where the folder has none yet."""
    return rows_of(folder, lambda row: row["status"] == COMPLETE and row["id"])


def untried_ids(folder: Path) -> set[str]:
    """Return the points that an earlier run gave up untried: their turn comes before that of those that died."""
    return {row["id"] for row in rows_of(folder, lambda row: str(row.get("reason", "")).startswith(NOT_TRIED))}


def earlier_moves(folder: Path) -> list[Moved]:
    """Return the points that an earlier run lost with a machine. None of them if another version wrote them."""
    path = folder / RESULT_FILE
    try:
        return msgspec.convert(read_json(path)["moved"], list[Moved]) if path.exists() else []
    except (KeyError, msgspec.ValidationError):
        return []


def at_load_of(row: dict[str, Any], bases: Collection[Point], axis: str) -> Point | None:
    """Return the point of this row if it is one of the bases under another load. None if it is not."""
    point = point_in(row)
    if point is None or load_at(point, axis) is None:
        return None
    return next(filter(None, (moved_to(row, point, base, axis) for base in bases)), None)


def moved_to(row: dict[str, Any], point: Point, base: Point, axis: str) -> Point | None:
    """Return a point with the load and the repeat of the row's point. None if that is another point than the row's."""
    load = load_at(point, axis) if axis else None
    workload = base.workload if load is None else base.workload.at(axis, load)
    moved = msgspec.structs.replace(base, workload=workload, repeat=point.repeat, label=point.label)
    return moved if moved.key == row["id"] else None


def point_in(row: dict[str, Any]) -> Point | None:
    """Return the point of a row. None if another version wrote it, which had other words for it."""
    try:
        return msgspec.convert(row["point"], Point)
    except (KeyError, msgspec.ValidationError):
        return None


def load_at(point: Point, axis: str) -> Any:
    """Return the value of a load axis. None if the point has none."""
    found: Any = msgspec.to_builtins(point.workload)
    for part in axis.removeprefix(WORKLOAD).split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def refuse(folder: Path, lost: list[dict[str, Any]]) -> None:
    if not lost:
        return
    named = [str(row.get("point", {}).get("label") or row["id"]) for row in lost[:MOST_NAMED]]
    more = f" and {len(lost) - MOST_NAMED:,} more" if len(lost) > MOST_NAMED else ""
    count = "1 finished point" if len(lost) == 1 else f"{len(lost):,} finished points"
    raise InputError(f"{folder} holds {count} that this sweep does not ask ({'; '.join(named)}{more}): {WAY_OUT}")
