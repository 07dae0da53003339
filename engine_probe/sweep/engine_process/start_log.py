"""Follows an engine's log while it starts, and keeps how long each phase took with the first recording."""

import time
from pathlib import Path

import msgspec

from engine_probe.engine.start_phases import Started, Starting, StartPhases
from engine_probe.files.new_file import writing
from engine_probe.record.run_folder import RUN_FILE, add_facts

START_PHASES = "start_phases"  # the key in run.json


class StartLog:
    """Reads what is new in the log at every call; a phase is timed as exactly as the calls are close."""

    def __init__(self, log: Path, tick_seconds: float) -> None:
        self._log, self._tick_seconds = log, tick_seconds
        self._read_bytes = 0
        self._phases = StartPhases(time.monotonic())
        self._started: Started | None = None  # until a recording holds it

    def enter(self, name: str) -> Starting:
        """Begin a phase that the engine's process names itself."""
        self._phases.enter(name, time.monotonic())
        return self.progress()

    def progress(self) -> Starting:
        now = time.monotonic()
        self._phases.read(self._new_text(), now)
        return self._phases.starting(now)

    def started(self) -> Started:
        """End the last phase: the first point begins."""
        self.progress()
        self._started = self._phases.started(time.monotonic())
        return self._started

    def keep_in(self, recording: Path) -> None:
        """Add the phases to `run.json` of the first point that has one."""
        if self._started is None or not (recording / RUN_FILE).is_file():
            return
        facts = {**msgspec.to_builtins(self._started), "read_every_seconds": self._tick_seconds}
        with writing(recording / RUN_FILE):
            add_facts(recording, **{START_PHASES: facts})
        self._started = None

    def _new_text(self) -> str:
        with self._log.open("rb") as log:
            log.seek(self._read_bytes)
            text = log.read()
        self._read_bytes += len(text)
        return text.decode(errors="replace")
