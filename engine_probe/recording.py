"""The state of one recording, from attaching to closing."""

from __future__ import annotations

import logging
import os
import threading
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from weakref import WeakKeyDictionary, ref

from engine_probe.errors import EngineProbeError, IncompleteRecordingWarning, InputError, reported_to
from engine_probe.hook.between_steps import begin_between_steps, close_between_steps
from engine_probe.hook.process_pauses import PauseHook
from engine_probe.hook.scheduler import SchedulerHook
from engine_probe.hook.workers import step_rows
from engine_probe.record.recorder import Recorder
from engine_probe.record.run_folder import RunFolder
from engine_probe.record.writer import Writer
from engine_probe.telemetry.sampler import Sampler

logger = logging.getLogger(__name__)

_attached: WeakKeyDictionary[Any, ref[Recording]] = WeakKeyDictionary()  # by scheduler
_attaching = threading.RLock()  # and not Lock: a collection of garbage inside it may end another recording

DROPPED = (
    "the Probe was dropped without leaving its `with` block: its engine is free again, and the recording so far is kept"
)


class Recording:
    """Holds what is attached to an engine, and ends it exactly once.

    It holds no reference to its `Probe`, so that a `Probe` that is dropped is noticed.
    """

    def __init__(self, recorder: Recorder, sampler: Sampler) -> None:
        self.core: Any = None  # set by `claim`
        self.recorder, self.sampler = recorder, sampler
        self.folder: RunFolder | None = None
        self.writer: Writer | None = None
        self.hook: SchedulerHook | None = None
        self.pauses: PauseHook | None = None
        self.workers_failure: str | None = "nothing was attached"
        self.failure: str | None = None  # the traceback of the error that ended the recording early
        self._pid = os.getpid()
        self._lock, self._closed, self._asks_workers = threading.RLock(), False, False
        self.left = False  # the engine is free again

    @contextmanager
    def attaching(self) -> Iterator[None]:
        """Undo the attachment if it is refused; any other error in the block only ends the recording."""
        try:
            yield
        except EngineProbeError:
            self._leave_nothing()
            raise
        except Exception as error:
            self.fail(error)
        except BaseException:
            self._leave_nothing()
            raise

    def claim(self, core: Any) -> None:
        """Make this the engine's only recording; refuse an engine that has one."""
        with _attaching:
            if recording_of(core) is not None:
                raise InputError(
                    "this engine already has a probe on it: leave the other `with` block first, or call "
                    "Probe.detach(engine)"
                )
            _attached[core.scheduler] = ref(self)
            self.core, self._asks_workers = core, True
        self.pauses = PauseHook(self.recorder.host_events)

    def begin(self, hook: type[SchedulerHook]) -> None:
        """Hook the scheduler, and record from the next step on; holding the hook at once, so that it is detached."""
        self.hook = hook(self.core.scheduler, self.recorder, self.fail)
        begin_between_steps(self.hook)

    def fail(self, error: BaseException) -> None:
        """Detach from the engine and keep the first error; any thread may call this."""
        with self._lock:
            first = self.failure is None
            if first:
                self.failure = as_text("".join(traceback.format_exception(error)))
        if first:
            logger.error("engine_probe stopped recording; generation goes on\n%s", self.failure)
        with suppress(Exception):  # this is the engine's thread
            self._detach_hooks()

    def _detach_hooks(self) -> None:
        for hook in (self.pauses, self.hook):
            if hook is not None:
                hook.detach()

    def close(self, left_by: BaseException | None = None) -> bool:
        """Detach, close the tables and write `run.json`; False if that was done before, or in a forked process."""
        if os.getpid() != self._pid:  # a fork: the files belong to its parent
            self._detach_hooks()
            return False
        with self._lock:
            if self._closed:
                return False
            self._closed = True
        facts, tables = self._detach(), dict[str, Any]()
        with reported_to(self.fail):
            if self.writer is not None:
                tables = self.writer.close(keep_streams=self.failure is not None)
                facts["close"] |= self.writer.misfits.as_facts()
        self.failure = self.failure or "; ".join(facts["close"].get("counter_audit", [])) or None
        if left_by is not None:
            facts["close"]["left_by_exception"] = as_text(f"{type(left_by).__name__}: {left_by}")[:1_000]
        with reported_to(self.fail):
            if self.folder is not None:
                self.folder.finish(self.failure, tables=tables, **facts)
            if tables and self.writer is not None:
                with reported_to(lambda error: logger.warning("engine_probe left its streams behind: %r", error)):
                    self.writer.drop_streams()
        return True

    def _detach(self) -> dict[str, Any]:
        """Detach everything from the engine; return what `run.json` holds about it."""
        facts: dict[str, Any] = {"close": {}, "workers": step_rows.not_recorded("they were not asked")}
        with reported_to(self.fail):
            if self.pauses is not None:
                self.pauses.detach()
        with reported_to(self.fail):
            facts["close"] = close_between_steps(self.hook) if self.hook is not None else {}
        with reported_to(self.fail):
            if self._asks_workers:
                facts["workers"] = step_rows.detach_all(self.core.model_executor, self.workers_failure)
                self.failure = self.failure or facts["workers"]["failure"]
                for rank in facts["workers"]["ranks"]:
                    self.recorder.host_events.extend(map(tuple, rank.pop("host_events")))
        with reported_to(self.fail):
            facts["telemetry"] = self.sampler.stop()
        self.sampler.stopping.set()  # even if that failed
        if self.writer is not None:
            self.writer.stopping.set()
        self.left = True  # even if the next call fails
        with reported_to(self.fail):
            self._release()
        return facts

    def warn_if_incomplete(self, left_by: BaseException | None) -> None:
        """Warn the user after the `with` block, but never hide the exception that the block raised."""
        if self.failure is None:
            return
        state = "nothing was recorded" if self.folder is None else f"{self.folder.path} is incomplete"
        message = f"{state}: {self.failure.strip().splitlines()[-1]}"
        try:
            warnings.warn(message, IncompleteRecordingWarning, stacklevel=3)
        except IncompleteRecordingWarning:  # the user turns warnings into errors
            if left_by is None:
                raise
            logger.warning(message)

    def _leave_nothing(self) -> None:
        """Undo an attachment that was refused, and remove its folder."""
        folder, self.folder = self.folder, None
        self.close()
        if folder is not None:
            folder.discard()

    def abandon(self) -> None:
        """End the recording of a probe that was dropped, in a new thread, because this may be any thread.

        The workers are not called, because the engine may be calling them; they detach by themselves.
        """
        if self._closed or os.getpid() != self._pid:
            return
        self.fail(RuntimeError(DROPPED))
        self.left = True
        with reported_to(self.fail):
            self._release()
        self._asks_workers = False
        with suppress(RuntimeError):  # no thread can start, or the process ends; then the recording is cut
            threading.Thread(target=self.close, name="engine_probe-closing", daemon=True).start()

    def _release(self) -> None:
        with _attaching:
            reference = None if self.core is None else _attached.get(self.core.scheduler)
            if reference is not None and reference() is self:
                del _attached[self.core.scheduler]


def recording_of(core: Any) -> Recording | None:
    """Return the recording that is attached to an engine."""
    reference = _attached.get(core.scheduler)
    recording = None if reference is None else reference()
    return None if recording is None or recording.left else recording


def as_text(text: str) -> str:
    """Return text that UTF-8 can hold, with lone surrogates escaped."""
    return text.encode("utf-8", "backslashreplace").decode()
