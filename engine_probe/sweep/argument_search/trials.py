"""The trials of a search over engine arguments: each has an engine of its own, and follows from those before.

A trial is one point; with [adaptive] it is a search for the load, and counts at the best load that it measured. Repeats
are points at that load, so that no luck among loads is in the gain. A setting whose engine does not start is a trial
that failed: the search learns from it and asks for another one in its place, up to a limit. It is not tried again when
the search is resumed. A resumed search begins with the settings of its rows, so that it goes on also where another
version of a library would suggest others; one that had ended stays so.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from engine_probe.analysis.compare.argument_trials import UNITS, Trial, at_best_load, challenger, scored
from engine_probe.analysis.curve.curve_settings import curve_name
from engine_probe.analysis.run.slo import Slo
from engine_probe.engine.cpu.cpu_kv_pool import KvNeed
from engine_probe.errors import InputError
from engine_probe.recordings.sweep_point import open_point
from engine_probe.sweep.argument_search.space import ArgumentSearch, Setting, applied, named, own_setting
from engine_probe.sweep.argument_search.suggest import suggest
from engine_probe.sweep.definition.kv_demand import need_of
from engine_probe.sweep.definition.search import Adaptive
from engine_probe.sweep.definition.setting_checks import check_points
from engine_probe.sweep.definition.sweep_file import EngineSection, Point
from engine_probe.sweep.definition.workload_section import WorkloadSection
from engine_probe.sweep.execution.events import BestSoFar
from engine_probe.sweep.execution.folders import PointFolders
from engine_probe.sweep.execution.planned_point import PlannedPoint
from engine_probe.sweep.execution.search_run import SearchRun
from engine_probe.sweep.preflight.memory_fit import check_fit
from engine_probe.sweep.results.point_results import PointResult, Row, Unmeasured, finished
from engine_probe.workload.load import load_words

BASELINE = "baseline"  # the label of the first setting: the arguments of [engine] as they are


class TrialPlanner:
    """Makes the points of a search, and learns from their rows."""

    def __init__(
        self,
        search: ArgumentSearch,
        adaptive: Adaptive | None,
        base: Point,
        folders: PointFolders,
        points: list[Point],
        failed: Mapping[str, Unmeasured],
        earlier: Sequence[Setting] = (),
        ended: bool = False,
    ) -> None:
        self._search, self._adaptive, self._base = search, adaptive, base
        self._folders, self._points, self._failed = folders, points, failed
        self._earlier = list(earlier)  # settings of an earlier run, in their order
        self._ended = ended  # with these settings, so that no other one is tried
        self._slo = search.slo if adaptive is None else adaptive.slo
        self._trials: list[Trial] = []
        self._workloads: dict[str, WorkloadSection] = {}  # by the setting's name, at its best load

    def groups(self) -> Iterator["TrialGroup"]:
        """Yield each trial as an engine group; its rows are recorded before the next is asked for."""
        yield self._trial(None)
        while self._wants_more() and (setting := self._next_setting()):
            yield self._trial(setting)
        best = challenger(self._trials)
        for repeat in range(1, self._search.confirm + 1) if best else ():
            assert best is not None
            first, other = self._trials[0], best
            sides = [(None, first), (other.setting, other)] if first.score else [(other.setting, other)]
            for setting, side in sides if repeat % 2 else reversed(sides):  # so that a drift favours neither
                yield self._repeat(setting, self._workloads[side.name], repeat)

    def _wants_more(self) -> bool:
        return bool(self._earlier) if self._ended else wants_more(self._search, self._trials)

    def _next_setting(self) -> Setting | None:
        """Return the setting that an earlier run tried next, then what is suggested. None if all were tried."""
        return self._earlier.pop(0) if self._earlier else suggest(self._search, self._trials)

    def _trial(self, setting: Setting | None) -> "TrialGroup":
        point = trial_point(self._search, self._base, setting)
        if self._adaptive is None:
            return TrialGroup(self, OnePoint(self._planned(point)))
        return TrialGroup(self, SearchRun(self._adaptive, point, self._folders, self._points, 1, point.label))

    def _repeat(self, setting: Setting | None, workload: WorkloadSection, repeat: int) -> "TrialGroup":
        base = msgspec.structs.replace(self._base, workload=workload)
        load = "" if self._adaptive is None else load_words(*workload.load)
        point = trial_point(self._search, base, setting, repeat, load)
        return TrialGroup(self, OnePoint(self._planned(point)))

    def _planned(self, point: Point) -> PlannedPoint:
        self._points.append(point)
        folder = self._folders.of(point)
        return PlannedPoint(len(self._points) - 1, point, folder, finished(folder, point))

    def known(self, planned: PlannedPoint) -> PlannedPoint:
        """Return the point with its row if it need not be tried."""
        failed = self._failed.get(planned.point.key)
        return planned._replace(row=failed) if failed else refused(planned)

    def record(self, rows: Sequence[Row]) -> None:
        """Learn from the rows of a trial."""
        trials = [trial_of(self._search, self._slo, self._folders.sweep, row) for row in rows]
        best = at_best_load(trials)
        self._trials.append(best)
        self._workloads[best.name] = rows[trials.index(best)].point.workload

    def best_so_far(self) -> BestSoFar | None:
        """Say where the search is. None while the best is measured again."""
        last, done = self._trials[-1], sum(trial.score is not None for trial in self._trials)
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

    def __init__(self, trials: TrialPlanner, asked: "OnePoint | SearchRun") -> None:
        self._trials, self._asked = trials, asked
        self._rows: list[Row] = []
        self.engines, self.needs = asked.engines, asked.needs

    def next_point(self) -> PlannedPoint | None:
        planned = self._asked.next_point()
        return planned if planned is None or planned.row else self._trials.known(planned)

    def record(self, row: Row) -> None:
        self._rows.append(row)
        self._asked.record(row)

    def result(self) -> BestSoFar | None:
        self._trials.record(self._rows)
        return self._trials.best_so_far()


class OnePoint:
    """The point of a trial whose load is given."""

    def __init__(self, planned: PlannedPoint) -> None:
        self._left = [planned]
        self.engines: list[EngineSection] = [planned.point.engine]
        self.needs: list[KvNeed | None] = [need_of(planned.point)]

    def next_point(self) -> PlannedPoint | None:
        return self._left.pop() if self._left else None

    def record(self, row: Row) -> None:
        """Take its row, after which nothing is left."""


def wants_more(search: ArgumentSearch, trials: Sequence[Trial]) -> bool:
    """Return whether fewer settings were measured than asked for, and not too many could not run."""
    measured = sum(trial.score is not None for trial in trials)
    return measured < search.trials and len(trials) - measured <= search.most_failed


def trial_point(search: ArgumentSearch, base: Point, setting: Setting | None, repeat: int = 0, load: str = "") -> Point:
    """Return the point of a setting; None is the sweep file's own."""
    arguments = base.engine.arguments if setting is None else applied(base.engine.arguments, setting)
    shown = named(search, arguments)
    name = BASELINE if setting is None else curve_name(shown)
    again = f"{repeat + 1} of {search.confirm + 1}" if repeat else ""
    return msgspec.structs.replace(
        base,
        engine=msgspec.structs.replace(base.engine, arguments=arguments),
        repeat=repeat,
        label=", ".join(filter(None, (name, load, again))),
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


def trial_of(search: ArgumentSearch, slo: Slo | None, folder: Path, row: Row) -> Trial:
    """Return the trial of a row at its load, judged by its recording as a report judges it."""
    point = row.point
    arguments = point.engine.arguments
    setting = own_setting(search, arguments) or named(search, arguments)
    limited = slo is not None
    if not isinstance(row, PointResult):
        return Trial(row.id, setting, point.repeat, None, row.reason, limited)
    written = msgspec.to_builtins(row)
    opened = open_point(folder, written, point.curve, point.workload.load, slo)
    score = scored(opened.figures, search.objective) if opened.figures else None
    return Trial(row.id, setting, point.repeat, score, opened.reason, limited)
