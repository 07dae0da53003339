"""Calls to other machines: each is answered later, and a waiting thread wakes when the sweep ends."""

import concurrent.futures
from concurrent.futures import Future
from typing import Any, TypeVar

from engine_probe.sweep.engine_process.process import END_SECONDS
from engine_probe.sweep.fleet.cluster import Cluster, LostError

LAST_ANSWER_SECONDS = END_SECONDS + 10.0

Answer = TypeVar("Answer")


class StoppedError(Exception):
    """The sweep is ending, so nothing more is waited for."""


class Calls:
    """Waits for answers on behalf of all engine groups of a fleet."""

    def __init__(self, cluster: Cluster) -> None:
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
