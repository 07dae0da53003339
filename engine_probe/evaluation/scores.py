"""Scores of a sweep's answers, read from a file that another program wrote."""

import math
from collections.abc import Iterator, Set
from pathlib import Path
from typing import Any

from engine_probe.errors import InputError
from engine_probe.files.safe_read import read_csv, read_json, shown

POINT, REQUEST = "point", "request_id"
# name of the score -> point -> request (empty: the whole point) -> score
Scores = dict[str, dict[str, dict[str, float]]]


def read_scores(path: Path, points: Set[str]) -> Scores:
    """Read CSV with columns `point`, optionally `request_id`, and scores; or JSON of point -> request -> score."""
    scores: Scores = {}
    try:
        rows = list(from_csv(path) if path.suffix.lower() == ".csv" else from_json(path))
    except InputError as error:
        raise InputError(f"--score {path}: {error}; give CSV with point,request_id,<score> or JSON") from error
    for place, name, point, request, value in rows:
        if point not in points:
            raise InputError(f"--score {path}: {place}: this sweep has no point {point!r}: name them as in its points/")
        try:
            score = float(value)
        except (TypeError, ValueError, OverflowError):
            raise InputError(f"--score {path}: {place}: {name} is {shown(value)}, expected a number") from None
        if not math.isfinite(score):
            raise InputError(f"--score {path}: {place}: {name} is {score}, expected a finite number: leave it out")
        scores.setdefault(name, {}).setdefault(point, {})[request] = score
    if not scores:
        raise InputError(f"--score {path} holds no score: give CSV with point,request_id,<score> or JSON")
    return scores


Row = tuple[str, str, str, str, Any]  # place in the file, name of the score, point, request, value


def from_csv(path: Path) -> Iterator[Row]:
    columns, rows = read_csv(path)
    names = [name for name in columns if name not in (POINT, REQUEST)]
    if POINT not in columns or not names:
        raise InputError(f"no column {POINT}" if names else "no column of scores")
    for where, row in rows:
        for name in names:
            if row[name]:
                yield f"line {where.rpartition(':')[2]}", name, row[POINT], row.get(REQUEST, ""), row[name]


def from_json(path: Path) -> Iterator[Row]:
    document = read_json(path)
    if not isinstance(document, dict):
        raise InputError("it does not hold an object of points")
    for point, scores in document.items():
        requests = scores if isinstance(scores, dict) else {"": scores}
        for request, value in requests.items():
            yield f"{point}.{request}".rstrip("."), path.stem, point, request, value
