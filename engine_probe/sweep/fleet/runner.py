"""Engines on other machines, side by side: the same tasks and rows as here, their recordings brought to one folder.

Everything runs in the caller's one thread: each group of points is a generator that yields `WAITING` while its machine
works, so that a search reads its rows and asks for its next point exactly as it does at home.
"""

from __future__ import annotations

import concurrent.futures
import os
import time
from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from engine_probe.engine.spec import EngineSpec
from engine_probe.errors import UnavailableError
from engine_probe.sweep.definition.sweep_file import EngineSection
from engine_probe.sweep.engine_process.messages import Said
from engine_probe.sweep.execution.engine_run import TICK_SECONDS, Allowance
from engine_probe.sweep.execution.events import Event, Finished, NeverBeganError, Numbered, Running
from engine_probe.sweep.execution.folders import new_log
from engine_probe.sweep.execution.lanes import Lane, Left, Moved, Waiting, Words
from engine_probe.sweep.fleet.cluster import Cluster, LostError, Worker
from engine_probe.sweep.fleet.download import arriving, naming, reserved
from engine_probe.sweep.fleet.live_nodes import Roster
from engine_probe.sweep.fleet.pending_calls import Asking
from engine_probe.sweep.fleet.remote_engine import NeverBegan, Over, Told
from engine_probe.sweep.fleet.resources import Claim
from engine_probe.sweep.fleet.upload import carried, datasets_of, from_anywhere
from engine_probe.sweep.results.point_results import FAILED, Unmeasured

MOST_PLACES = 3  # on which one point is tried before it is a row with its reason
PATIENCE_SECONDS = 120.0  # for a machine to come, where none is left that could hold the engine


@dataclass
class Stand:
    """How far a lane is on its present machine."""

    task: Numbered | None  # to be measured, or being measured; None when all are
    log: Path  # here
    claim: Claim
    avoid: frozenset[str]  # machines that were lost, and may not have been missed yet
    host: str = ""  # as long as it has no place
    node: str = ""
    sent: set[str] = field(default_factory=set)  # datasets

    def write(self, words: bytes) -> str:
        if words:
            with naming(self.log), self.log.open("ab") as log:
                log.write(words)
        return words.decode(errors="replace")


class Fleet:
    """`ways` of a sweep: `start` in place of `run_engine`, every group at once."""

    def __init__(self, cluster: Cluster, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._cluster = cluster
        self._patience_seconds = patience_seconds
        self._asking, self._roster = Asking(cluster), Roster(cluster)
        self._hired: list[Worker] = []
        self._stopping: dict[int, Future[Told]] = {}

    def together(self, groups: Iterable[Iterator[Event]]) -> Iterator[Event]:
        """In one thread: each lane goes on until it waits; None when a tick has passed."""
        lanes = dict(enumerate(groups))
        try:
            while lanes:
                for number, events in list(lanes.items()):
                    for event in events:
                        if isinstance(event, Waiting):
                            break
                        yield Lane(number, event)
                    else:
                        del lanes[number]
                        yield Lane(number, Left())
                self._asking.any_answered(TICK_SECONDS)
                yield None
        finally:
            self._stopping = {id(worker): worker.stop() for worker in self._hired}  # all at once, then one by one
            for events in lanes.values():
                if isinstance(events, Generator):
                    events.close()

    def start(
        self, engine: EngineSection, tasks: Iterator[Numbered], log: Path, force: bool, allowance: Allowance
    ) -> Running:
        """All tasks of a group; a task whose machine is lost is the first one of the next machine."""
        task = next(tasks, None)
        if task is None:
            return None
        places: Counter[int] = Counter()
        log = reserved(log)
        while True:
            claim = self._roster.claim(engine.spec)
            stand = Stand(task, log, claim, self._roster.avoided(claim))
            yield Said(f"waiting for a machine with {stand.claim}")
            worker = self._hire(stand, engine, force, allowance)
            try:
                if (yield from self._arrive(worker, engine.spec, stand)):
                    yield from self._follow(worker, tasks, stand)
            except LostError as error:
                self._roster.lose(stand.node)
                if stand.task is not None:
                    number, point, place = stand.task
                    places[number] += 1
                    if places[number] < MOST_PLACES:
                        yield Moved(number, point.label, stand.host, str(error))
                    else:
                        reason = f"lost with its machine {MOST_PLACES} times, at last on {stand.host}: {error}"
                        yield Finished(
                            number, Unmeasured(place.name, point, FAILED, reason, UnavailableError.exit_code)
                        )
                        stand.task = next(tasks, None)
            finally:
                self._dismiss(worker, stand)
            if (task := stand.task) is None:
                return None
            log = reserved(new_log(log.parent)) if stand.host else stand.log  # where no engine was, it is still empty

    def _arrive(self, worker: Worker, spec: EngineSpec, stand: Stand) -> Generator[Event, None, bool]:
        """Until the worker has a place, or has to ask for another one; given up when no machine is left."""
        assert stand.task is not None
        call, since = worker.where(), time.monotonic()
        while not call.done():
            if self._roster.has_room(stand.claim, stand.avoid):
                since = time.monotonic()
            elif (claim := self._roster.claim(spec)) != stand.claim or self._roster.avoided(claim) != stand.avoid:
                return False
            elif time.monotonic() - since > self._patience_seconds:
                sentence = f"no machine of the fleet has {stand.claim} any longer"
                raise NeverBeganError(sentence, UnavailableError.exit_code, stand.task)
            yield from self._asking.waited(call)
        try:
            placed = yield from self._asking.answer(call)
        except UnavailableError as error:
            raise NeverBeganError(str(error), error.exit_code, stand.task) from error
        stand.host, stand.node = placed.host, placed.node
        yield placed
        return True

    def _follow(self, worker: Worker, tasks: Iterator[Numbered], stand: Stand) -> Generator[Event | Finished]:
        """Event after event; returns when no task is left."""
        given = stand.task
        while True:
            files = datasets_of(given[1], stand.sent) if given is not None else {}
            told = yield from self._asking.answer(worker.next(given and given[:2], files))
            given = None
            if text := stand.write(told.words):
                yield Words(text)
            match told.event:
                case Finished(number, row, engine_died):
                    assert stand.task is not None
                    _, point, place = stand.task
                    yield from self._collect(worker, told.files, place)
                    if isinstance(row, Unmeasured):
                        row = msgspec.structs.replace(row, reason=row.reason.replace(told.log, str(stand.log)))
                    yield Finished(number, msgspec.structs.replace(row, point=point), engine_died)
                    given = stand.task = next(tasks, None)
                case Over() if stand.task is None:
                    return
                case Over():
                    # The worker has the next task already; the engine that it starts for it gets a log of its own.
                    stand.log = reserved(new_log(stand.log.parent))
                case NeverBegan(sentence, exit_code):
                    assert stand.task is not None
                    raise NeverBeganError(sentence.replace(told.log, str(stand.log)), exit_code, stand.task)
                case event:
                    yield event

    def _collect(self, worker: Worker, files: Iterable[tuple[str, int]], place: Path) -> Generator[Event]:
        """A point's folder comes here, whole or not at all."""
        if not files:
            return
        with arriving(place) as partial:
            for name, size in files:
                (partial / name).parent.mkdir(parents=True, exist_ok=True)
                with (partial / name).open("xb") as file:
                    while file.tell() < size:
                        piece = yield from self._asking.answer(worker.read(name, file.tell()))
                        if not piece:
                            raise LostError(f"{name} ended early on its way")
                        file.write(piece)
        yield from self._asking.answer(worker.forget())

    def _hire(self, stand: Stand, engine: EngineSection, force: bool, allowance: Allowance) -> Worker:
        post = from_anywhere(engine), force, allowance, carried(os.environ)
        worker = self._cluster.hire(stand.claim, stand.avoid, *post)
        self._hired.append(worker)
        return worker

    def _dismiss(self, worker: Worker, stand: Stand) -> None:
        """What an interrupted engine leaves comes here too; then its machine is free again."""
        self._hired.remove(worker)
        try:
            with suppress(LostError, concurrent.futures.TimeoutError, UnavailableError):
                if stand.host:
                    stopping = self._stopping.get(id(worker))
                    told = self._asking.now(worker.stop() if stopping is None else stopping)
                    stand.write(told.words)
                    if stand.task is not None:
                        self._asking.patiently(self._collect(worker, told.files, stand.task[2]))
                    self._asking.now(worker.close())
        finally:
            worker.kill()
