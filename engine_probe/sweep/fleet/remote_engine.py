"""One engine on a machine of the fleet: an `EngineRun` whose progress is asked for from the machine of the sweep.

Nothing here knows Ray; it is a plain object, called by one caller at a time.
"""

import os
import shutil
import time
from contextlib import suppress
from pathlib import Path

import msgspec

from engine_probe.errors import EngineProbeError, UnavailableError
from engine_probe.files.scratch_folder import ScratchFolder
from engine_probe.sweep.definition.sweep_file import EngineSection, Point
from engine_probe.sweep.execution.engine_run import EngineLimits, EngineRun
from engine_probe.sweep.execution.events import Event, Placed
from engine_probe.sweep.execution.folders import POINTS, new_log
from engine_probe.sweep.execution.planned_point import EngineStartError, Measurement, PlannedPoint
from engine_probe.sweep.fleet.transfers import reading

LOG_BYTES = 1 << 20  # of the log at a time
PIECE_BYTES = 8 << 20  # of a file at a time: what a call keeps in memory
SCRATCH = "engine_probe-engine-"


class Update(msgspec.Struct, frozen=True):
    """What happened on the machine since the last call; the files are those of a point that has ended."""

    events: tuple[Event, ...] = ()
    measurement: Measurement | None = None
    start_error: tuple[str, int] | None = None  # sentence and exit code
    files: tuple[tuple[str, int], ...] = ()  # name below the point's folder, bytes
    log: str = ""  # the path of the engine's log on that machine
    log_text: bytes = b""  # what was appended to it


class RemoteEngine:
    """Made without touching the machine; its scratch folder is made by the first call and removed by `close`."""

    def __init__(self, engine: EngineSection, force: bool, limits: EngineLimits, environment: dict[str, str]) -> None:
        self._run = EngineRun(engine, lambda: new_log(self._folder()), force, limits)
        self._environment = environment
        self._copies: dict[str, str] = {}  # path of a data set at home -> its path here
        self._scratch: ScratchFolder | None = None
        self._recording: Path | None = None  # of the point that is being measured, or was last
        self._log: Path | None = None
        self._log_bytes = 0

    def where(self) -> Placed:
        """Make the scratch folder, and return the host and its GPUs."""
        self._folder()
        gpus = tuple(gpu for gpu in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if gpu)
        if gpus:
            os.environ.pop("OMP_NUM_THREADS", None)  # Ray's choice; vLLM makes its own where the user made none
        os.environ.update(self._environment)
        return Placed(os.uname().nodename, gpus, os.getpid())

    def next(self, task: tuple[int, Point, bool] | None, datasets: dict[str, bytes]) -> Update:
        """Wait for something to happen, but no longer than a tick. A new point is given with the first call for it.

        With the point come the data sets that it reads and that were not sent before, by their paths at home.
        """
        if task is not None:
            number, point, together = task
            self._keep(datasets)
            self._recording = self._folder() / POINTS / point.key
            planned = PlannedPoint(number, reading(point, self._copies), self._recording, sent_as=point.key)
            self._run.begin(planned, together)
        try:
            events, measurement = self._run.advance()
        except EngineStartError as error:
            return self._with_log(Update(start_error=(str(error), error.exit_code)))
        files = self._files() if measurement is not None else ()
        return self._with_log(Update(tuple(events), measurement, files=files))

    def wall_clock(self) -> int:
        return time.time_ns()

    def start_at(self, wall_ns: int) -> None:
        """Tell the engine, which is ready, when it begins together with others."""
        self._run.start_at(wall_ns)

    def read(self, name: str, offset: int) -> bytes:
        """Return a piece of a file of the point that ended last."""
        assert self._recording is not None
        with (self._recording / name).open("rb") as file:
            file.seek(offset)
            return file.read(PIECE_BYTES)

    def forget(self) -> None:
        """Remove the files of the point that ended last, which have arrived at home."""
        if self._recording is not None:
            shutil.rmtree(self._recording, ignore_errors=True)

    def stop(self) -> Update:
        """End the engine, even in the middle of a point; its recording stays readable up to the last row."""
        with suppress(EngineProbeError):
            self._run.close()
        return self._with_log(Update(files=self._files()))

    def close(self) -> None:
        self.stop()
        if self._scratch is not None:
            self._scratch.remove()
            self._scratch = None

    def _folder(self) -> Path:
        if self._scratch is None:
            try:
                self._scratch = ScratchFolder(SCRATCH)
            except OSError as error:
                raise UnavailableError(f"{os.uname().nodename}: no scratch folder can be made: {error}") from error
        return self._scratch.path

    def _keep(self, datasets: dict[str, bytes]) -> None:
        for path, content in datasets.items():
            copy = self._folder() / f"dataset-{len(self._copies)}" / Path(path).name  # by which reports call it
            copy.parent.mkdir()
            copy.write_bytes(content)
            self._copies[path] = str(copy)

    def _files(self) -> tuple[tuple[str, int], ...]:
        if self._recording is None or not self._recording.is_dir():
            return ()
        found = [path for path in sorted(self._recording.rglob("*")) if path.is_file()]
        return tuple((str(path.relative_to(self._recording)), path.stat().st_size) for path in found)

    def _with_log(self, update: Update) -> Update:
        """Add what the engine's log has more than at the last call."""
        if self._run.log != self._log:
            self._log, self._log_bytes = self._run.log, 0
        if self._log is None or not self._log.is_file():
            return update
        with self._log.open("rb") as log:
            log.seek(self._log_bytes)
            text = log.read(LOG_BYTES)
        self._log_bytes += len(text)
        return msgspec.structs.replace(update, log=str(self._log), log_text=text)
