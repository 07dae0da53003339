"""Scores that others gave the answers of a sweep: a file of points and requests, read and held against the sweep."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from engine_probe.errors import InputError

POINT, REQUEST = "point", "request_id"
Scores = dict[
    str, dict[str, dict[str, float]]
]  # name of the score -> point -> request (empty: the whole point) -> score


def read_scores(path: Path, points: Mapping[str, object]) -> Scores:
    """CSV with a column `point`, perhaps `request_id`, and one for each score; or JSON, point -> request -> score."""
    found: Scores = {}
    try:
        rows = list(from_csv(path) if path.suffix.lower() == ".csv" else from_json(path))
    except (OSError, ValueError, csv.Error, AttributeError) as error:
        raise InputError(f"--score {path}: {error}; give CSV with point,request_id,<score> or JSON") from error
    for place, name, point, request, value in rows:
        if point not in points:
            raise InputError(f"--score {path}: {place}: this sweep has no point {point!r}: name them as in its points/")
        try:
            score = float(value)
        except (TypeError, ValueError):
            raise InputError(f"--score {path}: {place}: {name} is {value!r}, expected a number") from None
        if not math.isfinite(score):
            raise InputError(f"--score {path}: {place}: {name} is {score}, expected a finite number: leave it out")
        found.setdefault(name, {}).setdefault(point, {})[request] = score
    if not found:
        raise InputError(f"--score {path} holds no score: give CSV with point,request_id,<score> or JSON")
    return found


Row = tuple[str, str, str, str, Any]  # where it stands, score, point, request, value


def from_csv(path: Path) -> Iterator[Row]:
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        names = [name for name in reader.fieldnames or () if name not in (POINT, REQUEST)]
        if POINT not in (reader.fieldnames or ()) or not names:
            raise ValueError(f"no column {POINT}" if names else "no column of scores")
        for number, row in enumerate(reader, start=2):
            for name in names:
                if row[name]:
                    yield f"line {number}", name, str(row[POINT]), str(row.get(REQUEST) or ""), row[name]


def from_json(path: Path) -> Iterator[Row]:
    for point, given in json.loads(path.read_bytes()).items():
        requests = given if isinstance(given, dict) else {"": given}
        for request, value in requests.items():
            yield f"{point}.{request}".rstrip("."), path.stem, point, request, value
