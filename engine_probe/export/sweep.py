"""A whole sweep for other programs: one table of its points, and every recording beside it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from engine_probe.errors import InputError
from engine_probe.export.arrow import export, new_folder
from engine_probe.files.new_file import fresh_file
from engine_probe.record.schema import SCHEMAS
from engine_probe.recordings.perplexity import TextPoint
from engine_probe.recordings.run import Run
from engine_probe.recordings.sweep import Swept
from engine_probe.recordings.sweep_point import SweptPoint

Say = Callable[[str], None]  # hears what is left out, and why
POINTS, PERPLEXITY = "points", "perplexity"  # names of the tables


def named_points(swept: Swept) -> dict[str, SweptPoint]:
    """Each point by a name of its own; repeats of one are counted."""
    times = Counter(point.name for point in swept.points)
    seen: Counter[str] = Counter()
    found = {}
    for point in swept.points:
        seen[point.name] += 1
        again = f" ({seen[point.name]} of {times[point.name]})" if times[point.name] > 1 else ""
        found[point.name + again] = point
    return found


def export_tables(swept: Swept, folder: Path, kind: str, say: Say) -> Iterator[str]:
    """Write the table of points, that of perplexities, and the tables of each point; yield what was written."""
    if not swept.points and not swept.texts:
        raise InputError(f"{swept.folder} holds no point yet: the sweep ended before its first")
    summaries = {POINTS: swept.table} | ({PERPLEXITY: perplexity_table(swept.texts)} if swept.texts else {})
    yield from map(str, export(summaries, folder, kind))
    for name, point in named_points(swept).items():
        if point.run is None:
            say(f"{name} has no tables: {point.reason}")
            continue
        try:
            tables = {table: getattr(point.run, table) for table in SCHEMAS}
        except InputError as error:
            say(f"{name} has no tables: {error}")
            continue
        if point.analysis is None:
            say(f"{name} is not whole: {point.reason}")
        place = folder / Path(point.id).name
        export(tables, place, kind)
        yield f"{place} ({name})"


def perplexity_table(texts: tuple[TextPoint, ...]) -> pa.Table:
    """A row for each engine that was to predict the text, or the reason for having no figure."""
    rows = []
    for text in texts:
        found = text.perplexity
        rows.append(
            {
                "point": text.id,
                "label": text.label,
                "perplexity": found.value if found else None,
                "half_width": found.reach if found else None,  # of the 95 % interval
                "tokens": found.tokens if found else None,
                "windows": found.windows if found else None,
                "reason": None if found else text.why_not,
            }
        )
    return pa.Table.from_pylist(rows)


def export_results(
    swept: Swept, folder: Path, result_of: Callable[[Run, str], dict[str, Any]], say: Say
) -> Iterator[str]:
    """Write `<id>.json` for each whole recording, labelled with the point's name; yield what was written."""
    results = {}
    for name, point in named_points(swept).items():
        if point.run is None or point.analysis is None:
            say(f"{name} is left out: {point.reason}")
            continue
        try:
            results[Path(point.id).name] = result_of(point.run, name)
        except InputError as error:
            say(f"{name} is left out: {error}")
    if not results:
        raise InputError(f"{swept.folder} holds no point that vllm bench would have a result of")
    new_folder(folder)
    for id_, result in results.items():
        path = folder / f"{id_}.json"
        with fresh_file(path) as file:
            file.write(json.dumps(result).encode())
        yield str(path)
