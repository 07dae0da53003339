"""The user's cache folder, in which folders are created atomically."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from engine_probe.errors import UnavailableError

GIB = 1 << 30


def cache_folder() -> Path:
    """Return `$ENGINE_PROBE_CACHE`, else `engine_probe` in the user's cache folder, without creating it."""
    if chosen := os.environ.get("ENGINE_PROBE_CACHE"):
        return Path(chosen).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser().absolute() / "engine_probe"


def prepared(folder: Path, build: Callable[[Path], None], needs_bytes: int = 0) -> Path:
    """Return `folder`, created by `build(temporary)` unless it exists.

    Concurrent processes wait for the one that builds. What a killed process left behind is removed next time.
    """
    if folder.is_dir():
        return folder
    try:
        with locked(folder):
            if folder.is_dir():
                return folder
            _sweep(folder)
            _check_space(folder.parent, needs_bytes)
            _build(folder, build)
    except OSError as error:
        raise UnavailableError(
            f"cannot write {folder}: {error.strerror or error}; "
            "make room there, or choose another place with ENGINE_PROBE_CACHE"
        ) from error
    return folder


def free_bytes(folder: Path) -> int:
    """Return the free space where `folder` is or would be."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    return shutil.disk_usage(existing).free


def _build(folder: Path, build: Callable[[Path], None]) -> None:
    temporary = Path(tempfile.mkdtemp(prefix=_temporary_prefix(folder), dir=folder.parent))
    try:
        build(temporary)
        temporary.chmod(0o755)
        _flush(temporary)
        temporary.rename(folder)
        _flush_one(folder.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _temporary_prefix(folder: Path) -> str:
    return f".{folder.name}.part-"


def _sweep(folder: Path) -> None:
    """Remove what killed processes left; under the lock no other process builds this folder."""
    for orphan in folder.parent.glob(f"{_temporary_prefix(folder)}*"):
        shutil.rmtree(orphan, ignore_errors=True)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a lock on a folder; the kernel drops it when the process ends, however that happens."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f".{folder.name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _check_space(folder: Path, needs_bytes: int) -> None:
    free = free_bytes(folder)
    if free < needs_bytes:
        raise UnavailableError(
            f"{folder} has {free / GIB:.2f} GiB free and {needs_bytes / GIB:.2f} GiB are needed: "
            "free some space, or choose another place with ENGINE_PROBE_CACHE"
        )


def _flush(folder: Path) -> None:
    for path in folder.rglob("*"):
        _flush_one(path)
    _flush_one(folder)


def _flush_one(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
