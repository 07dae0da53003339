"""The engines that measure a point together, each in a thread of its own.

A thread lives as long as its engine: the kernel ends an engine's process when the thread that started it ends.
"""

import concurrent.futures
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

from engine_probe.errors import InputError
from engine_probe.record.run_folder import REPLICA_FOLDER
from engine_probe.sweep.definition.sweep_file import Point
from engine_probe.sweep.execution.engine_run import TICK_SECONDS, Engine
from engine_probe.sweep.execution.events import Show
from engine_probe.sweep.execution.folders import set_aside
from engine_probe.sweep.execution.planned_point import EngineStartError, Measurement, PlannedPoint
from engine_probe.sweep.replicas.merged_progress import MergedProgress
from engine_probe.sweep.replicas.start_gate import PointOverError, StartGate, StartSlot
from engine_probe.sweep.results.point_results import Unmeasured, row_at

Found = Measurement | EngineStartError | None  # None: ended because another engine failed


class ReplicaSet:
    """Measures one point after another on all of its engines; it is itself an `Engine`."""

    def __init__(self, engines: Sequence[Engine]) -> None:
        self._engines = engines
        self._threads = [ThreadPoolExecutor(1, f"engine-{number}") for number in range(1, len(engines) + 1)]
        self._gate: StartGate | None = None  # of the point that is being measured

    def measure(self, planned: PlannedPoint, show: Show, slot: StartSlot | None = None) -> Measurement:
        """Measure one point. Raise `EngineStartError` if an engine ends before its first point begins."""
        self._gate = gate = StartGate(len(self._engines))
        set_aside(planned.folder)
        progress = MergedProgress(len(self._engines), planned.number, show)
        calls = [
            partial(measure_one, engine, self._planned(planned, number, point), partial(progress.show, number), gate)
            for number, (engine, point) in enumerate(zip(self._engines, planned.point.each_engine, strict=True))
        ]
        found = self._all(calls, until_failure=gate)
        self._gate = None
        for number, one in enumerate(found, 1):
            if isinstance(one, EngineStartError):
                raise EngineStartError(self._named(number, str(one)), one.exit_code)
        failures = [
            (number, one)
            for number, one in enumerate(found, 1)
            if isinstance(one, Measurement) and isinstance(one.row, Unmeasured)
        ]
        if failures:
            number, first = failures[0]
            assert isinstance(first.row, Unmeasured)
            row = planned.failed(self._named(number, first.row.reason), first.row.exit_code)
            return Measurement(row, engine_died=any(one.engine_died for _, one in failures))
        try:
            return Measurement(row_at(planned.folder, planned.point))
        except InputError as error:  # the engines never ran at the same time
            return Measurement(planned.failed(str(error), error.exit_code))

    def close(self) -> None:
        """End all engines at the same time, even in the middle of a point."""
        if self._gate is not None:
            self._gate.stop()
        try:
            self._all([engine.close for engine in self._engines])
        finally:
            for thread in self._threads:
                thread.shutdown(wait=False)

    def _planned(self, planned: PlannedPoint, number: int, point: Point) -> PlannedPoint:
        return PlannedPoint(planned.number, point, planned.folder / REPLICA_FOLDER.format(number + 1))

    def _named(self, number: int, reason: str) -> str:
        return f"engine {number} of {len(self._engines)}: {reason}"

    def _all(self, calls: Sequence[Callable[[], Any]], until_failure: StartGate | None = None) -> list[Any]:
        """Make each call in its engine's thread, and wait for all; after a failure the others are told to stop."""
        futures: list[Future[Any]] = [thread.submit(call) for thread, call in zip(self._threads, calls, strict=True)]
        left = set(futures)
        while left:  # in ticks, because a wait without an end would hold up Ctrl-C
            ended, left = concurrent.futures.wait(left, TICK_SECONDS, concurrent.futures.FIRST_COMPLETED)
            if until_failure is not None and any(has_failed(one) for one in ended):
                until_failure.stop()
        return [future.result() for future in futures]


def measure_one(engine: Engine, planned: PlannedPoint, show: Show, gate: StartGate) -> Found:
    """Measure the point on one engine. End the engine if the point is over before."""
    try:
        return engine.measure(planned, show, StartSlot(gate))
    except EngineStartError as error:
        return error
    except PointOverError:
        engine.close()
        return None


def has_failed(one: Future[Any]) -> bool:
    if one.exception() is not None:
        return True
    found = one.result()
    return isinstance(found, EngineStartError) or (isinstance(found, Measurement) and isinstance(found.row, Unmeasured))
