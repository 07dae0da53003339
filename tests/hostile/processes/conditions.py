"""Hosts that lack something: what is missing, and how a fork of the attacked engine comes to miss it.

A condition begins before the probe comes, in the middle of a recording, or with the interpreter itself.
"""

from __future__ import annotations

import ctypes
import errno
import locale
import os
import resource
import shutil
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

Change = Callable[[Path], Any]
NOBODY = 65_534
NEW_NAMESPACE, PRIVATE = 0x20000, 0x4000 | 0x40000  # CLONE_NEWNS; MS_REC | MS_PRIVATE
READ_ONLY = 1  # MS_RDONLY


class NotPossibleHereError(Exception):
    """This machine does not let the condition be made."""


@dataclass(frozen=True)
class Interpreter:
    """A condition that an interpreter starts with, so its engine is built anew."""

    options: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()


def limit(which: int, value: int) -> Change:
    return lambda _: resource.setrlimit(which, (value, resource.getrlimit(which)[1]))


def as_nobody(change: Change) -> Change:
    """Make the change and give up root, who is above what a file system and the kernel refuse others."""

    def drop(place: Path) -> None:
        for folder in (place, *place.parents):
            if folder.stat().st_uid == os.getuid() and not folder.stat().st_mode & 0o5:
                folder.chmod(0o755)
        place.chmod(0o777)
        change(place)
        if os.getuid() == 0:
            os.setgid(NOBODY)
            os.setuid(NOBODY)

    return drop


def memory(mib: int) -> Change:
    def restrict(_: Path) -> None:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + mib * 2**20, resource.RLIM_INFINITY))

    return restrict


def fails(owner: Any, name: str, code: int, after: int = 0) -> Change:
    """Have a call of the standard library refused by the file system, from the n-th on."""

    def plant(_: Path) -> None:
        true, count = getattr(owner, name), 0

        def refused(*given: Any, **named: Any) -> Any:
            nonlocal count
            count += 1
            if count > after:
                raise OSError(code, os.strerror(code))
            return true(*given, **named)

        setattr(owner, name, refused)

    return plant


def stream_fails(code: int, after: int) -> Change:
    def plant(place: Path) -> None:
        from engine_probe.record.writer import TableStream

        fails(TableStream, "append", code, after)(place)

    return plant


def mounted(name: str, size: str, flags: int = 0) -> Change:
    """Mount a file system of this size at a folder, seen by this process alone."""

    def mount(place: Path) -> None:
        libc, folder = ctypes.CDLL(None, use_errno=True), place / name
        folder.mkdir()
        steps = (
            lambda: libc.unshare(NEW_NAMESPACE),
            lambda: libc.mount(b"none", b"/", None, PRIVATE, None),
            lambda: libc.mount(b"tmpfs", bytes(folder), b"tmpfs", flags, f"size={size}".encode()),
        )
        if any(step() for step in steps):
            raise NotPossibleHereError(f"mounting: {os.strerror(ctypes.get_errno())}")

    return mount


def full_temporary_folder(place: Path) -> None:
    mounted("temporary", "64k")(place)
    os.environ["TMPDIR"] = str(place / "temporary")
    try:
        (place / "temporary" / "filler").write_bytes(b"x" * 2**20)
    except OSError:
        return
    raise NotPossibleHereError("a file system of 64 kB took a megabyte")


def environment(**values: str | None) -> Change:
    def change(_: Path) -> None:
        for name, value in values.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        time.tzset()

    return change


def working_folder_deleted(place: Path) -> None:
    gone = place / "gone"
    gone.mkdir()
    os.chdir(gone)
    gone.rmdir()


def clock_set_back(_: Path) -> None:
    true, true_ns = time.time, time.time_ns
    time.time, time.time_ns = lambda: true() - 3600, lambda: true_ns() - 3600 * 10**9


def locale_without_utf_8(_: Path) -> None:
    os.environ |= {"LANG": "C", "LC_ALL": "C"}
    locale.setlocale(locale.LC_ALL, "C")


def files_left(count: int) -> Change:
    def restrict(_: Path) -> None:
        used = len(list(Path("/proc/self/fd").iterdir()))
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + count, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))

    return restrict


def proc_hidden(_: Path) -> None:
    true = Path.open

    def hidden(path: Path, *given: Any, **named: Any) -> Any:
        if str(path).startswith("/proc"):
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(path))
        return true(path, *given, **named)

    mock.patch.object(Path, "open", hidden).start()


def no_thread_can_start(_: Path) -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise RuntimeError("can't start new thread")

    mock.patch.object(threading.Thread, "start", refused).start()


def closed_streams(_: Path) -> None:
    for number in (0, 1, 2):
        os.close(number)
    mock.patch.multiple(sys, stdout=None, stderr=None).start()


def folder_in_use(place: Path) -> None:
    (place / "run").mkdir()
    (place / "run" / "mine").write_text("a file of the user's")


def files_without_permission(place: Path) -> None:
    for path in (place / "run").iterdir():
        path.chmod(0o000)


def hung_up(_: Path) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    os.kill(os.getpid(), signal.SIGHUP)


BEFORE: dict[str, Change] = {
    "nothing": lambda _: None,
    "RLIMIT_NPROC 1": as_nobody(limit(resource.RLIMIT_NPROC, 1)),
    "no thread can start": no_thread_can_start,
    "no file descriptor left": files_left(0),
    "ten file descriptors left": files_left(10),
    "RLIMIT_FSIZE 0": limit(resource.RLIMIT_FSIZE, 0),
    "RLIMIT_FSIZE 10 kB": limit(resource.RLIMIT_FSIZE, 10_000),
    "RLIMIT_FSIZE 300 kB": limit(resource.RLIMIT_FSIZE, 300_000),
    "1 MiB of memory left": memory(1),
    "16 MiB of memory left": memory(16),
    "256 MiB of memory left": memory(256),
    "a folder that cannot be written to": as_nobody(lambda place: place.chmod(0o555)),
    "a folder that cannot be entered": as_nobody(lambda place: place.chmod(0o000)),
    "a folder in use": folder_in_use,
    "a file in the folder's place": lambda place: (place / "run").write_text("mine"),
    "a link to nowhere in its place": lambda place: (place / "run").symlink_to(place / "nowhere"),
    "a full disk (64 kB in all)": mounted("run", "64k"),
    "a disk that fills up (400 kB in all)": mounted("run", "400k"),
    "a read-only file system": mounted("run", "1m", READ_ONLY),
    "a full TMPDIR": full_temporary_folder,
    "/proc hidden": proc_hidden,
    "umask 777": lambda _: os.umask(0o777),
    "umask 777, not root": as_nobody(lambda _: os.umask(0o777)),
    "umask 0": lambda _: os.umask(0),
    "TZ of the other side": environment(TZ="Pacific/Kiritimati"),
    "TZ that is none": environment(TZ="Nowhere/At_all"),
    "LANG=C": locale_without_utf_8,
    "HOME unset": environment(HOME=None),
    "TMPDIR that is not there": environment(TMPDIR="/nowhere"),
    "an empty environment": lambda _: os.environ.clear(),
    "closed standard streams": closed_streams,
    "warnings as errors": lambda _: warnings.simplefilter("error"),
    "its working folder deleted": working_folder_deleted,
    "lowest priority": lambda _: os.nice(19),
    "no renames (NFS, ESTALE)": fails(os, "replace", errno.ESTALE),
    "no renames of Path": fails(Path, "replace", errno.ESTALE),
    "no fsync (EIO)": fails(os, "fsync", errno.EIO),
    "no deletions (EBUSY)": fails(Path, "unlink", errno.EBUSY),
    "recursion limit reached": lambda _: sys.setrecursionlimit(120),
}
WITHIN: dict[str, Change] = {
    "ENOSPC, later": stream_fails(errno.ENOSPC, 6),
    "EDQUOT, later": stream_fails(errno.EDQUOT, 0),
    "EIO, later": stream_fails(errno.EIO, 9),
    "the folder is deleted": lambda place: shutil.rmtree(place / "run"),
    "the folder is renamed": lambda place: (place / "run").rename(place / "elsewhere"),
    "files lose their permissions": files_without_permission,
    "the clock is set back": clock_set_back,
    "SIGHUP, ignored": hung_up,
    "the working folder changes": lambda _: os.chdir("/"),
    "no file descriptor left, later": files_left(0),
    "RLIMIT_FSIZE 0, later": limit(resource.RLIMIT_FSIZE, 0),
    "no memory left, later": memory(0),
    "no renames, later": fails(Path, "replace", errno.ESTALE),
}
INTERPRETERS = {
    "PYTHONOPTIMIZE=2": Interpreter(environment=(("PYTHONOPTIMIZE", "2"),)),
    "python -I": Interpreter(options=("-I",)),
    "PYTHONWARNINGS=error": Interpreter(environment=(("PYTHONWARNINGS", "error"),)),
    "PYTHONUTF8=0 and LC_ALL=C": Interpreter(environment=(("PYTHONUTF8", "0"), ("LC_ALL", "C"))),
}
CONDITIONS = (*BEFORE, *WITHIN, *INTERPRETERS)
