"""What a fleet needs of a cluster: its machines, workers on them, and whether one is lost."""

from concurrent.futures import Future
from typing import Any, Protocol

from engine_probe.sweep.definition.sweep_file import Point
from engine_probe.sweep.execution.events import Placed
from engine_probe.sweep.fleet.remote_engine import Update
from engine_probe.sweep.fleet.resources import Claim, Node


class Worker(Protocol):
    """A `RemoteEngine` on another machine: each call is answered later."""

    def where(self) -> Future[Placed]: ...

    def next(self, task: tuple[int, Point] | None, datasets: dict[str, bytes]) -> Future[Update]: ...

    def read(self, name: str, offset: int) -> Future[bytes]: ...

    def forget(self) -> Future[None]: ...

    def stop(self) -> Future[Update]: ...

    def close(self) -> Future[None]: ...

    def kill(self) -> None:
        """End the worker without asking it; what it started ends with it."""


class Cluster(Protocol):
    """The machines."""

    def nodes(self) -> list[Node]:
        """Return the machines that are alive."""

    def start_worker(self, claim: Claim, avoid: frozenset[str], *remote_engine: Any) -> Worker:
        """Return a `RemoteEngine(*remote_engine)`, to be made on any other machine as soon as one has room."""

    def lost(self, error: BaseException) -> str | None:
        """Return why the machine that was asked is gone. None if the error means something else."""


class LostError(Exception):
    """A machine is gone, or the process on it that was asked."""
