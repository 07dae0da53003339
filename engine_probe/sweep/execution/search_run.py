"""One adaptive search over a base point: which loads to measure, told by what came of those before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec

from engine_probe.analysis.curve.settings import curve_name
from engine_probe.analysis.run.slo import Slo
from engine_probe.errors import InputError
from engine_probe.files.config_file import put
from engine_probe.recordings.run import Run, load
from engine_probe.sweep.definition.axes import WORKLOAD
from engine_probe.sweep.definition.axes import label as label_of
from engine_probe.sweep.definition.search import Adaptive, Found
from engine_probe.sweep.definition.sweep_file import Point, WorkloadSection
from engine_probe.sweep.execution.events import Numbered
from engine_probe.sweep.execution.folders import place_of
from engine_probe.sweep.results.point_results import PointResult, Row, finished


class Seeker:
    """Adds its points to `todo`, and finds their rows in `rows` under their numbers."""

    def __init__(
        self, adaptive: Adaptive, base: Point, folder: Path, todo: list[Point], rows: dict[int, Row], repeats: int = 1
    ) -> None:
        self._adaptive, self._base, self._folder, self._repeats = adaptive, base, folder, repeats
        self._todo, self._rows = todo, rows
        self.name = curve_name(base.curve)
        self.found = Found(None, None, None)
        self.problem: str | None = None
        self.known: list[int] = []  # points that were measured before

    @property
    def last(self) -> Point:
        """The point at the end of the axis."""
        return self._point(self._adaptive.last, 0)

    def tasks(self) -> Iterator[Numbered]:
        """The next point each time, until the search is over or a point could not be measured."""
        search, tried = self._adaptive.search(self._repeats), Counter[int]()
        value = next(search)
        while True:
            point = self._point(value, tried[value])
            tried[value] += 1
            number, place = len(self._todo), place_of(self._folder, point)
            self._todo.append(point)
            if known := finished(place, point):
                self._rows[number] = known
                self.known.append(number)
            else:
                yield number, point, place
            row = self._rows[number]
            if not isinstance(row, PointResult):
                self.problem = f"{point.label}: {row.reason}"
                return
            try:
                value = search.send(self._score(row, place))
            except StopIteration as end:
                self.found = end.value
                return
            except InputError as error:
                self.problem = str(error)
                return

    def _point(self, value: int, repeat: int) -> Point:
        document = msgspec.to_builtins(self._base.workload)
        name = self._adaptive.axis.removeprefix(WORKLOAD)
        put(document, name, value)
        words = label_of({self._adaptive.axis: value}, [self._adaptive.axis], self._base.load_in)
        again = f"{repeat + 1} of {self._repeats}" if repeat else ""
        label = ", ".join(word for word in (self.name, words, again) if word)
        workload = msgspec.convert(document, WorkloadSection)
        return msgspec.structs.replace(self._base, workload=workload, label=label, repeat=repeat)

    def _score(self, row: PointResult, place: Path) -> float:
        if self._adaptive.slo is None:
            return row.reached.output_tokens_per_s
        return slack(load(place), self._adaptive.slo)


def slack(run: Run, slo: Slo) -> float:
    """How much of the tightest limit is left, as a share of it; negative where one is broken."""
    found = run.summary(slo).goodput
    assert found is not None
    if found.strain is None:
        raise InputError(f"{run.folder}: {found.judged} requests have no p{slo.percentile:g}: raise num_prompts")
    return 1 - found.strain
