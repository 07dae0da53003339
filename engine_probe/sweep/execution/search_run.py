"""One adaptive search over a base point: each load to measure follows from the rows before it."""

from collections import Counter

import msgspec

from engine_probe.analysis.curve.settings import curve_name
from engine_probe.analysis.run.slo import Slo
from engine_probe.errors import InputError
from engine_probe.files.config_file import put
from engine_probe.recordings.run import Run, load
from engine_probe.sweep.definition.axes import WORKLOAD
from engine_probe.sweep.definition.axes import label as label_of
from engine_probe.sweep.definition.kv_demand import need_of
from engine_probe.sweep.definition.search import Adaptive, Found
from engine_probe.sweep.definition.sweep_file import Point, WorkloadSection
from engine_probe.sweep.execution.events import SearchEnded
from engine_probe.sweep.execution.folders import PointFolders
from engine_probe.sweep.execution.planned_point import PlannedPoint
from engine_probe.sweep.results.point_results import PointResult, Row, finished


class SearchRun:
    """An engine group whose points are not known before: it appends them to `points` as it goes."""

    def __init__(
        self, adaptive: Adaptive, base: Point, folders: PointFolders, points: list[Point], repeats: int
    ) -> None:
        self._adaptive, self._base, self._folders = adaptive, base, folders
        self._points, self._repeats = points, repeats
        self._search, self._tried = adaptive.search(repeats), Counter[int]()
        self._value: int | None = next(self._search)
        self.engines = [base.engine]
        self.needs = [need_of(self._point(adaptive.last, 0))]
        self.name = curve_name(base.curve)
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
        self._value = None
        if not isinstance(row, PointResult):
            self.problem = f"{row.point.label}: {row.reason}"
            return
        try:
            self._value = self._search.send(self._score(row))
        except StopIteration as end:
            self.found = end.value
        except InputError as error:
            self.problem = str(error)

    def result(self) -> SearchEnded:
        return SearchEnded(self.name, self._adaptive, self.found, self.problem)

    def _point(self, value: int, repeat: int) -> Point:
        document = msgspec.to_builtins(self._base.workload)
        put(document, self._adaptive.axis.removeprefix(WORKLOAD), value)
        load = label_of({self._adaptive.axis: value}, [self._adaptive.axis], self._base.load_in)
        again = f"{repeat + 1} of {self._repeats}" if repeat else ""
        label = ", ".join(part for part in (curve_name(self._base.curve), load, again) if part)
        workload = msgspec.convert(document, WorkloadSection)
        return msgspec.structs.replace(self._base, workload=workload, label=label, repeat=repeat)

    def _score(self, row: PointResult) -> float:
        if self._adaptive.slo is None:
            return row.reached.output_tokens_per_s
        return slack(load(self._folders.of(row.point)), self._adaptive.slo)


def slack(run: Run, slo: Slo) -> float:
    """Return how much of the tightest limit is left, as a share of it; negative if a limit is broken."""
    goodput = run.summary(slo).goodput
    assert goodput is not None
    if goodput.success_strain is None:
        raise InputError(f"{run.folder}: whether aborted requests failed is not known: leave slo.success_percent out")
    if goodput.worst_strain is None:
        raise InputError(f"{run.folder}: {goodput.judged} requests have no p{slo.percentile:g}: raise num_prompts")
    return 1 - goodput.worst_strain
