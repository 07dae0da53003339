"""Calls into the workers of an engine that wait for a bounded time."""

from __future__ import annotations

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
    """
    if hasattr(executor, "driver_worker"):  # in this process: it answers before the call returns, from our thread
        return list(executor.collective_rpc(method, args=args))
    answer: Future[list[Any]] = Future()

    def call() -> None:
        try:
            answer.set_result(executor.collective_rpc(method, args=args))
        except BaseException as error:
            answer.set_exception(error)

    thread = threading.Thread(target=call, name="engine_probe-workers", daemon=True)
    thread.start()
    try:
        thread.join(PATIENCE_SECONDS)
    finally:
        if thread.is_alive():
            _wait_behind(executor, thread)
    if thread.is_alive():
        raise WorkersSilentError(f"the workers have not answered within {PATIENCE_SECONDS:g} s: one of them is stuck")
    return list(answer.result())


def _wait_behind(executor: Any, thread: threading.Thread) -> None:
    """Have the next call to the workers wait until this one is answered."""
    gate = Patches()

    def collective_rpc(method: Any, timeout: float | None = None, *args: Any, **kwargs: Any) -> Any:
        thread.join(timeout)
        if thread.is_alive():
            raise TimeoutError(f"RPC call to {method} timed out behind one of engine_probe's")
        gate.undo()
        return call(method, timeout, *args, **kwargs)

    call = gate.replace(executor, "collective_rpc", collective_rpc)
