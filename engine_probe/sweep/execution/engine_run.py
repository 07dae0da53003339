"""One engine of this machine: given one point after another, and started again after it died."""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Protocol

import msgspec
import pyarrow as pa

from engine_probe.engine.cpu.cpu_kv_pool import KvNeed
from engine_probe.errors import EngineProbeError, InputError, UnavailableError
from engine_probe.perplexity.scoring import Scoring
from engine_probe.record.run_folder import REPLICA_FOLDER
from engine_probe.recordings.live_reader import LiveReader
from engine_probe.sweep.definition.kv_demand import need_of
from engine_probe.sweep.definition.sweep_file import EngineSection, Point
from engine_probe.sweep.engine_process import messages
from engine_probe.sweep.engine_process.exit_reason import worker_crash
from engine_probe.sweep.engine_process.process import EngineProcess
from engine_probe.sweep.engine_process.start_log import StartLog
from engine_probe.sweep.execution.events import Event, Show
from engine_probe.sweep.execution.folders import LOG_FILE, LOG_STEM, new_log, set_aside
from engine_probe.sweep.execution.planned_point import EngineStartError, Measurement, PlannedPoint
from engine_probe.sweep.execution.point_timeout import PointTimeout, PointTimeoutError
from engine_probe.sweep.replicas.machine_shares import WHOLE, MachineShare, shares_here
from engine_probe.sweep.replicas.start_gate import StartSlot
from engine_probe.sweep.results.point_results import Row, row_at

TICK_SECONDS = 1.0
SHORT_TICK_SECONDS = 0.25  # of a point that someone waits for


class EngineLimits(msgspec.Struct, frozen=True):
    """How long an engine may take, and the most KV cache that its points can use (None: unknown)."""

    start_seconds: float | None = None  # until its first point begins; None: no limit
    point_seconds: float | None = None  # None: as long as what a point asks for may take
    need: KvNeed | None = None


def measure_point(
    point: Point,
    recording: Path,
    show: Show,
    force: bool,
    start_seconds: float | None = None,
    point_seconds: float | None = None,
) -> Row:
    """Measure a single point on an engine of its own, whose log is beside the recording."""
    log, limits = recording.with_name(LOG_FILE), EngineLimits(start_seconds, point_seconds, need_of(point))
    with closing(EngineRun(point.engine, lambda: log, force, limits, SHORT_TICK_SECONDS)) as engine:
        return engine.measure(PlannedPoint(0, point, recording), show).row


class EngineRun:
    """An engine in a process of its own; it starts with its first point.

    `measure` does everything for one point. A caller that must not block longer than a tick calls `begin` and then
    `advance` until that returns a measurement.
    """

    def __init__(
        self,
        engine: EngineSection,
        new_log: Callable[[], Path],
        force: bool,
        limits: EngineLimits,
        tick_seconds: float | None = None,
        share: MachineShare = WHOLE,
    ) -> None:
        self._engine, self._new_log, self._force, self._limits = engine, new_log, force, limits
        self._tick_seconds, self._share = tick_seconds or TICK_SECONDS, share
        self._process: EngineProcess | None = None
        self._events: list[Event] = []
        self.log: Path | None = None  # of the engine that runs, or ran last

    def measure(self, planned: PlannedPoint, show: Show, slot: StartSlot | None = None) -> Measurement:
        """Measure one point, with the other engines of the slot's gate if there is one.

        Raise `EngineStartError` if the engine ends before its first point begins.
        """
        self.begin(planned, together=slot is not None)
        while True:
            events, measurement = self.advance()
            for event in events:
                show(event)
            if measurement is not None:
                return measurement
            if slot is not None and (start_ns := slot.attend(events)) is not None:
                self.start_at(start_ns)

    def begin(self, planned: PlannedPoint, together: bool = False) -> None:
        """Name the next point; the next call of `advance` gives it to the engine."""
        self._planned, self._given, self._together = planned, False, together

    def start_at(self, wall_ns: int) -> None:
        """Tell the engine, which is ready, when all engines of the point begin."""
        assert self._process is not None
        self._process.give(messages.Start(wall_ns))
        self._waits, self._timeout = False, PointTimeout(self._planned.point, self._limits.point_seconds)

    def advance(self) -> tuple[list[Event], Measurement | None]:
        """Wait for the next message or tick. Return what happened, and the measurement if the point has ended."""
        measurement = None
        try:
            if self._given:
                assert self._process is not None
                measurement = self._handle(self._process.receive(self._tick_seconds))
            else:
                self._give()
        except OSError as error:
            sentence = f"{error.filename or self.log}: {error.strerror}; mend that and try again"
            measurement = self._lost(UnavailableError(sentence))
        except EngineProbeError as error:
            measurement = self._lost(error)
        events, self._events = self._events, []
        return events, measurement

    def close(self) -> None:
        """End the engine, even in the middle of a point; its recording stays readable up to the last row."""
        process, self._process = self._process, None
        if process is not None:
            process.end()

    def _give(self) -> None:
        is_new = self._process is None
        process = self._process or self._start()
        set_aside(self._planned.folder)
        planned = self._planned
        process.give(messages.Task(planned.point, str(planned.folder), planned.id, self._together))
        self._given, self._waits = True, False
        if is_new:
            # Imports pandas now, while the engine starts, and not between its first two points. In a thread of its own,
            # because Python loses a Ctrl-C that arrives in a callback of its import system.
            threading.Thread(target=pa.array, args=([0],)).start()

    def _start(self) -> EngineProcess:
        self._has_begun = False
        self._live: LiveReader | None = None  # of the point that is being measured
        self.log = self._new_log()
        share = self._share
        self._process = EngineProcess(self.log, {**self._engine.spec.environment, **share.environment})
        self._process.give(messages.Job(self._engine, self._force, self._limits.need, share.cores, share.engines))
        self._start_log, self._since = StartLog(self.log, self._tick_seconds), time.monotonic()
        self._events.append(messages.StartStep(f"starting vLLM on {self._engine.model}"))
        return self._process

    def _handle(self, message: messages.Message | None) -> Measurement | None:
        """Act on a message, or on a tick without one."""
        match message:
            case messages.Began():
                self._begin_point()
            case messages.Ended() | messages.Refused():
                return self._end_point(message)
            case messages.Failed():
                self._fail(message)
            case messages.Ready():
                self._waits = True
                self._events.append(message)
            case messages.Notice():
                self._events.append(message)
            case None | Scoring() if self._live is not None:
                progress = self._live.progress() if message is None else message
                self._events.append(progress)
                if not self._waits:  # for other engines, which have limits of their own
                    self._timeout.check(progress)
            case None | messages.StartStep() if self._has_begun:
                self._events.append(None)
            case None | messages.StartStep():
                log = self._start_log
                self._events.append(log.progress() if message is None else log.enter(message.text))
                seconds = self._limits.start_seconds
                if seconds is not None and time.monotonic() - self._since > seconds:
                    without = f"given up after {seconds:g} s without a first point (start_seconds)"
                    raise UnavailableError(f"{without}; all the engine said is in {self.log}")
        return None

    def _begin_point(self) -> None:
        if not self._has_begun:
            self._events.append(self._start_log.started())
        self._has_begun = True
        self._live = LiveReader(self._planned.folder)
        self._timeout = PointTimeout(self._planned.point, self._limits.point_seconds)
        self._events.append(messages.Began(self._planned.number))

    def _end_point(self, message: messages.Ended | messages.Refused) -> Measurement:
        self._live = None
        self._start_log.keep_in(self._planned.folder)
        if isinstance(message, messages.Refused):
            return Measurement(self._planned.failed(message.sentence, InputError.exit_code))
        return Measurement(row_at(self._planned.folder, self._planned.point))

    def _fail(self, message: messages.Failed) -> None:
        assert self._process is not None
        assert self.log is not None
        self._process.wait_for_end()
        kind = InputError if message.exit_code == InputError.exit_code else UnavailableError
        raise kind(f"{message.sentence}{worker_crash(self.log)}; all the engine said is in {self.log}")

    def _lost(self, error: EngineProbeError) -> Measurement:
        """End the engine after an error, and return the row of the point that was lost."""
        self.close()
        if not self._has_begun:
            raise EngineStartError(str(error), error.exit_code) from error
        row = self._planned.failed(str(error), error.exit_code)
        return Measurement(row, engine_died=not isinstance(error, PointTimeoutError))


class Engine(Protocol):
    """An engine that measures one point after another."""

    def measure(self, planned: PlannedPoint, show: Show, slot: StartSlot | None = None) -> Measurement:
        """Measure one point. Raise `EngineStartError` if the engine ends before its first point begins.

        With a slot it is one of several engines: it waits for the common start, and raises when the point is over.
        """

    def close(self) -> None:
        """End the engine, even in the middle of a point."""


class Engines(Protocol):
    """Where the engines of a sweep run."""

    def engines(
        self, engines: Sequence[EngineSection], folder: Path, force: bool, limits: Sequence[EngineLimits]
    ) -> Sequence[Engine]:
        """Return the engines of one group, which measure its points together; they start with their first point."""

    def run_groups(self, groups: Sequence[Callable[[], None]], side_by_side: bool = True) -> None:
        """Call each, which measures the points of one engine group; several of them at a time only if they may."""


class LocalEngines:
    """Engines in processes of this machine, one group after the other."""

    def __init__(self, num_gpus: int = 0) -> None:
        self._num_gpus = num_gpus

    def engines(
        self, engines: Sequence[EngineSection], folder: Path, force: bool, limits: Sequence[EngineLimits]
    ) -> Sequence[Engine]:
        shares = shares_here([engine.spec for engine in engines], self._num_gpus)
        names = (
            [LOG_STEM]
            if len(engines) == 1
            else [f"{LOG_STEM}-of-{REPLICA_FOLDER.format(n + 1)}" for n in range(len(engines))]
        )
        return [
            EngineRun(engine, partial(new_log, folder, name), force, own, share=share)
            for engine, name, own, share in zip(engines, names, limits, shares, strict=True)
        ]

    def run_groups(self, groups: Sequence[Callable[[], None]], side_by_side: bool = True) -> None:
        for group in groups:
            group()
