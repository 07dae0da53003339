"""The trials of a search over engine arguments: each is a point on an engine of its own, and follows from those before.

A setting whose engine does not start is a trial that failed. It is not tried again when the search is resumed.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from engine_probe.analysis.compare.argument_trials import UNITS, Trial, challenger, scored
from engine_probe.analysis.curve.settings import curve_name
from engine_probe.engine.cpu.cpu_kv_pool import KvNeed
from engine_probe.errors import InputError
from engine_probe.recordings.sweep_point import open_point
from engine_probe.sweep.argument_search.space import ArgumentSearch, Setting, applied, named, own_setting
from engine_probe.sweep.argument_search.suggest import suggest
from engine_probe.sweep.definition.checks import check_points
from engine_probe.sweep.definition.kv_demand import need_of
from engine_probe.sweep.definition.sweep_file import EngineSection, Point
from engine_probe.sweep.execution.events import BestSoFar
from engine_probe.sweep.execution.folders import PointFolders
from engine_probe.sweep.execution.planned_point import PlannedPoint
from engine_probe.sweep.preflight.memory_fit import check_fit
from engine_probe.sweep.results.point_results import PointResult, Row, Unmeasured, finished

BASELINE = "baseline"  # the label of the first setting: the arguments of [engine] as they are


class ArgumentTrials:
    """Makes the points of a search, and learns from their rows."""

    def __init__(
        self,
        search: ArgumentSearch,
        base: Point,
        folders: PointFolders,
        points: list[Point],
        failed: Mapping[str, Unmeasured],
    ) -> None:
        self._search, self._base, self._folders, self._points, self._failed = search, base, folders, points, failed
        self._trials: list[Trial] = []

    def groups(self) -> Iterator["TrialGroup"]:
        """Yield each trial as an engine group; its row is recorded before the next is asked for."""
        yield self._group(None, 0)
        while len(self._trials) < self._search.trials and (setting := suggest(self._search, self._trials)):
            yield self._group(setting, 0)
        best = challenger(self._trials)
        for repeat in range(1, self._search.confirm + 1) if best else ():
            assert best is not None
            sides = [None, best.setting] if self._trials[0].score else [best.setting]
            for setting in sides if repeat % 2 else reversed(sides):  # so that a steady drift favours neither
                yield self._group(setting, repeat)

    def _group(self, setting: Setting | None, repeat: int) -> "TrialGroup":
        point = trial_point(self._search, self._base, setting, repeat)
        self._points.append(point)
        folder = self._folders.of(point)
        row = finished(folder, point) or self._failed.get(point.key)
        planned = PlannedPoint(len(self._points) - 1, point, folder, row)
        return TrialGroup(self, planned if row else refused(planned))

    def record(self, row: Row) -> None:
        """Learn from the row of a trial."""
        self._trials.append(trial_of(self._search, self._folders.sweep, row))

    def best_so_far(self) -> BestSoFar | None:
        """Say where the search is. None while the best is measured again."""
        last, done = self._trials[-1], len(self._trials)
        if last.repeat:
            return None
        best = max((each for each in self._trials if each.is_feasible), key=lambda each: each.value, default=None)
        first = self._trials[0].score
        return BestSoFar(
            done,
            self._search.trials,
            "" if best is None else BASELINE if best is self._trials[0] else curve_name(best.setting),
            best.value if best else None,
            UNITS[self._search.objective],
            best.value / first.value - 1 if best and first and first.value and best is not self._trials[0] else None,
        )


class TrialGroup:
    """The engine group of one trial."""

    def __init__(self, trials: ArgumentTrials, planned: PlannedPoint) -> None:
        self._trials, self._left = trials, [planned]
        self.engines: list[EngineSection] = [planned.point.engine]
        self.needs: list[KvNeed | None] = [need_of(planned.point)]

    def next_point(self) -> PlannedPoint | None:
        return self._left.pop() if self._left else None

    def record(self, row: Row) -> None:
        self._trials.record(row)

    def result(self) -> BestSoFar | None:
        return self._trials.best_so_far()


def trial_point(search: ArgumentSearch, base: Point, setting: Setting | None, repeat: int) -> Point:
    """Return the point of a setting; None is the sweep file's own."""
    arguments = base.engine.arguments if setting is None else applied(base.engine.arguments, setting)
    shown = named(search, arguments)
    again = f", {repeat + 1} of {search.confirm + 1}" if repeat else ""
    return msgspec.structs.replace(
        base,
        engine=msgspec.structs.replace(base.engine, arguments=arguments),
        repeat=repeat,
        label=(BASELINE if setting is None else curve_name(shown)) + again,
        curve=shown,
    )


def refused(planned: PlannedPoint) -> PlannedPoint:
    """Return the point with its row if it need not be tried: what cannot run is known without an engine."""
    try:
        check_points([planned.point])
        check_fit([planned.point])
    except InputError as error:
        return planned._replace(row=planned.failed(str(error), error.exit_code))
    return planned


def trial_of(search: ArgumentSearch, folder: Path, row: Row) -> Trial:
    """Return the trial of a row, judged by its recording as a report judges it."""
    point = row.point
    arguments = point.engine.arguments
    setting = own_setting(search, arguments) or named(search, arguments)
    limited = search.slo is not None
    if not isinstance(row, PointResult):
        return Trial(row.id, setting, point.repeat, None, row.reason, limited)
    written = msgspec.to_builtins(row)
    opened = open_point(folder, written, point.curve, point.workload.load, search.slo)
    score = scored(opened.figures, search.objective) if opened.figures else None
    return Trial(row.id, setting, point.repeat, score, opened.reason, limited)
