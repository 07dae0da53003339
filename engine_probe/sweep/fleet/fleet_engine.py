"""The engine of one group in a fleet: on whichever machine has room, and on another one when that machine is lost."""

import concurrent.futures
import os
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from engine_probe.errors import UnavailableError
from engine_probe.files.new_file import writing
from engine_probe.record.run_folder import RUN_FILE, WALL_CLOCK_AHEAD, add_facts
from engine_probe.sweep.definition.sweep_file import EngineSection
from engine_probe.sweep.engine_process.messages import StartStep
from engine_probe.sweep.execution.engine_run import TICK_SECONDS, EngineLimits
from engine_probe.sweep.execution.events import LogText, Moved, Placed, Show
from engine_probe.sweep.execution.folders import RESUMABLE
from engine_probe.sweep.execution.planned_point import EngineStartError, Measurement, PlannedPoint
from engine_probe.sweep.fleet.machine_cluster import Calls, LiveNodes, LostError, MachineCluster, MachineWorker
from engine_probe.sweep.fleet.placing_order import LargestFirst
from engine_probe.sweep.fleet.remote_engine import Update
from engine_probe.sweep.fleet.resources import EngineShare
from engine_probe.sweep.fleet.transfers import arriving, carried, datasets_of, from_anywhere, reserve_log
from engine_probe.sweep.replicas.start_gate import StartSlot
from engine_probe.sweep.results.point_results import Unmeasured

MOST_PLACES = 3  # on which one point is tried before it is a row with its reason
PATIENCE_SECONDS = 120.0  # for a machine to come, where none is left that could hold the engine


@dataclass
class Machines:
    """What the engines of a fleet share."""

    cluster: MachineCluster
    nodes: LiveNodes
    calls: Calls
    patience_seconds: float


@dataclass
class Place:
    """The worker that holds the engine, and what is known of its machine."""

    worker: MachineWorker
    claim: EngineShare
    avoid: frozenset[str]  # machines that were lost, which the cluster may not have noticed yet
    placed: Placed | None = None  # None until a machine has room
    sent: set[str] = field(default_factory=set)  # data sets
    logs: dict[str, Path] = field(default_factory=dict)  # path of a log there -> its copy here


class FleetEngine:
    """Measures one point after another; a point whose machine is lost is measured again on another one."""

    def __init__(
        self,
        machines: Machines,
        engine: EngineSection,
        folder: Path,
        force: bool,
        limits: EngineLimits,
        order: LargestFirst,
        number: int,
    ) -> None:
        self._machines, self._calls, self._order, self._number = machines, machines.calls, order, number
        self._engine, self._folder, self._force, self._limits = engine, folder, force, limits
        self._place: Place | None = None
        self._recording: Path | None = None  # of a point that is being measured

    def measure(self, planned: PlannedPoint, show: Show, slot: StartSlot | None = None) -> Measurement:
        """Measure one point, on three machines at most; with other engines only once, as they would have to wait."""
        most = MOST_PLACES if slot is None else 1
        for tries in range(1, most + 1):
            try:
                place = self._place or self._find_place(show, slot)
                return self._measure_at(place, planned, show, slot)
            except LostError as error:
                host = self._lose_place()
                if tries < most:
                    show(Moved(planned.number, planned.point.label, host, str(error)))
                times = f" {most} times, at last on" if slot is None else ""
                lost = f"lost with its machine{times} {host}: {error}"
            self.close()
        return Measurement(planned.failed(lost))

    def _find_place(self, show: Show, slot: StartSlot | None) -> Place:
        """Wait until a machine has room for the engine."""
        while True:
            self._order.wait(self._number, slot)
            claim = self._machines.nodes.claim(self._engine.spec)
            show(StartStep(f"waiting for a machine with {claim}"))
            avoid = self._machines.nodes.avoided(claim)
            remote_engine = from_anywhere(self._engine), self._force, self._limits, carried(os.environ)
            worker = self._machines.cluster.start_worker(claim, avoid, *remote_engine)
            self._place = place = Place(worker, claim, avoid)
            if self._arrives(place, slot):
                self._order.note(self._number, is_placed=True)
                show(place.placed)
                return place
            self.close()

    def _arrives(self, place: Place, slot: StartSlot | None) -> bool:
        """Wait for the worker's machine. False if another one must be asked for. Raise if no machine has room."""
        nodes, since = self._machines.nodes, time.monotonic()
        call = place.worker.where()
        while not self._calls.wait(call, TICK_SECONDS):
            if slot is not None:
                slot.check()
            if nodes.has_room(place.claim, place.avoid):
                since = time.monotonic()
            elif (claim := nodes.claim(self._engine.spec)) != place.claim or nodes.avoided(claim) != place.avoid:
                return False
            elif time.monotonic() - since > self._machines.patience_seconds:
                sentence = f"no machine of the fleet has {place.claim} any longer"
                raise EngineStartError(sentence, UnavailableError.exit_code)
        try:
            place.placed = self._calls.answer(call)
        except UnavailableError as error:
            raise EngineStartError(str(error), error.exit_code) from error
        return True

    def _measure_at(
        self, place: Place, planned: PlannedPoint, show: Show, slot: StartSlot | None = None
    ) -> Measurement:
        """Give the point to the engine, and follow it until it has ended and its recording is here."""
        together = slot is not None
        task, files = (planned.number, planned.point, together), datasets_of(planned.point, place.sent)
        self._recording, clock = planned.folder, None
        call = place.worker.next(task, files)
        while True:
            update = self._calls.answer(call)
            log = self._keep_log(place, update, show)
            for event in update.events:
                show(event)
            if update.start_error is not None:
                sentence, exit_code = update.start_error
                raise EngineStartError(with_log(sentence, update, log), exit_code)
            if update.measurement is not None:
                break
            if slot is not None and (start_ns := slot.attend(update.events)) is not None:
                clock = self._compare_clocks(place)
                self._calls.answer(place.worker.start_at(start_ns + clock["ns"]))
            call = place.worker.next(None, {})
        self._download(place, update, planned.folder)
        if clock is not None and (planned.folder / RUN_FILE).is_file():
            with writing(planned.folder / RUN_FILE, RESUMABLE):
                add_facts(planned.folder, **{WALL_CLOCK_AHEAD: clock})
        self._recording = None
        row = update.measurement.row
        if isinstance(row, Unmeasured):
            row = msgspec.structs.replace(row, reason=with_log(row.reason, update, log))
        row = msgspec.structs.replace(row, id=planned.id, point=planned.point, folder=planned.folder.name)
        return msgspec.structs.replace(update.measurement, row=row)

    def _compare_clocks(self, place: Place) -> dict[str, int]:
        """Return how far the machine's wall clock is ahead of this one's, and how exactly that is known."""
        before = time.time_ns()
        there = self._calls.answer(place.worker.wall_clock())
        after = time.time_ns()
        return {"ns": there - (before + after) // 2, "error_ns": (after - before) // 2}

    def _keep_log(self, place: Place, update: Update, show: Show) -> Path | None:
        """Append to the copy of the engine's log, and return its path; each engine has a copy of its own."""
        if not update.log:
            return None
        if update.log not in place.logs:
            place.logs[update.log] = reserve_log(self._folder)
        log = place.logs[update.log]
        if update.log_text:
            with writing(log, RESUMABLE), log.open("ab") as file:
                file.write(update.log_text)
            show(LogText(update.log_text.decode(errors="replace")))
        return log

    def _download(self, place: Place, update: Update, recording: Path, ending: bool = False) -> None:
        """Copy a point's folder here, whole or not at all."""
        if not update.files:
            return
        answer = self._calls.last_answer if ending else self._calls.answer
        with arriving(recording) as partial:
            for name, size in update.files:
                (partial / name).parent.mkdir(parents=True, exist_ok=True)
                with (partial / name).open("xb") as file:
                    while file.tell() < size:
                        piece = answer(place.worker.read(name, file.tell()))
                        if not piece:
                            raise LostError(f"{name} ended early on its way")
                        file.write(piece)
        with suppress(LostError):  # the point is complete here; the next call tells that the machine is gone
            answer(place.worker.forget())

    def _lose_place(self) -> str:
        """Remember that the machine is lost, so that it is avoided. Return its name."""
        placed = self._place.placed if self._place else None
        self._machines.nodes.lose(placed.node if placed else "")
        return placed.host if placed else ""

    def close(self) -> None:
        """End the engine, fetch what it recorded of an interrupted point, and free its machine."""
        place, self._place = self._place, None
        self._order.note(self._number, is_placed=False)
        recording, self._recording = self._recording, None
        if place is None:
            return
        try:
            with suppress(LostError, concurrent.futures.TimeoutError, UnavailableError):
                if place.placed is not None:
                    update = self._calls.last_answer(place.worker.stop())
                    self._keep_log(place, update, lambda event: None)
                    if recording is not None:
                        self._download(place, update, recording, ending=True)
                    self._calls.last_answer(place.worker.close())
        finally:
            place.worker.kill()


def with_log(sentence: str, update: Update, log: Path | None) -> str:
    """Name the copy of the engine's log in place of the log on its machine."""
    return sentence if log is None else sentence.replace(update.log, str(log))
