"""An opened sweep: its points in the sweep's order, each with its recording or the reason why there is none.

Only the points' settings are read from `sweep.json`; all figures are computed again from the recordings.
"""

from __future__ import annotations

import itertools
import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa

from engine_probe.analysis.compare.changes import METRICS
from engine_probe.analysis.compare.engine_metrics import ENGINE_METRICS
from engine_probe.analysis.compare.probe_cost import ProbeCost, Timed, probe_cost
from engine_probe.analysis.curve.curve_settings import curve_settings, differing, flat
from engine_probe.analysis.curve.held_load import HELD_RATE
from engine_probe.analysis.curve.levels import held_rate
from engine_probe.analysis.run.slo import Slo
from engine_probe.errors import InputError, reason_of
from engine_probe.files.config_file import RESULT_FILE
from engine_probe.files.safe_read import read_json
from engine_probe.notebook_view import NotebookView
from engine_probe.recordings.curve import curves, points_by_curve
from engine_probe.recordings.perplexity import TextPoint, open_text
from engine_probe.recordings.run import Run
from engine_probe.recordings.sweep_point import SweptPoint, alone, open_point, unprobed_lines
from engine_probe.workload.load import load_of

if TYPE_CHECKING:
    import pandas

LONGEST_NAME = 200
MOST_NAMED = 8  # points in a sentence


def lost_points(names: Counter[str]) -> str:
    """Return the beginning of a sentence: which points were not measured, and how often."""
    if len(names) == 1:
        ((name, count),) = names.items()
        return f"{name} was not measured{f' ({count} times)' if count > 1 else ''}"
    named = "; ".join(itertools.islice(names, MOST_NAMED))
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return f"{named}{more} were not measured"


@dataclass(frozen=True)
class Swept(NotebookView):
    """A sweep and its points, in the sweep's order. Jupyter shows its curve and table."""

    folder: Path
    question: str
    points: tuple[SweptPoint, ...]
    settings: tuple[dict[str, Any], ...]  # of each point, those in which the points differ
    asked: dict[str, Any]  # the sweep's own document
    texts: tuple[TextPoint, ...] = ()  # the perplexity of each engine
    uri: str = ""  # of the folder, if it is a copy

    @property
    def curves(self) -> dict[str, list[SweptPoint]]:
        """Return the points of each curve by its name: points that differ only in load and repeat."""
        return points_by_curve(self.points)

    @property
    def unmeasured(self) -> list[str]:
        """Return a sentence for each reason why points have no recording."""
        lost: dict[str, Counter[str]] = {}
        for point in self.points:
            if not point.measured:
                lost.setdefault(point.reason, Counter())[point.name] += 1
        return [f"{lost_points(names)}: {reason}" for reason, names in lost.items()]

    @property
    def timed(self) -> list[Timed]:
        return [point.timed for point in self.points if point.timed]

    @property
    def probe_cost(self) -> ProbeCost | None:
        """Return the cost of the probe. None unless points were measured both with and without it."""
        return probe_cost(self.timed)

    @property
    def probe_off_lines(self) -> list[str]:
        return list(unprobed_lines(self.timed))

    @property
    def runs(self) -> list[Run]:
        """Return the complete recordings, in the order of their points."""
        return [run for point in self.points for run in point.runs]

    @property
    def clusters(self) -> list[SweptPoint]:
        """Return the measured points if several engines measured any of them together; else none."""
        together = any(point.cluster and len(point.cluster.engines) > 1 for point in self.points)
        return [point for point in self.points if point.cluster] if together else []

    @property
    def first_runs(self) -> dict[str, Run]:
        """Return a run of each curve that has one."""
        found = {label: [run for point in points for run in point.runs] for label, points in self.curves.items()}
        return {label: runs[0] for label, runs in found.items() if runs}

    @property
    def table(self) -> pa.Table:
        """Return a row for each point: its settings, its metrics and its bottleneck."""
        return sweep_table(self.points, self.settings)

    def to_pandas(self) -> pandas.DataFrame:
        frame: pandas.DataFrame = self.table.to_pandas()
        return frame

    def __repr__(self) -> str:
        without = sum(point.unprobed for point in self.points)
        also = f", {without} without the probe" if without else ""
        measured = sum(point.measured for point in self.points)
        how = "predicted" if any(run.predicted for run in self.runs) else "measured"
        return f"<Swept {self.folder} ({measured} of {len(self.points)} points {how}{also})>"


def is_sweep(folder: Path) -> bool:
    return (folder / RESULT_FILE).is_file()


def load_sweep(path: str | os.PathLike[str]) -> Swept:
    """Open the sweep in a folder."""
    folder = Path(path)
    if not is_sweep(folder):
        raise InputError(f"{folder} holds no {RESULT_FILE}: give the folder of a sweep")
    return open_sweep(folder)


def open_sweep(folder: Path, slo: Slo | None = None) -> Swept:
    """Open a sweep's folder; `slo` adds goodput to the summaries, as does that of a search over engine arguments."""
    path = folder / RESULT_FILE
    try:
        document = read_json(path)
        sweep = document["sweep"]
        if not isinstance(sweep.get("axes") or {}, dict):
            raise ValueError(f"axes is {sweep['axes']!r}")
        question = str(sweep["question"])
        slo = slo or slo_of_search(sweep)
        texts = [row for row in document["points"] if row["point"].get("quality")]
        rows = [row for row in document["points"] if not row["point"].get("quality")]
        predicted = tuple(open_text(folder, row, rows) for row in texts)
        names = [str(row.get(key)) for row in rows for key in ("id", "folder")]
        if long := next((each for each in names if len(each) > LONGEST_NAME), None):
            raise ValueError(f"a point's id or folder has {len(long)} characters")
        if any("id" not in row for row in rows):
            raise ValueError("a point has no id")
        loads = [load_of(row["point"].get("workload", row["point"])) for row in rows]
        curves = curves_of([row["point"] for row in rows], loads)
        varied = varied_settings([row["point"] for row in rows])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is not what a sweep writes ({reason_of(error)})") from error
    points = tuple(open_point(folder, *each, slo) for each in zip(rows, curves, loads, strict=True))
    if any(point.cluster for point in points):
        points = tuple(point if point.cluster else alone(point) for point in points)
    return Swept(folder, question, points, varied, sweep, texts=predicted)


def slo_of_search(sweep: dict[str, Any]) -> Slo | None:
    """Return the limits by which a search over engine arguments judged its trials, or their loads. None without."""
    search = sweep.get("search")
    limits = search and ((sweep.get("adaptive") or search).get("slo"))
    return None if limits is None else msgspec.convert(limits, Slo)


def curves_of(points: list[dict[str, Any]], loads: list[tuple[float, str]]) -> list[dict[str, Any]]:
    """Return the settings of each point's curve, as the sweep wrote them or derived from all points."""
    if not all("curve" in point for point in points):
        return curve_settings(points, loads)
    if strange := [point["curve"] for point in points if not isinstance(point["curve"], dict)]:
        raise ValueError(f"curve is {strange[0]!r}")
    return [point["curve"] for point in points]


def varied_settings(points: list[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
    """Return of each point the settings in which the points differ, as values for table columns."""
    settings = [flat(point) for point in points]
    varied = [name for name in differing(settings) if name not in ("label", "curve")]
    cells = {name: alike([each.get(name) for each in settings]) for name in varied}
    return tuple({name: cells[name][number] for name in varied} for number in range(len(settings)))


def alike(values: list[Any]) -> list[Any]:
    """Return values of one type for a table column: numbers or booleans if all are, else text."""
    kinds = {type(value) for value in values if value is not None}
    if kinds == {int} and all(abs(value) < 2**63 for value in values if value is not None):
        return values
    if kinds and kinds <= {int, float}:
        return [None if value is None else float(value) for value in values]
    if kinds == {bool}:
        return values
    return [value if value is None or isinstance(value, str) else json.dumps(value) for value in values]


def sweep_table(points: Sequence[SweptPoint], settings: Sequence[dict[str, Any]]) -> pa.Table:
    """Return the settings in which points differ, all metrics of runs and engines, the bottleneck and the region.

    A metric that a point lacks is null; `reason` says why a point has no metrics.
    """
    regions = {
        (curve.label, curve.unit, figures.id): curve.found.region(figures.load)
        for curve in curves(points)
        for figures in curve.figures
    }
    held_name, held_unit, held_formula = HELD_RATE
    own = {"point", "load", "unit", "limited_most_by", "region", "reason", held_name}
    own |= {metric.name for metric in METRICS} | {metric.name for metric in ENGINE_METRICS}
    rows = []
    for point, varied in zip(points, settings, strict=True):
        figures = point.figures
        row: dict[str, Any] = {"point": point.id, "load": point.load, "unit": point.unit}
        row |= {f"{name} (setting)" if name in own else name: value for name, value in varied.items()}
        row |= {metric.name: metric.value(figures.summary) if figures else None for metric in METRICS}
        if point.cluster is not None and len(point.cluster.engines) > 1:
            row |= point.cluster.metrics
        row |= {metric.name: metric.value(point.analysis) if point.analysis else None for metric in ENGINE_METRICS}
        row[held_name] = held_rate(figures) if figures else None
        row["limited_most_by"] = figures.limits.main if figures else None
        row["region"] = regions.get((point.label, point.unit, point.id))
        rows.append(row | {"reason": point.reason or None})
    table = pa.Table.from_pylist(rows)
    described = {metric.name: (metric.unit, metric.formula) for metric in METRICS}
    described |= {metric.name: (metric.unit, metric.formula) for metric in ENGINE_METRICS}
    described[held_name] = (held_unit, held_formula)
    fields = [
        field.with_metadata({"unit": found[0], "description": found[1]})
        if (found := described.get(field.name))
        else field
        for field in table.schema
    ]
    return table.cast(pa.schema(fields))
