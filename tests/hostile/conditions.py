"""Hosts that lack something: the engine's tokens stay what they are, and a recording is whole or says what is wrong."""

from __future__ import annotations

import errno
import json
import locale
import os
import resource
import signal
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.hostile.subject import ANSWER, Driver, asked, ended, forked

STEPS = 400
NOBODY = 65_534
Change = Callable[[Path], Any]
OUTCOMES = ("complete", "incomplete", "refused")


@dataclass
class Held:
    """What became of a recording under one condition."""

    condition: str
    outcome: str = ""
    said: str = ""
    wrong: list[str] = field(default_factory=list)


def limit(which: int, value: int) -> Change:
    return lambda _: resource.setrlimit(which, (value, resource.getrlimit(which)[1]))


def as_nobody(change: Change) -> Change:
    """Root is above what a file system and the kernel refuse others."""

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


def fails(owner: Any, name: str, code: int, after: int = 0, only: str = "") -> Change:
    """A call of the standard library that the file system refuses, from the n-th on."""

    def plant(_: Path) -> None:
        true, count = getattr(owner, name), 0

        def refused(*given: Any, **named: Any) -> Any:
            nonlocal count
            if only in str(given[0]) if given else True:
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


def environment(**values: str | None) -> Change:
    def change(_: Path) -> None:
        for name, value in values.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        time.tzset()

    return change


def other_folder_deleted(place: Path) -> None:
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


def no_files_left(_: Path) -> None:
    used = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    resource.setrlimit(resource.RLIMIT_NOFILE, (used, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


def no_proc(_: Path) -> None:
    true = Path.open

    def hidden(path: Path, *given: Any, **named: Any) -> Any:
        if str(path).startswith("/proc"):
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(path))
        return true(path, *given, **named)

    Path.open = hidden  # type: ignore[method-assign]


def no_thread_can_start(_: Path) -> None:
    import threading

    def refused(*_: Any, **__: Any) -> None:
        raise RuntimeError("can't start new thread")

    threading.Thread.start = refused  # type: ignore[method-assign]


def closed_streams(_: Path) -> None:
    for number in (0, 1, 2):
        os.close(number)
    sys.stdout = sys.stderr = None  # type: ignore[assignment]


def out_is_full(place: Path) -> None:
    (place / "run").mkdir()
    (place / "run" / "mine").write_text("a file of the user's")


# Before the probe comes.
BEFORE: dict[str, Change] = {
    "nothing": lambda _: None,
    "RLIMIT_NPROC 1": as_nobody(limit(resource.RLIMIT_NPROC, 1)),
    "no thread can start": no_thread_can_start,
    "no file descriptor left": no_files_left,
    "ten file descriptors left": lambda _: resource.setrlimit(
        resource.RLIMIT_NOFILE,
        (len(os.listdir("/proc/self/fd")) + 10, 4096),  # noqa: PTH208
    ),
    "RLIMIT_FSIZE 0": limit(resource.RLIMIT_FSIZE, 0),
    "RLIMIT_FSIZE 10 kB": limit(resource.RLIMIT_FSIZE, 10_000),
    "RLIMIT_FSIZE 300 kB": limit(resource.RLIMIT_FSIZE, 300_000),
    "no memory left (1 MiB)": memory(1),
    "16 MiB of memory left": memory(16),
    "256 MiB of memory left": memory(256),
    "a folder that cannot be written to": as_nobody(lambda place: place.chmod(0o555)),
    "a folder that cannot be entered": as_nobody(lambda place: place.chmod(0o000)),
    "a folder in use": out_is_full,
    "a file in the folder's place": lambda place: (place / "run").write_text("mine"),
    "a link to nowhere in its place": lambda place: (place / "run").symlink_to(place / "nowhere"),
    "/proc hidden": no_proc,
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
    "its folder deleted": other_folder_deleted,
    "lowest priority": lambda _: os.nice(19),
    "no renames (NFS, ESTALE)": fails(os, "replace", errno.ESTALE),
    "no renames of Path": fails(Path, "replace", errno.ESTALE),
    "no fsync (EIO)": fails(os, "fsync", errno.EIO),
    "no deletions (EBUSY)": fails(Path, "unlink", errno.EBUSY),
    "recursion limit reached": lambda _: sys.setrecursionlimit(120),
}
# While it records.
WITHIN: dict[str, Change] = {
    "the disk fills up": stream_fails(errno.ENOSPC, 6),
    "the quota is reached": stream_fails(errno.EDQUOT, 0),
    "the disk fails (EIO)": stream_fails(errno.EIO, 9),
    "the folder is deleted": lambda place: __import__("shutil").rmtree(place / "run"),
    "the folder is renamed": lambda place: (place / "run").rename(place / "elsewhere"),
    "files lose their write permission": lambda place: [path.chmod(0o000) for path in (place / "run").iterdir()],
    "the clock is set back": clock_set_back,
    "SIGHUP, ignored": lambda _: (signal.signal(signal.SIGHUP, signal.SIG_IGN), os.kill(os.getpid(), signal.SIGHUP)),
    "the working folder changes": lambda _: os.chdir("/"),
    "no file descriptor left, later": no_files_left,
    "RLIMIT_FSIZE 0, later": limit(resource.RLIMIT_FSIZE, 0),
    "no memory left, later": memory(0),
    "no renames, later": fails(Path, "replace", errno.ESTALE),
}
CONDITIONS = {name: ("before", change) for name, change in BEFORE.items()} | {
    name: ("within", change) for name, change in WITHIN.items()
}


def watch(engine: Any, name: str, place: Path, answer: int) -> None:
    from engine_probe import Probe
    from engine_probe.errors import EngineProbeError, IncompleteRecordingWarning

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # as Python does; the writer gets EFBIG
    when, change = CONDITIONS[name]
    driver, told = Driver(engine), {"outcome": "", "said": "", "wrong": []}
    probe = Probe(engine, place / "run")
    try:
        if when == "before":
            change(place)
        with probe:
            for step in range(STEPS):
                if step == STEPS // 2 and when == "within":
                    change(place)
                driver.step()
                time.sleep(0.001)
            told["outcome"] = "attached"
        told["outcome"] = "incomplete" if probe.failure else "complete"
        told["said"] = (probe.failure or "").strip().splitlines()[-1:]
    except EngineProbeError as error:
        told |= {"outcome": "refused", "said": str(error)}
    except IncompleteRecordingWarning as error:
        told |= {"outcome": "incomplete", "said": str(error)}
    except BaseException as error:
        where = "__exit__" if told["outcome"] else "__enter__"
        told["wrong"].append(f"out of {where}: {type(error).__name__}: {error}")
    try:
        while driver.steps < STEPS:
            driver.step()
        driver.rest()
        if bad := [name for name, tokens in driver.answers.items() if tokens != [7] * (ANSWER + int(name) % 7)]:
            told["wrong"].append(f"other tokens: {bad[0]}")
    except BaseException as error:
        told["wrong"].append(f"the engine raised {type(error).__name__}: {error}")
    os.write(answer, json.dumps(told, default=str).encode())


def status_of(run: Path) -> str:
    from engine_probe import load
    from engine_probe.errors import EngineProbeError

    try:
        found = load(run)
        _ = found.iterations, found.requests
        return found.status
    except EngineProbeError as error:
        return str(error)


def hold(engine: Any, name: str, place: Path) -> Held:
    place.mkdir(parents=True)
    reads, writes = os.pipe()
    process = forked(lambda: watch(engine, name, place, writes), place.with_suffix(".log"))
    os.close(writes)
    code = ended(process)
    with os.fdopen(reads) as answer:
        told = json.loads(answer.read() or "{}")
    held = Held(name, told.get("outcome", ""), str(told.get("said", "")), told.get("wrong", []))
    if code is None:
        held.wrong.append("it hung")
    elif code:
        held.wrong.append(f"exit {code}: {place.with_suffix('.log').read_text()[-200:]}")
    elif not held.wrong and held.outcome not in OUTCOMES:
        held.wrong.append(f"outcome {held.outcome!r}")
    place.chmod(0o755)
    where = place / ("elsewhere" if (place / "elsewhere").exists() else "run")
    status = asked(lambda: status_of(where), place / "answer.json") if held.outcome == "complete" else "not asked"
    if status not in ("not asked", "complete") and "deleted" not in name:
        held.wrong.append(f"said complete, and load() says {status}")
    return held
