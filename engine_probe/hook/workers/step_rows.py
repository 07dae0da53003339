"""Inside a worker process: one row per step and rank, so that a slow rank shows.

`attach` and `detach` run in every worker through vLLM's `collective_rpc`, before and after the recording and never
during it. The n-th `execute_model` after the attachment belongs to the n-th `schedule()`, also with a batch queue,
which is first in, first out.

The phases of a step are noted in `phases.py`, and a GPU's times in `device_events.py`. Nothing is synchronised, so the
measurement does not change the engine's timing.
"""

import logging
import os
import threading
import traceback
from collections import deque
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from time import monotonic_ns as now
from typing import Any

from engine_probe.errors import reason_of, reported_to
from engine_probe.hook.patches import Patches
from engine_probe.hook.process_pauses import PauseHook
from engine_probe.hook.workers.calls import WorkersSilentError, ask_workers
from engine_probe.hook.workers.collectives import CollectiveTimes, tensor_parallel_group
from engine_probe.hook.workers.device_events import DeviceEvents
from engine_probe.hook.workers.operators import WindowProfiler
from engine_probe.hook.workers.phases import PhaseMarks, WorkerStep, new_step
from engine_probe.record.host_events import OF_RANK, Events
from engine_probe.record.run_folder import RESERVE_FILE
from engine_probe.record.run_json import OperatorWindow
from engine_probe.record.writer import FLUSH_SECONDS, STREAM_ROWS, TableStream
from engine_probe.telemetry.core_thread import CoreThread

logger = logging.getLogger(__name__)

_ATTRIBUTE = "_engine_probe_worker"
MOST_WAITING = 32_768  # steps that the writing thread has not taken
BY_RAY = "execute_model_ray"  # Ray's compiled graph calls this method of its workers, and this the runner's own


class Pauses:
    """Notes what holds up a worker in a process of its own, as telemetry and the recording do for the engine core."""

    def __init__(self) -> None:
        self._events: Events = deque()
        self._thread_number = threading.get_native_id()
        self._thread, self._hook = CoreThread(self._events), PauseHook(self._events)

    def sample(self) -> None:
        """Read what the kernel did to the worker's thread; the writing thread calls this."""
        self._thread.sample(now(), self._thread_number)

    def detach(self) -> None:
        self._hook.detach()
        self._thread.close()

    def rows(self, rank: int) -> list[tuple[Any, ...]]:
        """Return the events as rows of `host_events`, with the rank in their kind."""
        return [(start, duration, f"{kind}{OF_RANK}{rank}", *more) for start, duration, kind, *more in self._events]


class WorkerHook:
    """Hooks one worker. The worker's thread appends steps; a thread of the probe writes them."""

    def __init__(self, worker: Any, folder: Path, window: OperatorWindow | None, own_process: bool) -> None:
        self.failure: str | None = None
        self._rank = int(getattr(worker, "rank", 0))
        self._stream = TableStream(folder, "workers", f"workers-{self._rank}")
        self._device_clock: dict[str, Any] | None = None
        self._done: deque[WorkerStep] = deque()  # for the writing thread
        self._patches = Patches()
        self._worker, self._stop = worker, threading.Event()
        # The file is removed when the recording ends. A worker on another machine never sees it.
        self._reserve = folder / RESERVE_FILE
        self._sees_reserve = self._reserve.exists()
        inner = getattr(worker, "worker", worker)  # vLLM's wrapper passes on calls, but not all attributes
        self._events, self._device_missing = device_events(inner)
        runner: Any = getattr(inner, "model_runner", None)
        called: Any = runner if hasattr(worker, BY_RAY) else worker
        try:
            self._window = None if window is None else WindowProfiler(window, self._rank, inner, called, folder)
            self._marks = PhaseMarks(runner, self._patches, self._fail, self._events)
            self._finish_step = self._finisher()
            self._patches.replace(called, "execute_model", self._execute_hook(called.execute_model))
            if hasattr(called, "sample_tokens"):
                self._patches.replace(called, "sample_tokens", self._sample_hook(called.sample_tokens))
            self._collectives = CollectiveTimes(
                tensor_parallel_group(), inner, self._rank, folder, self._patches, self._marks, self._window
            )
        except BaseException:
            self._patches.undo()
            self._stream.close()
            raise
        self._pauses = Pauses() if own_process else None
        self._patches.active = True
        self._thread = threading.Thread(target=self._write, name="engine_probe-worker", daemon=True)
        self._thread.start()

    # Closures without further calls, because a model leaves the CPU's caches cold.
    def _execute_hook(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return the replacement of `execute_model()`, which begins a step."""
        marks, window, finish = self._marks, self._window, self._finish_step
        patches, fail, begin, clock, number = self._patches, self._fail, new_step, now, 0

        def execute_model(*args: Any, **kwargs: Any) -> Any:
            nonlocal number
            if not patches.active:
                return call(*args, **kwargs)
            try:
                if marks.step is not None:
                    finish(marks.step)
                marks.step = step = begin()
                step.number = number
                step.forward_called = step.forward_returned = step.sample_called = step.bookkeeping_called = None
                step.start = step.end = step.graph_mode = step.computed_tokens = None
                step.returned = step.sample_returned = step.scheduled_tokens = 0
                step.called = clock()
                if window is not None and window.first <= number <= window.last:
                    window.begin_step(number)
            except Exception as error:
                fail(error)
                return call(*args, **kwargs)
            output = call(*args, **kwargs)
            try:
                if step.forward_called is not None and step.forward_returned is None:
                    marks.end_forward(step)
                step.returned = clock()
                step.scheduled_tokens = (args[0] if args else kwargs["scheduler_output"]).total_num_scheduled_tokens
                number += 1
                if output is not None:  # else vLLM calls sample_tokens() for the tokens
                    finish(step)
            except Exception as error:
                fail(error)
            return output

        return execute_model

    def _sample_hook(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return the replacement of `sample_tokens()`, which ends a step."""
        marks, patches, finish, fail, clock = self._marks, self._patches, self._finish_step, self._fail, now

        def sample_tokens(*args: Any, **kwargs: Any) -> Any:
            step = marks.step
            if step is None or not step.returned or not patches.active:
                return call(*args, **kwargs)
            called = clock()
            output = call(*args, **kwargs)
            step.sample_returned = clock()
            step.sample_called = called
            try:
                finish(step)
            except Exception as error:
                fail(error)
            return output

        return sample_tokens

    def _finisher(self) -> Callable[[WorkerStep], None]:
        """Return what hands a step to the writing thread, unless its execute_model() failed."""
        marks, window, done, append, size = self._marks, self._window, self._done, self._done.append, len
        most_waiting = MOST_WAITING

        def finish(step: WorkerStep) -> None:
            marks.step = None
            if not step.returned:
                return
            if size(done) >= most_waiting:
                raise RuntimeError(f"{most_waiting:,} steps are waiting for the disk or the device")
            if window is not None and window.first <= step.number <= window.last:
                window.end_step(step)
            append(step)

        return finish

    # ---- the writing thread -----------------------------------------------------------------------------

    def _write(self) -> None:
        with reported_to(self._fail):
            if self._events is not None:
                self._events.choose_device()
        while not self._stop.wait(FLUSH_SECONDS):
            if self.failure is None:
                with reported_to(self._fail):
                    self._drain()
                    if self._pauses is not None:
                        self._pauses.sample()
            if self._sees_reserve and not self._reserve.exists():
                self._end()
                break

    def _end(self) -> None:
        """Detach without being called, because the recording ended where it could not call the workers."""
        self._patches.undo()
        if vars(self._worker).get(_ATTRIBUTE) is self:
            del vars(self._worker)[_ATTRIBUTE]
        if self._pauses is not None:
            self._pauses.detach()
        if self._window is not None:
            self._window.stop()
        with reported_to(self._fail):
            self._close_stream()

    def _drain(self) -> None:
        """Write the steps whose device time is known; the others stay queued."""
        self._collectives.drain()
        rows: list[tuple[Any, ...]] = []
        while self._done and (self._done[0].end is None or self._done[0].end.query()):
            step = self._done[0]
            on_device: tuple[int, int] | tuple[None, None] = (None, None)
            if self._events is not None and step.end is not None:
                on_device = self._events.place(step.start, step.end)
            rows.append(step.row(self._rank, on_device))
            self._done.popleft()
            if len(rows) == STREAM_ROWS:
                self._stream.write(list(zip(*rows, strict=True)))
                rows = []
        if rows:
            self._stream.write(list(zip(*rows, strict=True)))

    def _fail(self, error: Exception) -> None:
        """End the recording of this worker, never its step; the first failure is the one that is told."""
        if self.failure is not None:
            return
        self.failure = f"in worker {self._rank}:\n" + "".join(traceback.format_exception(error))
        logger.exception("engine_probe stopped recording worker %d", self._rank)
        self._patches.undo()
        if self._window is not None:
            self._window.stop()

    def close(self) -> dict[str, Any]:
        self._patches.undo()
        self._stop.set()
        self._thread.join()
        if self._pauses is not None:
            self._pauses.detach()
        with self._events.chosen() if self._events is not None else nullcontext(), reported_to(self._fail):
            if self.failure is None:
                self._close_stream()
                self._device_clock = None if self._events is None else self._events.clock()
        if self.failure is not None:
            for close in (self._stream.close, self._collectives.close):  # either may be what failed
                with reported_to(self._fail):
                    close()
        return {
            "rank": self._rank,
            "pid": os.getpid(),
            "host_events": self._pauses.rows(self._rank) if self._pauses is not None else [],
            "rows": self._stream.rows,
            "failure": self.failure,
            "phases_missing": self._marks.missing,
            "device_missing": self._device_missing,
            "device_clock": self._device_clock,
            "collectives": self._collectives.rows,
            "collectives_missing": self._collectives.missing,
            "collectives_probe_ns": self._collectives.probe_ns,
            "operators": None if self._window is None else self._window.close(),
        }

    def _close_stream(self) -> None:
        if self._marks.step is not None:
            self._finish_step(self._marks.step)
        timed = [step.end for step in self._done if step.end is not None]
        if timed:
            timed[-1].synchronize()  # the recording is over, so waiting disturbs no measurement
        self._drain()
        self._collectives.close()
        self._stream.close()


def device_events(worker: Any) -> tuple[DeviceEvents | None, str | None]:
    """Return the events of a worker on a GPU, or None and the reason if they cannot be made."""
    device = getattr(worker, "device", None)
    if getattr(device, "type", None) != "cuda":
        return None, None
    try:
        return DeviceEvents(device), None
    except Exception as error:  # the steps are recorded without
        return None, reason_of(error)


def attach(
    worker: Any, folder: str, window: tuple[int, int] | None = None, core_process: int | None = None
) -> str | None:
    """Attach to a worker, in whose process this runs; return the reason if that fails, else None."""
    own_process = core_process not in (None, os.getpid())
    try:
        detach(worker)  # a recording that was never closed may have left its hook
        of_operators = OperatorWindow(*window) if window else None
        setattr(worker, _ATTRIBUTE, WorkerHook(worker, Path(folder), of_operators, own_process))
    except Exception as error:  # the engine goes on
        return reason_of(error)
    return None


def detach(worker: Any) -> dict[str, Any] | None:
    """Detach from a worker, in whose process this runs; write its last rows and return its report."""
    hook: WorkerHook | None = vars(worker).pop(_ATTRIBUTE, None)
    return None if hook is None else hook.close()


# ---- in the process of the engine core ----------------------------------------------------------------------


def attach_all(executor: Any, folder: Path, window: OperatorWindow | None) -> str | None:
    """Attach to every worker; return the first reason why one was not attached, else None."""
    try:
        answers = ask_workers(executor, attach, str(folder), window and (window.steps, window.first), os.getpid())
    except Exception as error:  # a substitute executor has no workers
        return reason_of(error)
    return next(filter(None, answers), None)


def detach_all(executor: Any, not_attached: str | None) -> dict[str, Any]:
    """Detach from every worker, even if only some were attached; return what `run.json` holds about them."""
    try:
        ranks = [rank for rank in ask_workers(executor, detach) if rank]
    except WorkersSilentError as error:
        return not_recorded(not_attached or str(error), failure=str(error))
    except Exception as error:  # the workers may have crashed, and that recording matters most
        return not_recorded(not_attached or reason_of(error))
    if not_attached is not None:
        return not_recorded(not_attached)
    failure = next((rank["failure"] for rank in ranks if rank["failure"]), None)
    return {"recorded": True, "reason": None, "ranks": ranks, "failure": failure}


def not_recorded(reason: str, failure: str | None = None) -> dict[str, Any]:
    """Return what `run.json` holds about workers of which there are no rows."""
    return {"recorded": False, "reason": reason, "ranks": [], "failure": failure}
