"""The folders of results, on this machine or behind a URI."""

import fcntl
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from engine_probe.errors import InputError
from engine_probe.files.new_file import STANDARD_OUTPUT
from engine_probe.text_format import shortened

LONGEST = 200  # of a path in an error


def recorded(place: str) -> Path:
    """Return the folder to read; one behind a URI is copied to the cache, and only changed files are copied again."""
    from engine_probe.recordings.remote_folder import is_uri, local_copy

    if is_uri(place):
        return local_copy(place)
    try:
        Path(place).stat()
    except FileNotFoundError as error:
        raise InputError(
            f"{place}: there is no such folder: give the folder that a recording or a sweep was written to"
        ) from error
    except (OSError, ValueError) as error:
        raise InputError(
            f"{shortened(place, LONGEST)} cannot be opened: {getattr(error, 'strerror', error)}"
        ) from error
    return Path(place)


class Results:
    """The folder of a measurement's results, which no other process may write to until it is closed."""

    def __init__(self, folder: Path, made: Sequence[Path] = ()) -> None:
        self.folder = folder
        self.location = str(folder)  # its name in messages
        self._made = made  # folders that were created for it, outermost first
        self._lock = lock(folder)

    def send(self) -> None:
        """Upload what is new; a local folder needs no upload."""

    def close(self) -> None:
        """Upload the rest, remove created folders that are empty, and let others write to the folder."""
        if self._lock is not None:
            os.close(self._lock)
        with suppress(OSError):
            for folder in reversed(self._made):
                folder.rmdir()

    def discard(self) -> None:
        """Remove everything in the folder, which was new or empty and holds no result."""
        empty(self.folder)


class SentResults(Results):
    """The results behind a URI, measured in a local folder and uploaded."""

    def __init__(self, uri: str, resume: bool) -> None:
        from engine_probe.recordings.remote_folder import RemoteFolder
        from engine_probe.sweep.uri_mirror import Mirror

        self._mirror = Mirror(RemoteFolder.at(uri), resume)
        super().__init__(self._mirror.folder)
        self.location = uri.rstrip("/")

    def send(self) -> None:
        self._mirror.send()

    def close(self) -> None:
        self._mirror.close()
        super().close()


def open_results(resume: str | None, out: str) -> Results:
    """Open the folder of a sweep to resume, or a new or empty folder."""
    from engine_probe.recordings.remote_folder import is_uri

    if is_uri(resume or out):
        return SentResults(resume or out, resume is not None)
    return make_folder(Path(out)) if resume is None else Results(Path(resume))


def check_resumable(resume: str) -> None:
    """Refuse to resume in a folder that no sweep wrote."""
    from engine_probe.files.config_file import RESULT_FILE, read_asked
    from engine_probe.recordings.remote_folder import is_uri

    if is_uri(resume):
        return  # checked when it is opened
    if not Path(resume).is_dir():
        raise InputError(f"--resume {resume}: there is no such folder: name the folder of a sweep")
    if not (Path(resume) / RESULT_FILE).is_file():
        raise InputError(
            f"--resume {resume}: it holds no {RESULT_FILE}, so no sweep was written there: name the folder of a sweep, "
            "or a new folder with --out"
        )
    read_asked(Path(resume) / RESULT_FILE)


def title_of(name: str) -> str:
    """Return what a measurement is called that is named by its file or folder, which may be `.` or `..`."""
    stem = Path(name).stem
    return stem if stem.strip(".") else Path(name).resolve().stem


def new_folder(name: str) -> str:
    """Return the folder below runs/ for results that are given no place."""
    return str(Path("runs") / f"{title_of(name)}-{datetime.now():%Y%m%dT%H%M%S}")


def make_folder(folder: Path) -> Results:
    """Create the folder and its parents; it must be new or empty."""
    if folder == STANDARD_OUTPUT:
        raise InputError("--out -: a recording is a folder of files, which standard output cannot hold: name a folder")
    taken = InputError(f"{folder} already holds something and is never overwritten: name another folder with --out")
    try:
        if folder.exists() and not folder.is_dir():
            raise taken
        made = [path for path in (*reversed(folder.parents), folder) if not path.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        results = Results(folder, made)
        is_empty = not any(folder.iterdir())
    except OSError as error:
        raise InputError(f"cannot write to {folder}: {error.strerror}; name another folder with --out") from error
    if not is_empty:
        results.close()
        raise taken
    return results


def lock(folder: Path) -> int | None:
    """Lock a folder until the descriptor is closed or this process ends. None on a file system without locks.

    Refuse a folder that another process has locked: each of two sweeps would set aside what the other one records.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:  # who reads from it or writes to it says why
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if isinstance(error, BlockingIOError):
            in_use = f"{folder} is in use by another engine_probe: wait until it has ended, or name another folder"
            raise InputError(in_use) from error
        return None
    return descriptor


def holds_steps(folder: Path) -> bool:
    """Return whether the folder, or a folder in it, is a recording with at least one iteration."""
    from engine_probe.recordings.run import load

    try:
        return bool(load(folder).iterations.num_rows)
    except InputError:
        return False


def empty(folder: Path) -> None:
    """Remove what is in the folder, except for what an engine that still ends may write meanwhile."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):
                path.unlink()
