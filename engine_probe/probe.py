"""`with Probe(llm) as probe:` records every iteration of an engine into a run folder."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any, Never

import msgspec

from engine_probe.errors import InputError
from engine_probe.hook import engine_core, vllm_versions
from engine_probe.hook.scheduler import SchedulerHook
from engine_probe.hook.workers import step_rows
from engine_probe.hook.workers.operators import check_engine
from engine_probe.probe_arguments import check_arguments
from engine_probe.record.recorder import Recorder
from engine_probe.record.run_folder import AnyPath, RunFolder, writable
from engine_probe.record.run_json import operator_window
from engine_probe.record.writer import Writer
from engine_probe.recording import Recording, recording_of
from engine_probe.recordings.run import Run, load
from engine_probe.telemetry.hardware import hardware_facts
from engine_probe.telemetry.sampler import Period, Sampler


class Probe:
    """Attaches to an in-process engine on entry and detaches on exit.

    `engine` is a `vllm.LLM`, an `LLMEngine` or an `EngineCore`; `out` a new or empty folder (`runs/<time>-<pid>`);
    `facts` are stored in `run.json` (workload, seed ...); `telemetry` is on, off, or the seconds between two samples;
    `operators` as "20@100" runs torch's profiler in 20 steps from step 100 on; `force` accepts an unknown vLLM. If the
    probe fails, it detaches: the engine goes on, and the run says why it ended.
    """

    def __init__(
        self,
        engine: Any,
        out: AnyPath | None = None,
        *,
        facts: Mapping[str, Any] | None = None,
        force: bool = False,
        telemetry: Period = True,
        operators: str | None = None,
        **unknown: Never,
    ) -> None:
        check_arguments(out, facts, force, unknown)
        self._engine, self._out, self._facts, self._force = engine, out, facts or {}, force
        self._window = None if operators is None else operator_window(operators)
        self.recording: Recording | None = None
        self._run: Run | None = None
        self.recorder = Recorder()
        self._sampler = Sampler(self.recorder, telemetry)

    def __enter__(self) -> Probe:
        if self.recording is not None:
            raise InputError(f"this Probe has recorded {self.folder.path}: make a new Probe for another recording")
        recording = Recording(self.recorder, self._sampler)
        with recording.attaching():
            vllm_versions.check_version(self._force)
            core = engine_core.find_core(self._engine)
            if self._window is not None:
                check_engine(core)
            recording.claim(core)
            self._attach(recording)
        self.recording = recording
        weakref.finalize(self, recording.abandon).atexit = False
        return self

    def _attach(self, recording: Recording) -> None:
        core, engine = recording.core, engine_core.describe(recording.core)
        facts = {"hardware": hardware_facts(ranks := engine_core.rank_gpus(engine)), **self._facts}
        if self._window is not None:
            engine["operators"] = msgspec.structs.asdict(self._window)
        folder = recording.folder = RunFolder.create(self._out, engine, **facts)
        with writable(folder.path):
            recording.writer = Writer(self.recorder, folder.path, recording.fail)
        recording.workers_failure = step_rows.attach_all(core.model_executor, folder.path, self._window)
        recording.begin(SchedulerHook)
        self._sampler.start(folder.note_telemetry, ranks)

    def __exit__(self, kind: object, error: BaseException | None, *_: object) -> None:
        if self.recording is not None and self.recording.close(left_by=error):
            self.recording.warn_if_incomplete(error)

    @staticmethod
    def detach(llm: Any) -> bool:
        """Close the recording that is attached to an engine, whoever started it; return False if there is none."""
        recording = recording_of(engine_core.find_core(llm))
        return recording is not None and recording.close()

    @property
    def folder(self) -> RunFolder:
        """Return the folder that is recorded into, once the `with` block has begun."""
        if self.recording is None or self.recording.folder is None:
            raise InputError("nothing is recorded yet: run the engine in `with Probe(llm) as probe:`, and ask then")
        return self.recording.folder

    @property
    def failure(self) -> str | None:
        """Return the traceback of the error that ended the recording early."""
        return None if self.recording is None else self.recording.failure

    @property
    def run(self) -> Run:
        """Return the recording; during it, what is on disk so far."""
        if self._run is None or not self._run.finished:
            self._run = load(self.folder.path)
        return self._run
