"""One adaptive search over a base point: each load to measure follows from the rows before it."""

from collections import Counter
from pathlib import Path
from statistics import fmean

import msgspec

from engine_probe.analysis.curve.curve_settings import curve_name
from engine_probe.analysis.run.goodput import Goodput
from engine_probe.analysis.run.slo import Slo
from engine_probe.errors import InputError
from engine_probe.recordings.cluster import open_cluster
from engine_probe.recordings.run import Run, load
from engine_probe.sweep.definition.axes import label as label_of
from engine_probe.sweep.definition.kv_demand import need_of
from engine_probe.sweep.definition.search import Adaptive, Found
from engine_probe.sweep.definition.sweep_file import Point
from engine_probe.sweep.execution.events import SearchEnded
from engine_probe.sweep.execution.folders import PointFolders
from engine_probe.sweep.execution.planned_point import PlannedPoint
from engine_probe.sweep.results.point_results import PointResult, Row, finished


class SearchRun:
    """An engine group whose points are not known before: it appends them to `points` as it goes."""

    def __init__(
        self, adaptive: Adaptive, base: Point, folders: PointFolders, points: list[Point], repeats: int, name: str = ""
    ) -> None:
        self._adaptive, self._base, self._folders = adaptive, base, folders
        self._points, self._repeats = points, repeats
        self._search, self._tried = adaptive.search(repeats), Counter[int]()
        self._dearness: dict[int, list[float]] = {}  # by value, the ratios of costs and energies to their limits
        self._value: int | None = next(self._search)
        self.name = name or curve_name(base.curve)
        self.engines = [one.engine for one in base.each_engine]
        self.needs = [need_of(one) for one in self._point(adaptive.last, 0).each_engine]
        self.found = Found(None, None, None)
        self.problem: str | None = None  # why it ended early

    def next_point(self) -> PlannedPoint | None:
        """Return the next point; None when the search is over, or a point could not be measured."""
        if self._value is None:
            return None
        point = self._point(self._value, self._tried[self._value])
        self._tried[self._value] += 1
        self._points.append(point)
        folder = self._folders.of(point)
        return PlannedPoint(len(self._points) - 1, point, folder, finished(folder, point))

    def record(self, row: Row) -> None:
        """Take the row of the point that was asked for last, and decide which value comes next."""
        value, self._value = self._value, None
        assert value is not None
        if not isinstance(row, PointResult):
            self.problem = f"{row.point.label}: {row.reason}"
            return
        try:
            self._value = self._search.send(self._score(row, value))
        except StopIteration as end:
            self.found = end.value
            self.problem = self._too_dear()
        except InputError as error:
            self.problem = str(error)

    def result(self) -> SearchEnded:
        return SearchEnded(self.name, self._adaptive, self.found, self.problem)

    def _point(self, value: int, repeat: int) -> Point:
        axis = self._adaptive.axis
        load = label_of({axis: value}, [axis], self._base.load_in)
        again = f"{repeat + 1} of {self._repeats}" if repeat else ""
        label = ", ".join(part for part in (self.name, load, again) if part)
        return msgspec.structs.replace(
            self._base, workload=self._base.workload.at(axis, value), label=label, repeat=repeat
        )

    def _score(self, row: PointResult, value: int) -> float:
        if self._adaptive.slo is None:
            return row.reached.output_tokens_per_s
        found = [judged(run, self._adaptive.slo) for run in recordings(self._folders.of(row.point), row.point)]
        requests = max(each.request_strain or 0.0 for each in found)  # each engine has to meet the SLO
        whole = max(each.whole_strain or 0.0 for each in found)
        self._dearness.setdefault(value, []).append(whole)
        if requests > 1 or whole <= 1 or self._dearer_than_below(value):
            return 1 - max(requests, whole)
        return 1 - requests  # a higher load may be cheaper

    def _dearer_than_below(self, value: int) -> bool:
        """Return whether a token costs more than at a lower load, so that it will not become cheaper above."""
        below = [fmean(strains) for other, strains in self._dearness.items() if other < value]
        return bool(below) and fmean(self._dearness[value]) > min(below)

    def _too_dear(self) -> str | None:
        """Return why the load that was found does not meet the SLO after all."""
        best, slo = self.found.best, self._adaptive.slo
        if slo is None or best is None or not slo.whole_limits or fmean(self._dearness[best]) <= 1:
            return None
        self.found = msgspec.structs.replace(self.found, best=None)
        return f"up to {best}, the highest load within the other limits, {slo.whole_words} is missed"


def recordings(folder: Path, point: Point) -> list[Run]:
    """Return the recording of a point, or those of each engine that measured it."""
    if not point.together and not point.recorded_by_core:
        return [load(folder)]
    return [engine.run for engine in open_cluster(folder, msgspec.to_builtins(point)).engines]


def judged(run: Run, slo: Slo) -> Goodput:
    """Judge a run, or say why it cannot be."""
    goodput = run.summary(slo).goodput
    assert goodput is not None
    if goodput.success_strain is None:
        raise InputError(f"{run.folder}: whether aborted requests failed is not known: leave slo.success_percent out")
    for limit in goodput.whole:
        if limit.value is None:
            raise InputError(f"{run.folder}: {limit.name} cannot be judged ({limit.reason}): leave it out of the SLO")
    if goodput.request_strain is None:
        raise InputError(f"{run.folder}: {goodput.judged} requests have no p{slo.percentile:g}: raise num_prompts")
    return goodput
