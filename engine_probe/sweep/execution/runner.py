"""Runs a sweep: groups its points by engine, and puts every row on disk before it is told."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from engine_probe.engine.cpu.cpu_kv_pool import KvNeed
from engine_probe.engine.spec import EngineSpec
from engine_probe.errors import UnavailableError
from engine_probe.sweep.definition.kv_demand import need_of, need_of_all
from engine_probe.sweep.definition.search import Adaptive
from engine_probe.sweep.definition.sweep_file import EngineSection, Point, SweepFile, points
from engine_probe.sweep.execution.engine_run import Allowance
from engine_probe.sweep.execution.events import Discovered, Event, Finished, NeverBeganError, Numbered, Reused
from engine_probe.sweep.execution.folders import new_log, place_of
from engine_probe.sweep.execution.local import HERE, Ways
from engine_probe.sweep.execution.repeated_failures import EngineFailures
from engine_probe.sweep.execution.results_file import Standing
from engine_probe.sweep.execution.resume import check_grid, kept_of_search, untried_ids
from engine_probe.sweep.execution.search_run import Seeker
from engine_probe.sweep.execution.skip_saturated import AxisEnd
from engine_probe.sweep.results.point_results import FAILED, SKIPPED, Unmeasured, finished


def run_sweep(
    sweep: SweepFile, folder: Path, todo: list[Point], force: bool = False, ways: Ways = HERE
) -> Generator[Event]:
    """What happens, as it happens; after every point its row is on disk.

    `todo` holds the points of a grid; a search adds its own as it goes. Points whose recording in `folder` is
    complete are read, not measured again. One process per engine; a point that fails is a row with its reason, and
    the sweep goes on behind it, unless engines die the same way again and again (`repeated_failures.py`).
    """
    runner = _Runner(sweep, folder, todo, force, ways, Standing(folder, sweep))
    if sweep.adaptive is not None:
        runner.standing.kept.extend(kept_of_search(folder, sweep))
        runner.standing.save()
        bases = [base for base in points(sweep) if not base.repeat]
        yield from ways.together([runner.searched(sweep.adaptive, base) for base in bases])
        return
    check_grid(folder, todo)
    untried = untried_ids(folder)
    yield from runner.known()
    runner.standing.save()  # not before: what an earlier run wrote there holds until all of it is read
    axis_end = AxisEnd(sweep.stop.saturated, todo, runner.standing.rows)
    yield from ways.together([runner.measured(group, axis_end) for group in runner.groups(untried)])


@dataclass(frozen=True)
class _Runner:
    sweep: SweepFile
    folder: Path
    todo: list[Point]
    force: bool
    ways: Ways
    standing: Standing
    failures: EngineFailures = field(default_factory=EngineFailures)

    def known(self) -> Iterator[Event]:
        """What was measured before."""
        for number, point in enumerate(self.todo):
            if row := finished(place_of(self.folder, point), point):
                self.standing.rows[number] = row
                yield Reused(number)
                yield row

    def groups(self, first: Collection[str] = ()) -> list[list[Numbered]]:
        """What is left, by engine; those with these ids first."""
        found: dict[EngineSpec, list[Numbered]] = {}
        for number, point in enumerate(self.todo):
            if number not in self.standing.rows:
                found.setdefault(point.engine.spec, []).append((number, point, place_of(self.folder, point)))
        by_turn = [sorted(group, key=lambda numbered: numbered[1].key not in first) for group in found.values()]
        return sorted(by_turn, key=lambda group: group[0][1].key not in first)

    def measured(self, group: list[Numbered], axis_end: AxisEnd) -> Iterator[Event]:
        """Those of one engine, and then those that were left out."""
        skipped: list[Finished] = []

        def needed() -> Iterator[Numbered]:
            for task in group:
                number, point, place = task
                if reason := axis_end.reason_to_skip(point):
                    skipped.append(Finished(number, Unmeasured(place.name, point, SKIPPED, reason, exit_code=0)))
                elif reason := self.failures.reason_not_to_try(point):
                    skipped.append(failed(task, reason))
                else:
                    yield task

        engine = group[0][1].engine
        # Those that were measured before count too, so that a resumed sweep has the same pool.
        of_this_engine = [point for point in self.todo if point.engine.spec == engine.spec]
        yield from self.run(engine, needed(), need_of_all(of_this_engine))
        yield from self.standing.noted(iter(skipped))

    def searched(self, adaptive: Adaptive, base: Point) -> Iterator[Event]:
        standing = self.standing
        seeker = Seeker(adaptive, base, self.folder, self.todo, standing.rows, self.sweep.repeats)
        yield from self.run(base.engine, seeker.tasks(), need_of(seeker.last))
        standing.found[seeker.name] = seeker.found
        standing.save()
        for number in seeker.known:
            yield Reused(number)
            yield standing.rows[number]
        yield Discovered(seeker.name, adaptive, seeker.found, seeker.problem)

    def run(self, engine: EngineSection, tasks: Iterator[Numbered], need: KvNeed | None) -> Iterator[Event]:
        allowance = Allowance(self.sweep.start_seconds, self.sweep.point_seconds, need)
        events = self.engine_after_engine(engine, tasks, allowance)
        return self.standing.noted(self.failures.observed(engine.spec, events))

    def engine_after_engine(
        self, engine: EngineSection, tasks: Iterator[Numbered], allowance: Allowance
    ) -> Generator[Event | Finished]:
        """Until all tasks are done; an engine that never began a point is not tried again."""
        if reason := self.failures.reason_not_to_start(engine.spec):
            for task in tasks:
                yield failed(task, reason)
            return
        try:
            while (yield from self.ways.start(engine, tasks, new_log(self.folder), self.force, allowance)) is not None:
                pass
        except NeverBeganError as error:
            self.failures.failed_to_start(engine.spec, str(error))
            for task in itertools.chain([error.task], tasks):
                yield failed(task, str(error), error.exit_code)


def failed(task: Numbered, reason: str, exit_code: int = UnavailableError.exit_code) -> Finished:
    number, point, place = task
    return Finished(number, Unmeasured(place.name, point, FAILED, reason, exit_code))
