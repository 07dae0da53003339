"""One engine on a machine of a fleet: what `run_engine` does there, asked event by event from afar.

Nothing here knows Ray; it is a plain object, called by one caller at a time.
"""

from __future__ import annotations

import os
import shutil
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from engine_probe.errors import EngineProbeError, UnavailableError
from engine_probe.files.scratch_folder import ScratchFolder
from engine_probe.sweep.definition.sweep_file import EngineSection, Point
from engine_probe.sweep.execution.engine_run import Allowance, run_engine
from engine_probe.sweep.execution.events import Finished, NeverBeganError, Numbered, Running
from engine_probe.sweep.execution.folders import new_log, place_of
from engine_probe.sweep.execution.lanes import Placed
from engine_probe.sweep.fleet.upload import path_of, reading

LOG_BYTES = 1 << 20  # of the log at a time
PIECE_BYTES = 8 << 20  # of a file at a time: what a call keeps in memory
SCRATCH = "engine_probe-engine-"


class Over(msgspec.Struct, frozen=True):
    """This engine has ended; a task that was given and not begun is the first one of a new engine."""


class NeverBegan(msgspec.Struct, frozen=True):
    """The engine could not be started."""

    sentence: str
    exit_code: int


class Told(msgspec.Struct, frozen=True):
    """What came next, what vLLM wrote meanwhile, and the files of a point that has ended."""

    event: Any
    words: bytes = b""
    files: tuple[tuple[str, int], ...] = ()  # name below the point's folder, bytes
    log: str = ""  # what the log is called there


class Post:
    """Making one touches nothing; its scratch folder begins with the first question and ends with `close`."""

    def __init__(self, engine: EngineSection, force: bool, allowance: Allowance, environment: dict[str, str]) -> None:
        self._engine, self._force, self._allowance = engine, force, allowance
        self._environment = environment
        self._copies: dict[str, str] = {}  # of datasets: where they are here
        self._scratch: ScratchFolder | None = None
        self._waiting: deque[Numbered] = deque()
        self._events: Running | None = None
        self._place: Path | None = None  # of the point that is being measured, or was last
        self._log: Path | None = None
        self._log_bytes = 0

    def where(self) -> Placed:
        """The host and its cards; makes the scratch folder."""
        self._folder()
        cards = tuple(card for card in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if card)
        if cards:
            os.environ.pop("OMP_NUM_THREADS", None)  # Ray's choice; vLLM makes its own where the user made none
        os.environ.update(self._environment)
        return Placed(os.uname().nodename, cards, os.getpid())

    def next(self, task: tuple[int, Point] | None, datasets: dict[str, bytes]) -> Told:
        """The next event. A task is given with the first question, and when the one before it has ended.

        With it come the datasets that it reads and that were not sent before, by the names they have at home.
        """
        if task is not None:
            number, point = task
            self._keep(datasets)
            self._place = place_of(self._folder(), point)
            self._waiting.append((number, self._with_files(point), self._place))
        if self._events is None:
            self._log, self._log_bytes = new_log(self._folder()), 0
            self._events = run_engine(self._engine, self._tasks(), self._log, self._force, self._allowance)
        event: Any
        try:
            event = next(self._events)
        except StopIteration:
            event, self._events = Over(), None
        except NeverBeganError as error:
            event, self._events = NeverBegan(str(error), error.exit_code), None
        files = self._files() if isinstance(event, Finished | NeverBegan) else ()
        return Told(event, self._words(), files, str(self._log))

    def read(self, name: str, offset: int) -> bytes:
        """A piece of a file of the point that ended last."""
        assert self._place is not None
        with (self._place / name).open("rb") as file:
            file.seek(offset)
            return file.read(PIECE_BYTES)

    def forget(self) -> None:
        """Its files have arrived."""
        if self._place is not None:
            shutil.rmtree(self._place, ignore_errors=True)

    def stop(self) -> Told:
        """Ends the engine, in the middle of a point if need be; its recording stays readable up to the last row."""
        if self._events is not None:
            with suppress(EngineProbeError):
                self._events.close()
            self._events = None
        return Told(None, self._words(), self._files(), str(self._log))

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

    def _tasks(self) -> Iterator[Numbered]:
        while self._waiting:
            yield self._waiting.popleft()

    def _keep(self, datasets: dict[str, bytes]) -> None:
        for path, content in datasets.items():
            copy = self._folder() / f"dataset-{len(self._copies)}" / Path(path).name  # by which reports call it
            copy.parent.mkdir()
            copy.write_bytes(content)
            self._copies[path] = str(copy)

    def _with_files(self, point: Point) -> Point:
        """The point, reading its dataset from here."""
        path = path_of(point)
        return point if path is None else reading(point, self._copies[path])

    def _files(self) -> tuple[tuple[str, int], ...]:
        if self._place is None or not self._place.is_dir():
            return ()
        found = [path for path in sorted(self._place.rglob("*")) if path.is_file()]
        return tuple((str(path.relative_to(self._place)), path.stat().st_size) for path in found)

    def _words(self) -> bytes:
        if self._log is None or not self._log.is_file():
            return b""
        with self._log.open("rb") as log:
            log.seek(self._log_bytes)
            fresh = log.read(LOG_BYTES)
        self._log_bytes += len(fresh)
        return fresh
