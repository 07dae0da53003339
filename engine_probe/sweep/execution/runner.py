"""Runs a sweep. For each engine group, for each point: measure it, write its row, tell the listener.

The points of one engine are a group, so that it starts once. Every group has an engine process of its own. A point
that fails is a row with its reason, and the sweep goes on behind it, unless engines die the same way again and again
(`repeated_failures.py`). On this machine groups run one after the other. A fleet runs each in a thread
(`fleet/runner.py`): whatever groups share is used by one at a time (`_turn`).
"""

import threading
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from engine_probe.sweep.argument_search.trials import TrialPlanner
from engine_probe.sweep.definition.kv_demand import need_of_all
from engine_probe.sweep.definition.sweep_file import Point, SweepFile, points
from engine_probe.sweep.engine_process.messages import Began
from engine_probe.sweep.execution import resume
from engine_probe.sweep.execution.engine_group import EngineGroup, GridGroup, by_engine
from engine_probe.sweep.execution.engine_run import EngineLimits, Engines
from engine_probe.sweep.execution.events import Event, GroupEnded, Listener, MeasuredBefore, Moved, SearchEnded
from engine_probe.sweep.execution.folders import PointFolders
from engine_probe.sweep.execution.oversized_points import Reasons, without_checkpoint
from engine_probe.sweep.execution.planned_point import PlannedPoint
from engine_probe.sweep.execution.repeated_failures import EngineFailures, GuardedEngine
from engine_probe.sweep.execution.results_file import ResultsFile
from engine_probe.sweep.execution.search_run import SearchRun
from engine_probe.sweep.execution.skip_saturated import SkipSaturated
from engine_probe.sweep.replicas.replica_set import ReplicaSet
from engine_probe.sweep.results.point_results import Unmeasured, finished


@dataclass
class SweepRun:
    """Measures what is not measured yet; each row is in `sweep.json` before the listener hears of it.

    `todo` holds the points of a grid; a search appends its own. Points whose recording in `folder` is complete are
    read, not measured again. Those in `left_out` are skipped with their reason, or not searched from.
    """

    sweep: SweepFile
    folder: Path
    todo: list[Point]
    listener: Listener
    engines: Engines
    force: bool
    left_out: Reasons = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._folders = PointFolders(self.folder)
        self._results = ResultsFile(self.folder, self.sweep, moved=resume.earlier_moves(self.folder))
        self._failures = EngineFailures()
        missing = without_checkpoint(self.sweep, [*self.todo, *points(self.sweep)])
        self._left_out = {**missing, **self.left_out}
        self._turn = threading.RLock()

    def run(self) -> None:
        """Measure the groups of all engines: one after the other, or side by side where they may run so."""
        if self.sweep.search:
            self.engines.run_groups([self.measure_trials])
            return
        groups = self.plan_searches() if self.sweep.adaptive else self.plan_grid()
        side_by_side = all(len(group.engines) == 1 for group in groups)
        calls = [partial(self.measure_group, number, group) for number, group in enumerate(groups)]
        self.engines.run_groups(calls, side_by_side)

    def measure_group(self, number: int, group: EngineGroup) -> None:
        """Measure the points of one engine group, one after the other."""
        show = partial(self._show, number)
        limits = [EngineLimits(self.sweep.start_seconds, self.sweep.point_seconds, need) for need in group.needs]
        engines = self.engines.engines(group.engines, self.folder, self.force, limits)
        with closing(engines[0] if len(engines) == 1 else ReplicaSet(engines)) as group_engine:
            specs = tuple(engine.spec for engine in group.engines)
            engine = GuardedEngine(group_engine, specs, self._failures)
            while (planned := self._next_point(group)) is not None:
                row = planned.row or engine.measure(planned, show)
                with self._turn:
                    self._results.add_row(planned.number, row)
                    group.record(row)
                    if planned.row and not isinstance(row, Unmeasured):
                        show(MeasuredBefore(planned.number))
                    show(row)
        with self._turn:
            if result := group.result():
                if isinstance(result, SearchEnded):
                    self._results.add_search(result.curve, result.found)
                show(result)
            show(GroupEnded())

    def measure_trials(self) -> None:
        """Measure the trials of a search over engine arguments, each of which follows from those before."""
        search, (base,) = self.sweep.search, points(self.sweep)
        assert search is not None
        failed = resume.failed_rows(self.folder)
        kept = resume.kept_of_trials(self.folder, self.sweep, base, failed)
        ended = resume.has_ended(self.folder, kept, search, base)  # before this run writes what it asks for
        self._results.kept.extend(kept)
        self._results.save()
        earlier = resume.settings_tried(kept, search, base)
        trials = TrialPlanner(search, self.sweep.adaptive, base, self._folders, self.todo, failed, earlier, ended)
        for number, group in enumerate(trials.groups()):
            self.measure_group(number, group)

    def plan_searches(self) -> Sequence[EngineGroup]:
        """Return a group for each curve that is searched."""
        sweep = self.sweep
        assert sweep.adaptive is not None
        self._results.kept.extend(resume.kept_of_search(self.folder, sweep))
        self._results.save()
        bases = [base for base in points(sweep) if not base.repeat and base.key not in self._left_out]
        return [SearchRun(sweep.adaptive, base, self._folders, self.todo, sweep.repeats) for base in bases]

    def plan_grid(self) -> Sequence[EngineGroup]:
        """Return a group for each engine that has points left; first those that an earlier run did not try."""
        resume.check_grid(self.folder, self.todo)
        untried = resume.untried_ids(self.folder)
        left = self._read_finished()
        self._results.save()  # not before: what an earlier run wrote there holds until all of it is read
        return [self._grid_group(planned) for planned in by_engine(left, untried)]

    def _read_finished(self) -> list[PlannedPoint]:
        """Take the rows of points that were measured before. Return the others."""
        left = []
        for number, point in enumerate(self.todo):
            planned = PlannedPoint(number, point, self._folders.of(point))
            row = finished(planned.folder, point)
            if row is None:
                left.append(planned)
                continue
            self._results.rows[number] = row
            self.listener(MeasuredBefore(number), None)
            self.listener(row, None)
        return left

    def _grid_group(self, planned: list[PlannedPoint]) -> GridGroup:
        engines = planned[0].point.engines
        skip = SkipSaturated(self.sweep.stop.saturated)
        for row in self._results.rows.values():
            skip.record(row)
        # Points that were measured before count too, so that a resumed sweep has the same KV pool.
        same = [point.each_engine for point in self.todo if point.engines == engines]
        needs = [need_of_all(of_engine) for of_engine in zip(*same, strict=True)]
        return GridGroup(planned, needs, skip, self._failures, self._left_out)

    def _next_point(self, group: EngineGroup) -> PlannedPoint | None:
        with self._turn:
            return group.next_point()

    def _show(self, group: int, event: Event) -> None:
        with self._turn:
            if isinstance(event, Began):
                self._failures.any_started = True
            if isinstance(event, Moved):
                self._results.add_move(event)
            self.listener(event, group)
