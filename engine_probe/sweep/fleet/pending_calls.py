"""Questions to other machines, each answered later, asked out of one thread that takes turns between lanes."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Generator
from concurrent.futures import Future
from typing import Any, TypeVar

from engine_probe.sweep.engine_process.process import END_SECONDS
from engine_probe.sweep.execution.events import Event
from engine_probe.sweep.execution.lanes import Waiting
from engine_probe.sweep.fleet.cluster import Cluster, LostError

LAST_WORDS_SECONDS = END_SECONDS + 10.0
WAITING = Waiting()

Answer = TypeVar("Answer")


class Asking:
    """The questions of all lanes that are not answered yet."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._calls: set[Future[Any]] = set()

    def any_answered(self, seconds: float) -> bool:
        """Waits at most so long until one of them is."""
        return bool(concurrent.futures.wait(self._calls, seconds, concurrent.futures.FIRST_COMPLETED).done)

    def answer(self, call: Future[Answer]) -> Generator[Event, None, Answer]:
        while not call.done():
            yield from self.waited(call)
        try:
            return call.result()
        except Exception as error:
            if reason := self._cluster.lost(error):
                raise LostError(reason) from error
            raise

    def waited(self, call: Future[Any]) -> Generator[Event]:
        """The other lanes' turn."""
        self._calls.add(call)
        try:
            yield WAITING
        finally:
            self._calls.discard(call)

    def now(self, call: Future[Answer]) -> Answer:
        """Without turns: the sweep is ending."""
        concurrent.futures.wait([call], LAST_WORDS_SECONDS)
        if not call.done():
            raise LostError("no answer")
        return self.patiently(self.answer(call))

    def patiently(self, work: Generator[Event, None, Answer]) -> Answer:
        """Runs what else takes turns."""
        while True:
            try:
                next(work)
            except StopIteration as end:
                answer: Answer = end.value
                return answer
            if not self.any_answered(LAST_WORDS_SECONDS):
                raise LostError("no answer")
