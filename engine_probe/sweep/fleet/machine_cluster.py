"""What a fleet needs of a cluster: its machines, workers on them, calls to these, and which machine is lost."""

import concurrent.futures
import threading
import time
from concurrent.futures import Future
from typing import Any, Protocol, TypeVar

from engine_probe.engine.engine_spec import EngineSpec
from engine_probe.sweep.definition.sweep_file import Point
from engine_probe.sweep.engine_process.process import END_SECONDS
from engine_probe.sweep.execution.engine_run import TICK_SECONDS
from engine_probe.sweep.execution.events import Placed
from engine_probe.sweep.fleet.remote_engine import Update
from engine_probe.sweep.fleet.resources import EngineShare, RayNode, claim_of, has_gpus


class MachineWorker(Protocol):
    """A `RemoteEngine` on another machine: each call is answered later."""

    def where(self) -> Future[Placed]: ...

    def next(self, task: tuple[int, Point, bool] | None, datasets: dict[str, bytes]) -> Future[Update]: ...

    def wall_clock(self) -> Future[int]: ...

    def start_at(self, wall_ns: int) -> Future[None]: ...

    def read(self, name: str, offset: int) -> Future[bytes]: ...

    def forget(self) -> Future[None]: ...

    def stop(self) -> Future[Update]: ...

    def close(self) -> Future[None]: ...

    def kill(self) -> None:
        """End the worker without asking it; what it started ends with it."""


class MachineCluster(Protocol):
    """The machines."""

    def nodes(self) -> list[RayNode]:
        """Return the machines that are alive."""

    def start_worker(self, claim: EngineShare, avoid: frozenset[str], *remote_engine: Any) -> MachineWorker:
        """Return a `RemoteEngine(*remote_engine)`, to be made on any other machine as soon as one has room."""

    def lost(self, error: BaseException) -> str | None:
        """Return why the machine that was asked is gone. None if the error means something else."""


class LostError(Exception):
    """A machine is gone, or the process on it that was asked."""


LAST_ANSWER_SECONDS = END_SECONDS + 10.0

Answer = TypeVar("Answer")


class StoppedError(Exception):
    """The sweep is ending, so nothing more is waited for."""


class Calls:
    """Waits for answers on behalf of all engine groups of a fleet."""

    def __init__(self, cluster: MachineCluster) -> None:
        self._cluster = cluster
        self._stopped: Future[None] = Future()

    def stop(self) -> None:
        """Let every wait, now or later, raise `StoppedError`."""
        self._stopped.set_result(None)

    def wait(self, call: Future[Any], seconds: float | None = None) -> bool:
        """Wait until the call is answered, but at most so long. Return whether it is."""
        concurrent.futures.wait([call, self._stopped], seconds, concurrent.futures.FIRST_COMPLETED)
        if self._stopped.done() and not call.done():
            raise StoppedError
        return call.done()

    def answer(self, call: Future[Answer]) -> Answer:
        """Return the answer. Raise `LostError` if the machine is gone."""
        self.wait(call)
        return self._result(call)

    def last_answer(self, call: Future[Answer]) -> Answer:
        """Return the answer also while the sweep ends, for which a limited time is waited."""
        concurrent.futures.wait([call], LAST_ANSWER_SECONDS)
        if not call.done():
            raise LostError("no answer")
        return self._result(call)

    def _result(self, call: Future[Answer]) -> Answer:
        try:
            return call.result()
        except Exception as error:
            if reason := self._cluster.lost(error):
                raise LostError(reason) from error
            raise


class LiveNodes:
    """Asks the cluster once a tick, however many engine groups want to know."""

    def __init__(self, cluster: MachineCluster) -> None:
        self._cluster = cluster
        self._lost: set[str] = set()
        self._asking = threading.Lock()
        self._seen: tuple[float, list[RayNode]] = (time.monotonic(), cluster.nodes())
        self._on_gpus = has_gpus(self._seen[1])  # for good: an engine for GPUs is never moved to a machine without

    def alive(self) -> list[RayNode]:
        with self._asking:
            when, nodes = self._seen
            if time.monotonic() - when >= TICK_SECONDS:
                nodes = self._cluster.nodes()
                self._seen = (time.monotonic(), nodes)
            return nodes

    def claim(self, spec: EngineSpec) -> EngineShare:
        return claim_of(spec, self.alive(), self._on_gpus)

    def lose(self, node: str) -> None:
        """Remember that a machine was lost; the cluster may notice it only later."""
        self._lost.add(node)

    def avoided(self, claim: EngineShare) -> frozenset[str]:
        """Return the machines that were lost. Empty if no other one could hold the engine."""
        others = [node for node in self.alive() if node.id not in self._lost and claim.fits(node)]
        return frozenset(self._lost - {""}) if others else frozenset()

    def has_room(self, claim: EngineShare, avoid: frozenset[str]) -> bool:
        return any(claim.fits(node) for node in self.alive() if node.id not in avoid)
