"""A sweep for other programs: a table of its points, and the tables of every recording."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from engine_probe.errors import InputError
from engine_probe.export.arrow import export, new_folder
from engine_probe.files.new_file import fresh_file
from engine_probe.record.schema import TABLES
from engine_probe.recordings.perplexity import TextPoint
from engine_probe.recordings.run import Run
from engine_probe.recordings.sweep import Swept
from engine_probe.recordings.sweep_point import SweptPoint

Say = Callable[[str], None]  # takes a message about what is left out
POINTS, PERPLEXITY = "points", "perplexity"  # names of the tables


def named_points(swept: Swept) -> dict[str, SweptPoint]:
    """Return the points by unique names; repeats are numbered."""
    repeats = Counter(point.name for point in swept.points)
    numbers: Counter[str] = Counter()
    points = {}
    for point in swept.points:
        numbers[point.name] += 1
        suffix = f" ({numbers[point.name]} of {repeats[point.name]})" if repeats[point.name] > 1 else ""
        points[point.name + suffix] = point
    return points


def export_tables(swept: Swept, folder: Path, kind: str, say: Say) -> Iterator[str]:
    """Write the tables of points and perplexities, and the tables of each point; yield what was written."""
    if not swept.points and not swept.texts:
        raise InputError(f"{swept.folder} holds no point yet: the sweep ended before its first")
    summaries = {POINTS: swept.table} | ({PERPLEXITY: perplexity_table(swept.texts)} if swept.texts else {})
    yield from map(str, export(summaries, folder, kind))
    for name, point in named_points(swept).items():
        if point.run is None:
            say(f"{name} has no tables: {point.reason}")
            continue
        try:
            tables = {table: getattr(point.run, table) for table in TABLES}
        except InputError as error:
            say(f"{name} has no tables: {error}")
            continue
        if point.analysis is None:
            say(f"{name} is incomplete: {point.reason}")
        point_folder = folder / point.run.folder.name
        export(tables, point_folder, kind)
        yield f"{point_folder} ({name})"


def perplexity_table(texts: tuple[TextPoint, ...]) -> pa.Table:
    """Return a row for each engine that scored the text, with the reason if it has no figure."""
    rows = []
    for text in texts:
        perplexity = text.perplexity
        rows.append(
            {
                "point": text.id,
                "label": text.label,
                "perplexity": perplexity.value if perplexity else None,
                "half_width": perplexity.reach if perplexity else None,  # of the 95 % interval
                "tokens": perplexity.tokens if perplexity else None,
                "windows": perplexity.windows if perplexity else None,
                "reason": None if perplexity else text.why_not,
            }
        )
    return pa.Table.from_pylist(rows)


def export_results(
    swept: Swept, folder: Path, result_of: Callable[[Run, str], dict[str, Any]], say: Say
) -> Iterator[str]:
    """Write a file for each complete recording, named as its folder and labelled with its point; yield their names."""
    results = {}
    for name, point in named_points(swept).items():
        if point.run is None or point.analysis is None:
            say(f"{name} is left out: {point.reason}")
            continue
        try:
            results[point.run.folder.name] = result_of(point.run, name)
        except InputError as error:
            say(f"{name} is left out: {error}")
    if not results:
        raise InputError(f"{swept.folder} holds no point with a result as vllm bench writes it")
    new_folder(folder)
    for place, result in results.items():
        path = folder / f"{place}.json"
        with fresh_file(path) as file:
            file.write(json.dumps(result).encode())
        yield str(path)
