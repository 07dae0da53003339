"""Calls into the workers of an engine that wait for a bounded time."""

from __future__ import annotations

import _thread
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from engine_probe.hook.patches import Patches

PATIENCE_SECONDS = 20.0


class WorkersSilentError(RuntimeError):
    """A worker did not answer in time."""


def ask_workers(executor: Any, method: Callable[..., Any], *args: Any) -> list[Any]:
    """Call `method(worker, *args)` in every worker; WorkersSilentError if one has not answered in time.

    vLLM's own timeout would leave a late answer in the queue, where the next step would take it for its own. So a
    thread goes on waiting for it, and until then vLLM's calls wait behind it, as they would behind a busy worker.
    `threading.Thread.start` would wait forever for a thread that dies at birth for want of memory.
    """
    if hasattr(executor, "driver_worker"):  # in this process: it answers before the call returns, from our thread
        return list(executor.collective_rpc(method, args=args))
    answer: Future[list[Any]] = Future()
    answered, turn = threading.Event(), threading.Lock()  # the turn is the thread's, or of who gives it up before

    def call() -> None:
        if not turn.acquire(blocking=False):
            return
        try:
            answer.set_result(executor.collective_rpc(method, args=args))
        except BaseException as error:
            answer.set_exception(error)
        finally:
            answered.set()

    _thread.start_new_thread(call, ())
    try:
        answered.wait(PATIENCE_SECONDS)
    finally:
        asked = not turn.acquire(blocking=False)
        if asked and not answered.is_set():
            _wait_behind(executor, answered)
    if not asked:
        raise WorkersSilentError(f"the workers were not asked within {PATIENCE_SECONDS:g} s: no thread began to")
    if not answered.is_set():
        raise WorkersSilentError(f"the workers have not answered within {PATIENCE_SECONDS:g} s: one of them is stuck")
    return list(answer.result())


def _wait_behind(executor: Any, answered: threading.Event) -> None:
    """Have the next call to the workers wait until this one is answered."""
    gate = Patches()

    def collective_rpc(method: Any, timeout: float | None = None, *args: Any, **kwargs: Any) -> Any:
        if not answered.wait(timeout):
            raise TimeoutError(f"RPC call to {method} timed out behind one of engine_probe's")
        gate.undo()
        return call(method, timeout, *args, **kwargs)

    call = gate.replace(executor, "collective_rpc", collective_rpc)
