"""The run folder: `run.json` beside the tables, and the rule that nothing finished is ever overwritten."""

from __future__ import annotations

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
from typing import Any

from engine_probe.errors import InputError, UnavailableError
from engine_probe.files.atomic_write import atomic_write
from engine_probe.record.run_json import checked_additions, what_is_wrong
from engine_probe.record.schema import SCHEMA_VERSION

AnyPath = str | os.PathLike[str]

RUN_FILE = "run.json"
ANSWERS_FILE = "answers.json"  # of a sweep's points: request id -> checksum of the tokens of its answer
DRIVEN_FILE = "driven.json"  # of a point that ran without the probe
# Deleted to make room for the last words of a run whose disk is full.
RESERVE_FILE = ".reserve"
RESERVE_BYTES = 256 * 1024
WAYS_OUT = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.EFBIG: "raise the limit of file sizes (ulimit -f)",
}

RECORDING, COMPLETE, INCOMPLETE = "recording", "complete", "incomplete"


class RunFolder:
    """A folder being recorded into. `facts` is what `run.json` will say."""

    def __init__(self, path: Path, facts: dict[str, Any]) -> None:
        self.path = path
        self.facts = facts

    @classmethod
    def create(cls, path: AnyPath | None, engine: dict[str, Any], **added: Any) -> RunFolder:
        """Make the folder (default: `runs/<time>-<pid>`); one that already holds files is refused.

        What is known of the engine, and what the caller adds, is in `run.json` from its first moment on: a run
        cut short is no worse described.
        """
        facts = {
            "schema_version": SCHEMA_VERSION,
            "status": RECORDING,
            "clock": clock_anchor(),
            "process": {"pid": os.getpid(), "started": process_started(os.getpid()), "host": platform.node()},
            **engine,
            **checked_additions(added),
        }
        if wrong := what_is_wrong(facts):
            raise UnavailableError(f"this engine cannot be described in {RUN_FILE}: {wrong}")
        try:
            where = new_folder(Path("runs")) if path is None else Path(path).absolute()  # os.chdir() moves no recording
            where.mkdir(parents=True, exist_ok=True)
            taken = next(iter(where.iterdir()), None)
        except (FileExistsError, NotADirectoryError):
            raise InputError(f"{where} is a file, not a folder to record into: name another folder") from None
        except OSError as error:
            raise UnavailableError(f"cannot record into {where}: {error.strerror}; name a writable folder") from error
        if taken is not None:
            raise InputError(f"{where} already holds {taken.name} and is never overwritten: name another folder")
        folder = cls(where, facts)
        try:
            with writable(where):
                with (where / RESERVE_FILE).open("xb") as reserve:  # by one of two that begin at once
                    reserve.write(b" " * RESERVE_BYTES)
                folder.save()
        except FileExistsError:
            raise InputError(f"{where} is being recorded into by somebody else: name another folder") from None
        except BaseException:
            folder.discard()
            raise
        return folder

    def discard(self) -> None:
        """Remove a recording that did not begin; the folder was empty or not there before."""
        with suppress(OSError):
            for path in self.path.iterdir():
                path.unlink()
            self.path.rmdir()

    def note_telemetry(self, said: dict[str, Any]) -> None:
        """What is known of the sampling so far; the last word replaces it."""
        self.facts["telemetry"] = said
        self.save()

    def save(self) -> None:
        """Write `run.json` in one step: a reader sees the old facts or the new ones, never half."""
        told = json.dumps(dict(self.facts), indent=1) + "\n"  # others may add a fact meanwhile
        atomic_write(self.path / RUN_FILE, told.encode())

    def finish(self, failure: str | None, **facts: Any) -> None:
        """The last word on the run, whole or not; the reserve makes room for it on a full disk."""
        self.facts.update(facts, status=INCOMPLETE if failure else COMPLETE, failure=failure)
        (self.path / RESERVE_FILE).unlink(missing_ok=True)
        self.save()


def new_folder(parent: Path) -> Path:
    """Make a folder of its own below `parent`, named by time and process; a second one in that second is numbered."""
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
    """Turn a file system's refusal, while files are made in `where`, into a sentence."""
    try:
        yield
    except OSError as error:
        way_out = WAYS_OUT.get(error.errno or 0, "name another folder")
        raise UnavailableError(f"cannot record into {where}: {error.strerror}; {way_out}") from error


def clock_anchor() -> dict[str, int | str]:
    """Where the monotonic clock stands against the wall clock, to the microsecond or so it takes to ask."""
    before = time.monotonic_ns()
    wall = time.time_ns()
    after = time.monotonic_ns()
    return {
        "monotonic_ns": (before + after) // 2,
        "wall_ns": wall,
        "wall": datetime.fromtimestamp(wall / 1e9, UTC).isoformat(),
    }


def process_started(pid: int) -> int | None:
    """Start time of a process in kernel ticks since boot: tells it from a later one with the same number."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return int(stat.rsplit(")", 1)[1].split()[19])
