"""Inside a worker process: one row per step and rank, so that a straggler shows.

`attach` and `detach` travel to every worker through vLLM's own `collective_rpc`, before and after the
recording and never during it. Steps are numbered as they come: the n-th `execute_model` after the attachment
belongs to the n-th `schedule`, in every mode of the engine, because both ends of the queue are first in first out.

On a GPU two CUDA events bracket the step on the worker's stream. They are only *asked* whether they have passed,
some steps later: nothing is synchronised, so what is measured is not changed.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable
from pathlib import Path
from time import monotonic_ns as now
from typing import Any

from engine_probe.hook.patches import Patches
from engine_probe.record.writer import FLUSH_SECONDS, STREAM_ROWS, TableStream

logger = logging.getLogger(__name__)

_ATTRIBUTE = "_engine_probe_worker"


class WorkerHook:
    """Hooks on one worker; rows are buffered and appended to the worker's own stream."""

    def __init__(self, worker: Any, folder: Path) -> None:
        self.failure: str | None = None
        self._rank = int(getattr(worker, "rank", 0))
        self._stream = TableStream(folder, "workers", f"workers-{self._rank}")
        self._steps = 0
        self._rows: list[list[Any]] = []
        self._in_flight: deque[tuple[list[Any], Any, Any]] = deque()  # rows whose CUDA events may not have passed
        self._flushed = now()
        self._make_event = cuda_event_factory()
        self._begin: Any = None
        self._patches = Patches()
        self._call_execute = self._patches.replace(worker, "execute_model", self._execute)
        if hasattr(worker, "sample_tokens"):
            self._call_sample = self._patches.replace(worker, "sample_tokens", self._sample)

    def _execute(self, scheduler_output: Any, *args: Any, **kwargs: Any) -> Any:
        if self._make_event is not None:
            self._begin = self._record_event()
        called = now()
        output = self._call_execute(scheduler_output, *args, **kwargs)
        duration = now() - called
        self._guarded(self._note_execute, scheduler_output, called, duration)
        return output

    def _note_execute(self, scheduler_output: Any, called: int, duration: int) -> None:
        tokens = scheduler_output.total_num_scheduled_tokens
        row = [self._steps, self._rank, called, duration, 0, None, tokens]
        self._steps += 1
        if self._begin is None:
            self._rows.append(row)
        else:
            self._in_flight.append((row, self._begin, self._record_event()))
        self._collect()
        if len(self._rows) >= STREAM_ROWS or called - self._flushed > FLUSH_SECONDS * 1e9:
            # The newest row stays: sample_tokens() may still belong to it.
            self._flush(keep=1)

    def _sample(self, *args: Any, **kwargs: Any) -> Any:
        called = now()
        output = self._call_sample(*args, **kwargs)
        self._guarded(self._note_sample, now() - called)
        return output

    def _note_sample(self, duration: int) -> None:
        if self._in_flight:
            row, begin, _ = self._in_flight.pop()
            row[4] = duration
            self._in_flight.append((row, begin, self._record_event()))
        elif self._rows:
            self._rows[-1][4] = duration

    def _record_event(self) -> Any:
        assert self._make_event is not None
        event = self._make_event()
        event.record()
        return event

    def _collect(self) -> None:
        """Take over device times that are known by now; the step under way keeps its place."""
        while len(self._in_flight) > 1 and self._in_flight[0][2].query():
            self._take_over(self._in_flight.popleft())

    def _take_over(self, step: tuple[list[Any], Any, Any]) -> None:
        row, begin, end = step
        row[5] = round(begin.elapsed_time(end) * 1e6)
        self._rows.append(row)

    def _flush(self, keep: int) -> None:
        ready = self._rows[: len(self._rows) - keep]
        if ready:
            self._stream.write(list(zip(*ready, strict=True)))
            del self._rows[: len(ready)]
        self._flushed = now()

    def _guarded(self, note: Callable[..., None], *args: Any) -> None:
        """A failure here ends this worker's record, never its work."""
        try:
            note(*args)
        except Exception as error:
            self.failure = f"worker {self._rank}: {type(error).__name__}: {error}"
            logger.exception("engine_probe stopped recording worker %d", self._rank)
            self._patches.undo()

    def close(self) -> dict[str, Any]:
        self._patches.undo()
        if self.failure is None:
            try:
                while self._in_flight:
                    step = self._in_flight.popleft()
                    step[2].synchronize()  # the recording is over: waiting changes nothing that is measured
                    self._take_over(step)
                self._flush(keep=0)
                self._stream.close()
            except Exception as error:
                self.failure = f"worker {self._rank}: {type(error).__name__}: {error}"
        return {"rank": self._rank, "pid": os.getpid(), "rows": self._stream.rows, "failure": self.failure}


def cuda_event_factory() -> Callable[[], Any] | None:
    """How this worker makes timing events; None on a machine without a GPU."""
    import torch

    if not torch.cuda.is_available():
        return None
    return lambda: torch.cuda.Event(enable_timing=True)


def attach(worker: Any, folder: str) -> str | None:
    """Runs in the worker. Returns a sentence when it could not be attached."""
    try:
        setattr(worker, _ATTRIBUTE, WorkerHook(worker, Path(folder)))
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None


def detach(worker: Any) -> dict[str, Any] | None:
    """Runs in the worker: flush, undo, report."""
    hook: WorkerHook | None = vars(worker).pop(_ATTRIBUTE, None)
    return None if hook is None else hook.close()
