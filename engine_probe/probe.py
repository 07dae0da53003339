"""`with Probe(llm) as probe:` records every iteration of an engine into a run folder."""

from __future__ import annotations

import logging
import threading
import traceback
import warnings
from collections.abc import Mapping
from typing import Any, Never

from engine_probe.errors import IncompleteRecordingWarning, InputError, reported_to
from engine_probe.hardware import hardware_facts
from engine_probe.hook import engine, versions, worker
from engine_probe.hook.scheduler import SchedulerHook, attached
from engine_probe.probe_arguments import check_arguments
from engine_probe.record.folder import AnyPath, RunFolder, writable
from engine_probe.record.recorder import Recorder
from engine_probe.record.writer import Writer
from engine_probe.run import Run, load
from engine_probe.telemetry.sampler import Period, Sampler

logger = logging.getLogger(__name__)


class Probe:
    """Attaches to an in-process engine on entry, and undoes itself exactly on exit.

    `engine` is a `vllm.LLM`, an `LLMEngine` or an `EngineCore`; `out` a new or empty folder (default:
    `runs/<time>-<pid>`); `facts` are kept in `run.json` (workload, seed ...); `telemetry` is on, off, or the seconds
    between two samples. `force` accepts a vLLM that the hooks do not know. If the probe fails, it detaches: the engine
    goes on with the same tokens, and the run is marked incomplete and says why.
    """

    def __init__(
        self,
        engine: Any,
        out: AnyPath | None = None,
        *,
        facts: Mapping[str, Any] | None = None,
        force: bool = False,
        telemetry: Period = True,
        **unknown: Never,
    ) -> None:
        check_arguments(out, facts, force, unknown)
        self._engine, self._out, self._facts, self._force = engine, out, facts or {}, force
        self._lock = threading.Lock()
        self.folder: RunFolder  # once the `with` block has begun
        self._hook: SchedulerHook | None = None
        self._run: Run | None = None
        self.failure: str | None = None  # the traceback of what ended the recording early
        self.recorder = Recorder()
        self._sampler = Sampler(self.recorder, telemetry)

    def __enter__(self) -> Probe:
        if hasattr(self, "folder"):
            raise InputError(f"this Probe has recorded {self.folder.path}: make a new Probe for another recording")
        versions.check_version(self._force)
        self._core = engine.find_core(self._engine)
        if (scheduler := self._core.scheduler) in attached:
            raise InputError("this engine already has a probe on it: leave the other `with` block first")
        facts = {"hardware": hardware_facts(), **self._facts}
        self.folder = RunFolder.create(self._out, engine.describe(self._core), **facts)
        with writable(self.folder.path):
            self._writer = Writer(self.recorder, self.folder.path, self._fail)
        self._workers_failure = worker.attach_all(self._core.model_executor, self.folder.path)
        with reported_to(self._fail):
            self._hook = SchedulerHook(scheduler, self.recorder, self._fail)
        self._sampler.start(self.folder.note_telemetry)
        return self

    def __exit__(self, *_: object) -> None:
        if self._hook is not None:
            self._hook.detach()
        workers = worker.detach_all(self._core.model_executor, self._workers_failure)
        self.failure = self.failure or workers["failure"]
        sampled = self._sampler.stop()
        audit, tables = dict[str, Any](), dict[str, Any]()
        with reported_to(self._fail):
            audit = self._hook.close() if self._hook is not None else {}
        with reported_to(self._fail):
            tables = self._writer.close(keep_streams=self.failure is not None)
            audit |= self._writer.misfits.told()
        self.failure = self.failure or "; ".join(audit.get("counter_audit", [])) or None
        with reported_to(self._fail):
            self.folder.finish(self.failure, tables=tables, workers=workers, close=audit, telemetry=sampled)
            if tables:
                self._writer.drop_streams()
        if self.failure:
            reason = self.failure.strip().splitlines()[-1]
            warnings.warn(f"{self.folder.path} is incomplete: {reason}", IncompleteRecordingWarning, stacklevel=2)

    @property
    def run(self) -> Run:
        """The recording; while it goes on, what is on disk so far."""
        if not hasattr(self, "folder"):
            raise InputError(
                "nothing is recorded yet: run the engine in `with Probe(llm) as probe:`, then ask for probe.run"
            )
        if self._run is None or not self._run.finished:
            self._run = load(self.folder.path)
        return self._run

    def _fail(self, error: BaseException) -> None:
        """From the engine's thread or the writer's: step aside, once, and remember why."""
        with self._lock:
            if self.failure is None:
                self.failure = "".join(traceback.format_exception(error))
                logger.error("engine_probe stopped recording; generation goes on\n%s", self.failure)
        if self._hook is not None:
            self._hook.detach()
