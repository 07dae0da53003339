"""The run folder: `run.json` beside the tables. A folder that holds files is never recorded into."""

import errno
import itertools
import json
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from engine_probe.errors import InputError, UnavailableError
from engine_probe.files.new_file import atomic_write
from engine_probe.record.run_json import checked_additions, first_problem
from engine_probe.record.schema import SCHEMA_VERSION

AnyPath = str | os.PathLike[str]

RUN_FILE = "run.json"
ANSWERS_FILE = "answers.json"  # of sweeps before the table `answers`: request id -> checksum of its answer's tokens
QUESTIONS_FILE = "questions.jsonl"  # a copy of the questions that were asked
REPLICA_FOLDER = "replica-{}"  # below a point's folder, of each engine that measured it, from 1
WALL_CLOCK_AHEAD = "wall_clock_ahead"  # in run.json: of the clock of other machines that measured the same point
DRIVEN_FILE = "driven.json"  # of a sweep's point that ran without the probe
RESERVE_FILE = ".reserve"  # deleted at the end of a run, so that run.json can be written on a full disk
RESERVE_BYTES = 256 * 1024
WAYS_OUT = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.EFBIG: "raise the limit of file sizes (ulimit -f)",
}

RECORDING, COMPLETE, INCOMPLETE = "recording", "complete", "incomplete"


class RunFolder:
    """Creates and finishes a folder that is recorded into; `facts` is the content of `run.json`."""

    def __init__(self, path: Path, facts: dict[str, Any]) -> None:
        self.path = path
        self.facts = facts

    @classmethod
    def create(cls, path: AnyPath | None, engine: dict[str, Any], **added: Any) -> Self:
        """Make the folder (default: `runs/<time>-<pid>`) and write its `run.json`; refuse a folder that holds files.

        The facts about the engine and those of the caller are written now, so that a run that is cut short has them.
        """
        facts = {
            "schema_version": SCHEMA_VERSION,
            "status": RECORDING,
            "clock": clock_anchor(),
            "process": {"pid": os.getpid(), "started": process_started(os.getpid()), "host": platform.node()},
            **engine,
            **checked_additions(added),
        }
        if problem := first_problem(facts):
            raise UnavailableError(f"this engine cannot be described in {RUN_FILE}: {problem}")
        try:
            where = new_folder(Path("runs")) if path is None else Path(path).absolute()  # os.chdir() moves no recording
            where.mkdir(parents=True, exist_ok=True)
            existing = next(iter(where.iterdir()), None)
        except (FileExistsError, NotADirectoryError):
            raise InputError(f"{where} is a file, not a folder to record into: name another folder") from None
        except OSError as error:
            raise UnavailableError(f"cannot record into {where}: {error.strerror}; name a writable folder") from error
        if existing is not None:
            raise InputError(f"{where} already holds {existing.name} and is never overwritten: name another folder")
        folder = cls(where, facts)
        with writable(where):
            try:
                reserve = (where / RESERVE_FILE).open("xb")
            except FileExistsError:  # another recording began since the folder was looked into, and its files stay
                raise InputError(f"{where} is in use by another recording: name another folder") from None
            try:
                with reserve:
                    reserve.write(b" " * RESERVE_BYTES)
                folder.save()
            except BaseException:
                folder.discard()
                raise
        return folder

    def discard(self) -> None:
        """Remove the folder of a recording that did not begin; it was empty or missing before."""
        with suppress(OSError):
            for path in self.path.iterdir():
                path.unlink()
            self.path.rmdir()

    def note_telemetry(self, telemetry: dict[str, Any]) -> None:
        """Save the sampler's facts so far; `finish` replaces them."""
        self.facts["telemetry"] = telemetry
        self.save()

    def save(self) -> None:
        """Write `run.json` atomically."""
        text = json.dumps(dict(self.facts), indent=1) + "\n"  # a copy, as another thread may add a fact
        atomic_write(self.path / RUN_FILE, text.encode())

    def finish(self, failure: str | None, **facts: Any) -> None:
        """Write the final `run.json`, into the space of the reserve if the disk is full."""
        self.facts.update(facts, status=INCOMPLETE if failure else COMPLETE, failure=failure)
        (self.path / RESERVE_FILE).unlink(missing_ok=True)
        self.save()


def new_folder(parent: Path) -> Path:
    """Make a new folder below `parent`, named by time and process id, and numbered if that name exists."""
    parent = parent.absolute()
    parent.mkdir(parents=True, exist_ok=True)
    name = f"{datetime.now():%Y%m%dT%H%M%S}-{os.getpid()}"
    for number in itertools.count(2):
        try:
            (parent / name).mkdir()
        except FileExistsError:
            name = f"{name.partition('+')[0]}+{number}"
        else:
            break
    return parent / name


def add_facts(folder: Path, **facts: Any) -> None:
    """Add facts to the `run.json` of a closed recording, atomically."""
    written = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))
    RunFolder(folder, {**written, **facts}).save()


@contextmanager
def writable(where: Path) -> Iterator[None]:
    """Turn an OSError while files are made in `where` into a sentence with a way out."""
    try:
        yield
    except OSError as error:
        way_out = WAYS_OUT.get(error.errno or 0, "name another folder")
        raise UnavailableError(f"cannot record into {where}: {error.strerror}; {way_out}") from error


def clock_anchor() -> dict[str, int | str]:
    """Return the monotonic clock and the wall clock at the same moment, to about a microsecond."""
    before = time.monotonic_ns()
    wall = time.time_ns()
    after = time.monotonic_ns()
    return {
        "monotonic_ns": (before + after) // 2,
        "wall_ns": wall,
        "wall": datetime.fromtimestamp(wall / 1e9, UTC).isoformat(),
    }


def process_started(pid: int) -> int | None:
    """Return when a process started, in kernel ticks since boot, as ids are used again. None if it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return int(stat.rsplit(")", 1)[1].split()[19])
