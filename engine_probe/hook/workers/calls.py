"""Calls into an engine's workers that give up after a bounded time."""

import _thread
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from engine_probe.hook.patches import Patches

PATIENCE_SECONDS = 20.0


class WorkersSilentError(RuntimeError):
    """Raised when a worker did not answer in time."""


def ask_workers(executor: Any, method: Callable[..., Any], *args: Any) -> list[Any]:
    """Call `method(worker, *args)` in every worker; raise WorkersSilentError after PATIENCE_SECONDS.

    vLLM's own timeout would leave a late answer in the queue, where the next step would take it for its own. So a
    thread keeps waiting for the answer, and vLLM's next call waits behind it, as it would behind a busy worker.
    The thread is started without `threading.Thread.start`, which waits forever if the thread dies for lack of memory
    before it runs.
    """
    if hasattr(executor, "driver_worker"):  # the worker runs in this process, on this thread
        return list(executor.collective_rpc(method, args=args))
    answer: Future[list[Any]] = Future()
    # Whoever takes the turn first decides: the thread that it calls, or this function that it never will.
    answered, turn = threading.Event(), threading.Lock()

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
        raise WorkersSilentError(f"the workers were not asked within {PATIENCE_SECONDS:g} s: no thread could start")
    if not answered.is_set():
        raise WorkersSilentError(f"the workers have not answered within {PATIENCE_SECONDS:g} s: one of them is stuck")
    return list(answer.result())


def _wait_behind(executor: Any, answered: threading.Event) -> None:
    """Make the next call to the workers wait until this one is answered."""
    gate = Patches()

    def collective_rpc(method: Any, timeout: float | None = None, *args: Any, **kwargs: Any) -> Any:
        if not answered.wait(timeout):
            raise TimeoutError(f"RPC call to {method} timed out behind one of engine_probe's")
        gate.undo()
        return call(method, timeout, *args, **kwargs)

    call = gate.replace(executor, "collective_rpc", collective_rpc)
