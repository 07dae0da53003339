"""What a fleet needs of its machines: who is there, a worker on one of them, and whether it is lost."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any, Protocol

from engine_probe.sweep.definition.sweep_file import Point
from engine_probe.sweep.execution.lanes import Placed
from engine_probe.sweep.fleet.remote_engine import Told
from engine_probe.sweep.fleet.resources import Claim, Node


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
