"""Engines on other machines, side by side: the same tasks and rows as here, their recordings brought to one folder.

Everything runs in the caller's one thread: each group of points is a generator that yields `WAITING` while its machine
works, so that a search reads its rows and asks for its next point exactly as it does at home.
"""

from __future__ import annotations

import concurrent.futures
import os
import shutil
import time
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

import msgspec

from engine_probe.engine.spec import EngineSpec
from engine_probe.errors import UnavailableError
from engine_probe.sweep.claim import Claim, Node, claim_of, has_cards
from engine_probe.sweep.lanes import Lane, Left, Moved, Placed, Waiting, Words
from engine_probe.sweep.messages import Said
from engine_probe.sweep.plan import EngineSection, Point
from engine_probe.sweep.post import NeverBegan, Over, Told
from engine_probe.sweep.result import Unmeasured
from engine_probe.sweep.run import (
    END_SECONDS,
    FAILED,
    TICK_SECONDS,
    Event,
    Finished,
    NeverBeganError,
    Numbered,
    Running,
    new_log,
    set_aside,
)
from engine_probe.workload.dataset import Dataset
from engine_probe.workload.trace import Trace

MOST_PLACES = 3  # on which one point is tried before it is a row with its reason
PATIENCE_SECONDS = 120.0  # for a machine to come, where none is left that could hold the engine
LAST_WORDS_SECONDS = END_SECONDS + 10.0
WAITING = Waiting()
# What a user sets for vLLM is meant for the engines, wherever they run. Addresses and folders are each machine's own.
CARRIED = ("VLLM_", "NCCL_", "OMP_", "TORCH")
NOT_CARRIED = frozenset({"VLLM_HOST_IP", "VLLM_PORT", "VLLM_RPC_BASE_PATH", "VLLM_CACHE_ROOT", "VLLM_CONFIG_ROOT"})

Answer = TypeVar("Answer")


class Worker(Protocol):
    """A `Post` on another machine: each call is answered later."""

    def where(self) -> Future[Placed]: ...

    def next(self, task: tuple[int, Point] | None, datasets: dict[str, bytes]) -> Future[Told]: ...

    def read(self, name: str, offset: int) -> Future[bytes]: ...

    def forget(self) -> Future[None]: ...

    def stop(self) -> Future[Told]: ...

    def close(self) -> Future[None]: ...

    def kill(self) -> None:
        """Without asking; what it started goes with it."""


class Cluster(Protocol):
    """The machines."""

    def nodes(self) -> list[Node]:
        """Those that are alive."""

    def hire(self, claim: Claim, avoid: frozenset[str], *post: Any) -> Worker:
        """A `Post(*post)` on any other machine that has room for the claim, as soon as one has."""

    def lost(self, error: BaseException) -> str | None:
        """Why the machine that was asked is gone, if that is what the error means."""


class LostError(Exception):
    """A machine is gone, or the process on it that was asked."""


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
        self._calls: set[Future[Any]] = set()
        self._hired: list[Worker] = []
        self._lost: set[str] = set()  # machines
        self._stopping: dict[int, Future[Told]] = {}
        self._seen: tuple[float, list[Node]] = (time.monotonic(), cluster.nodes())
        self._on_cards = has_cards(self._seen[1])  # for good: an engine for cards is never moved to a machine without

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
                concurrent.futures.wait(self._calls, TICK_SECONDS, concurrent.futures.FIRST_COMPLETED)
                yield None
        finally:
            self._stopping = {id(worker): worker.stop() for worker in self._hired}  # all at once, then one by one
            for events in lanes.values():
                if isinstance(events, Generator):
                    events.close()

    def start(
        self, engine: EngineSection, tasks: Iterator[Numbered], log: Path, force: bool, seconds_each: float
    ) -> Running:
        """All tasks of a group; a task whose machine is lost is the first one of the next machine."""
        task = next(tasks, None)
        if task is None:
            return None
        places: Counter[int] = Counter()
        while task is not None:
            claim = self._claim(engine.spec)
            stand = Stand(task, reserved(log), claim, self._avoided(claim))
            yield Said(f"waiting for a machine with {stand.claim}")
            worker = self._hire(stand, engine, force, seconds_each)
            try:
                if (yield from self._arrive(worker, engine.spec, stand)):
                    yield from self._follow(worker, tasks, stand)
            except LostError as error:
                self._lost.add(stand.node)
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
            task, log = stand.task, new_log(log.parent)
        return None

    def _arrive(self, worker: Worker, spec: EngineSpec, stand: Stand) -> Generator[Event, None, bool]:
        """Until the worker has a place, or has to ask for another one; given up when no machine is left."""
        assert stand.task is not None
        call, since = worker.where(), time.monotonic()
        while not call.done():
            if any(stand.claim.fits(node) for node in self._alive() if node.id not in stand.avoid):
                since = time.monotonic()
            elif (claim := self._claim(spec)) != stand.claim or self._avoided(claim) != stand.avoid:
                return False
            elif time.monotonic() - since > self._patience_seconds:
                sentence = f"no machine of the fleet has {stand.claim} any longer"
                raise NeverBeganError(sentence, UnavailableError.exit_code, stand.task)
            yield from self._waited(call)
        try:
            placed = yield from self._answer(call)
        except UnavailableError as error:
            raise NeverBeganError(str(error), error.exit_code, stand.task) from error
        stand.host, stand.node = placed.host, placed.node
        yield placed
        return True

    def _follow(self, worker: Worker, tasks: Iterator[Numbered], stand: Stand) -> Generator[Event | Finished]:
        """Event after event; returns when no task is left."""
        given = stand.task
        while True:
            told = yield from self._answer(worker.next(given and given[:2], datasets_of(given, stand)))
            given = None
            if text := stand.write(told.words):
                yield Words(text)
            match told.event:
                case Finished(number, row):
                    assert stand.task is not None
                    _, point, place = stand.task
                    yield from self._collect(worker, told.files, place)
                    if isinstance(row, Unmeasured):
                        row = msgspec.structs.replace(row, reason=row.reason.replace(told.log, str(stand.log)))
                    yield Finished(number, msgspec.structs.replace(row, point=point))
                    given = stand.task = next(tasks, None)
                case Over() if stand.task is None:
                    return
                case Over():
                    stand.log = reserved(new_log(stand.log.parent))  # of the engine that the next task gets
                    given = stand.task
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
                        piece = yield from self._answer(worker.read(name, file.tell()))
                        if not piece:
                            raise LostError(f"{name} ended early on its way")
                        file.write(piece)
        yield from self._answer(worker.forget())

    def _answer(self, call: Future[Answer]) -> Generator[Event, None, Answer]:
        while not call.done():
            yield from self._waited(call)
        try:
            return call.result()
        except Exception as error:
            if reason := self._cluster.lost(error):
                raise LostError(reason) from error
            raise

    def _waited(self, call: Future[Any]) -> Generator[Event]:
        self._calls.add(call)
        try:
            yield WAITING
        finally:
            self._calls.discard(call)

    def _claim(self, spec: EngineSpec) -> Claim:
        return claim_of(spec, self._alive(), self._on_cards)

    def _alive(self) -> list[Node]:
        """Asked once a tick, however many lanes want to know."""
        when, nodes = self._seen
        if time.monotonic() - when >= TICK_SECONDS:
            nodes = self._cluster.nodes()
            self._seen = (time.monotonic(), nodes)
        return nodes

    def _avoided(self, claim: Claim) -> frozenset[str]:
        """Machines that were lost, as long as there is another one."""
        others = [node for node in self._alive() if node.id not in self._lost and claim.fits(node)]
        return frozenset(self._lost - {""}) if others else frozenset()

    def _hire(self, stand: Stand, engine: EngineSection, force: bool, seconds_each: float) -> Worker:
        local = Path(engine.model).expanduser()
        if local.is_dir():  # the same folder there, whatever folder the worker's process runs in
            engine = msgspec.structs.replace(engine, model=str(local.absolute()))
        worker = self._cluster.hire(stand.claim, stand.avoid, engine, force, seconds_each, carried(os.environ))
        self._hired.append(worker)
        return worker

    def _dismiss(self, worker: Worker, stand: Stand) -> None:
        """What an interrupted engine leaves comes here too; then its machine is free again."""
        self._hired.remove(worker)
        try:
            with suppress(LostError, concurrent.futures.TimeoutError, UnavailableError):
                if stand.host:
                    stopping = self._stopping.get(id(worker))
                    told = self._now(worker.stop() if stopping is None else stopping)
                    stand.write(told.words)
                    if stand.task is not None:
                        self._patiently(self._collect(worker, told.files, stand.task[2]))
                    self._now(worker.close())
        finally:
            worker.kill()

    def _now(self, call: Future[Answer]) -> Answer:
        concurrent.futures.wait([call], LAST_WORDS_SECONDS)
        if not call.done():
            raise LostError("no answer")
        return self._patiently(self._answer(call))

    def _patiently(self, work: Generator[Event, None, Answer]) -> Answer:
        """Runs what else takes turns."""
        while True:
            try:
                next(work)
            except StopIteration as end:
                answer: Answer = end.value
                return answer
            if not concurrent.futures.wait(self._calls, LAST_WORDS_SECONDS, concurrent.futures.FIRST_COMPLETED).done:
                raise LostError("no answer")


def reserved(log: Path) -> Path:
    """Exists from now on, so that no other lane takes its name."""
    with naming(log):
        log.touch(exist_ok=False)
    return log


@contextmanager
def arriving(place: Path) -> Iterator[Path]:
    """A folder beside `place`, which becomes `place` when everything is in it."""
    partial = place.with_name(f".{place.name}.partial")
    with naming(place):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            yield partial
            set_aside(place)
            partial.rename(place)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """A full or closed disk ends the sweep with a sentence."""
    try:
        yield
    except OSError as error:
        raise UnavailableError(
            f"cannot write {path}: {error.strerror}; every finished point is kept, go on with --resume"
        ) from error


def carried(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(CARRIED) and name not in NOT_CARRIED}


def datasets_of(task: Numbered | None, stand: Stand) -> dict[str, bytes]:
    """What the task reads, unless this machine has it already."""
    prompts = task[1].workload.prompts if task is not None else None
    if not isinstance(prompts, Dataset | Trace) or prompts.path in stand.sent:
        return {}
    stand.sent.add(prompts.path)
    try:
        return {prompts.path: Path(prompts.path).read_bytes()}
    except OSError as error:
        raise UnavailableError(f"{prompts.path} cannot be read any longer: {error.strerror}") from error
