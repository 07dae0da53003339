"""Runs a sweep: starts the process that holds the engine, and reads from the recordings how far it is."""

from __future__ import annotations

import itertools
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

import msgspec
import pyarrow as pa

from engine_probe.engine.spec import EngineSpec
from engine_probe.errors import EngineProbeError, InputError, UnavailableError
from engine_probe.record.follow import Moment, Watch
from engine_probe.sweep.adaptive import Adaptive, Found
from engine_probe.sweep.axis_end import AxisEnd
from engine_probe.sweep.document import RESULT_FILE
from engine_probe.sweep.driven import between
from engine_probe.sweep.lanes import Lane, Left, Moved, Placed, Waiting, Words
from engine_probe.sweep.messages import Began, Ended, Failed, Job, Message, Refused, Said, Task
from engine_probe.sweep.plan import EngineSection, Point, SweepFile, points
from engine_probe.sweep.result import SKIPPED, Row, Unmeasured, finished, row_at
from engine_probe.sweep.seek import Seeker

TICK_SECONDS = 1.0
END_SECONDS = 20  # for the engine to let go of its memory and files
LOG_PREFIX = re.compile(r"^(\(.*?\) )?(ERROR|FATAL|CRITICAL) [\d-]+ [\d:]+ \[[^]]*\] ")
MOST_QUOTED = 300  # characters of an error
LOG_FILE = "engine.log"
# What the user sets wins. OpenMP's threads spin while they wait: on a CPU engine with another program on one of its
# cores that makes a step take a second instead of 40 ms.
ENGINE_ENVIRONMENT = {"OMP_WAIT_POLICY": "passive", "PYTHONUNBUFFERED": "1"}
MESSAGES = msgspec.json.Decoder(Message)

FAILED = "failed"

Numbered = tuple[int, Point, Path]  # a point, its number in the sweep, and its folder


class Reused(msgspec.Struct, frozen=True):
    """The point with this number was measured before: its row comes next."""

    number: int


class Finished(msgspec.Struct, frozen=True):
    """The row of the point with this number in the whole sweep."""

    number: int
    row: Row


class Discovered(msgspec.Struct, frozen=True):
    """What a search came to."""

    curve: str
    adaptive: Adaptive
    found: Found
    problem: str | None  # why it ended early


class NeverBeganError(EngineProbeError):
    """An engine that ended before its first point, which was this one."""

    def __init__(self, sentence: str, exit_code: int, task: Numbered) -> None:
        super().__init__(sentence)
        self.exit_code = exit_code
        self.task = task


Event = Said | Began | Reused | Moment | Row | Discovered | Waiting | Placed | Moved | Words | Left | Lane | None
Running = Generator["Event | Finished", None, Unmeasured | None]


class Ways(Protocol):
    """Where engines run."""

    def start(
        self, engine: EngineSection, tasks: Iterator[Numbered], log: Path, force: bool, seconds_each: float
    ) -> Running:
        """Task after task on one engine, as `run_engine` does it."""

    def together(self, groups: Iterable[Iterator[Event]]) -> Iterator[Event]:
        """The events of all groups of points, in whatever order they happen."""


class Here:
    """In a process of this machine, one engine after the other."""

    def start(
        self, engine: EngineSection, tasks: Iterator[Numbered], log: Path, force: bool, seconds_each: float
    ) -> Running:
        return run_engine(engine, tasks, log, force, seconds_each)

    def together(self, groups: Iterable[Iterator[Event]]) -> Iterator[Event]:
        for group in groups:
            yield from group


HERE = Here()


def run_sweep(
    sweep: SweepFile, folder: Path, todo: list[Point], force: bool = False, ways: Ways = HERE
) -> Generator[Event]:
    """What happens, as it happens; after every point its row is on disk.

    `todo` holds the points of a grid; a search adds its own as it goes. Points whose recording in `folder` is
    complete are read, not measured again. One process per engine; a point that fails is a row with its reason, and
    the sweep goes on behind it.
    """
    rows: dict[int, Row] = {}
    found: dict[str, Found] = {}
    moved: list[Moved] = []

    def kept() -> None:
        save(folder, sweep, rows, found, moved)

    def noted(events: Iterator[Event | Finished]) -> Iterator[Event]:
        """A finished point is on disk before anybody hears of it."""
        for event in events:
            if isinstance(event, Finished):
                rows[event.number] = event.row
                kept()
                yield event.row
                continue
            if isinstance(event, Moved):
                moved.append(event)
                kept()
            yield event

    def run(engine: EngineSection, tasks: Iterator[Numbered]) -> Iterator[Event]:
        return noted(run_group(engine, tasks, folder, force, sweep.point_seconds, ways))

    def searched(adaptive: Adaptive, base: Point) -> Iterator[Event]:
        seeker = Seeker(adaptive, base, folder, todo, rows, sweep.repeats)
        yield from run(base.engine, seeker.tasks())
        found[seeker.name] = seeker.found
        kept()
        for number in seeker.known:
            yield Reused(number)
            yield rows[number]
        yield Discovered(seeker.name, adaptive, seeker.found, seeker.problem)

    axis_end = AxisEnd(sweep.stop.saturated, todo, rows)

    def measured(group: list[Numbered]) -> Iterator[Event]:
        """Those of one engine, and then those that turned out not to be needed."""
        skipped: list[Finished] = []

        def needed() -> Iterator[Numbered]:
            for number, point, place in group:
                if (reason := axis_end.reason_to_skip(point)) is None:
                    yield number, point, place
                else:
                    skipped.append(Finished(number, Unmeasured(place.name, point, SKIPPED, reason, exit_code=0)))

        yield from run(group[0][1].engine, needed())
        yield from noted(iter(skipped))

    kept()
    if sweep.adaptive is not None:
        yield from ways.together([searched(sweep.adaptive, base) for base in points(sweep) if not base.repeat])
        return
    for number, point in enumerate(todo):
        if row := finished(place_of(folder, point), point):
            yield Reused(number)
            yield from noted(iter([Finished(number, row)]))
    groups: dict[EngineSpec, list[Numbered]] = {}
    for number, point in enumerate(todo):
        if number not in rows:
            groups.setdefault(point.engine.spec, []).append((number, point, place_of(folder, point)))
    yield from ways.together([measured(group) for group in groups.values()])


def run_group(
    engine: EngineSection, tasks: Iterator[Numbered], folder: Path, force: bool, seconds_each: float, ways: Ways
) -> Generator[Event | Finished]:
    """One engine after the other until all tasks are done; one that never began a point is not tried again."""
    try:
        while (yield from ways.start(engine, tasks, new_log(folder), force, seconds_each)) is not None:
            pass
    except NeverBeganError as error:
        for number, point, place in itertools.chain([error.task], tasks):
            yield Finished(number, Unmeasured(place.name, point, FAILED, str(error), error.exit_code))


def run_engine(
    engine: EngineSection,
    tasks: Iterator[Numbered],
    log: Path,
    force: bool = False,
    seconds_each: float | None = None,
    tick_seconds: float | None = None,
) -> Running:
    """Task after task on one engine; None as an event when a tick has passed and there is nothing to say.

    Returns None when there is no task left, or the row of the task that ended the engine. The next task is asked for
    when somebody has seen the row of the one before.
    """
    task = next(tasks, None)
    if task is None:
        return None
    watch, begun = None, 0.0
    ever_began = False
    try:
        with engine_process(Job(engine, force), log) as (process, pipe):
            hand_over(process, task)
            pa.array([0])  # loads pandas now, while the engine starts, and not between its first two points
            for message in messages(process, pipe, tick_seconds or TICK_SECONDS):
                match message:
                    case None if watch is not None:
                        yield watch.progress()
                        if seconds_each is not None and time.monotonic() - begun > seconds_each:
                            raise UnavailableError(f"given up after {seconds_each:g} s (point_seconds)")
                    case None | Said():
                        yield message
                    case Began():
                        begun, watch, ever_began = time.monotonic(), Watch(task[2]), True
                        yield Began(task[0])
                    case Ended() | Refused():
                        watch = None
                        yield Finished(task[0], row_of(message, task))
                        task = next(tasks, None)
                        hand_over(process, task)
                        if task is None:
                            return None
                    case Failed(sentence, exit_code):
                        kind = InputError if exit_code == InputError.exit_code else UnavailableError
                        raise kind(f"{sentence}; all the engine said is in {log}")
            raise engine_ended(process.wait(), log)
    except EngineProbeError as error:
        assert task is not None
        if not ever_began:
            raise NeverBeganError(str(error), error.exit_code, task) from error
        lost = Unmeasured(task[2].name, task[1], FAILED, str(error), error.exit_code)
        yield Finished(task[0], lost)
        return lost


def row_of(message: Ended | Refused, task: Numbered) -> Row:
    _, point, place = task
    if isinstance(message, Refused):
        return Unmeasured(place.name, point, FAILED, message.sentence, InputError.exit_code)
    return row_at(place, point)


def hand_over(process: subprocess.Popen[bytes], task: Numbered | None) -> None:
    """The next task, or that there is none. An engine that has ended does not hear it, which shows elsewhere."""
    assert process.stdin is not None
    with suppress(BrokenPipeError):
        if task is None:
            process.stdin.close()
            return
        set_aside(task[2])
        process.stdin.write(msgspec.json.encode(Task(task[1], str(task[2]))) + b"\n")
        process.stdin.flush()


def place_of(folder: Path, point: Point) -> Path:
    return folder / "points" / point.key


def set_aside(place: Path) -> None:
    """A recording that is not whole makes room, and is kept."""
    if place.exists():
        number = next(n for n in itertools.count(1) if not place.with_name(f"{place.name}.cut-{n}").exists())
        place.rename(place.with_name(f"{place.name}.cut-{number}"))


def new_log(folder: Path) -> Path:
    """engine.log, or the next free number: every engine's words are kept."""
    names = itertools.chain([LOG_FILE], (f"engine-{number}.log" for number in itertools.count(2)))
    return next(folder / name for name in names if not (folder / name).exists())


@contextmanager
def engine_process(job: Job, log_file: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """The engine in a process of its own, so that its noise goes to a file and its death is survived."""
    reading, writing = os.pipe()
    command = [sys.executable, "-m", "engine_probe.sweep.engine_process", str(writing)]
    try:
        with log_file.open("xb") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=[writing],
                start_new_session=True,  # Ctrl-C is for this process to answer
                env=ENGINE_ENVIRONMENT | os.environ,
            )
        os.close(writing)
        assert process.stdin is not None
        with suppress(BrokenPipeError):
            process.stdin.write(msgspec.json.encode(job) + b"\n")
        try:
            yield process, reading
        finally:
            end(process)
    except OSError as error:
        raise UnavailableError(f"{error.filename or log_file}: {error.strerror}; mend that and try again") from error
    finally:
        os.close(reading)


def end(process: subprocess.Popen[bytes]) -> None:
    """Whatever it is still at; its recording stays readable up to the last row."""
    assert process.stdin is not None
    with suppress(BrokenPipeError):
        process.stdin.close()
    process.terminate()
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def messages(process: subprocess.Popen[bytes], pipe: int, tick_seconds: float) -> Iterator[Message | None]:
    """What the engine's process says until it ends; None at every tick without a word."""
    rest = b""
    while True:
        if not select.select([pipe], [], [], tick_seconds)[0]:
            if process.poll() is not None:
                return
            yield None
            continue
        chunk = os.read(pipe, 1 << 16)
        if not chunk:
            return
        *lines, rest = (rest + chunk).split(b"\n")
        yield from map(MESSAGES.decode, lines)


def save(folder: Path, sweep: SweepFile, rows: dict[int, Row], found: dict[str, Found], moved: list[Moved]) -> None:
    """After every point, in one step."""
    partial = folder / f".{RESULT_FILE}.partial"
    points = [rows[number] for number in sorted(rows)]
    idle = between(row.driven for row in points if not isinstance(row, Unmeasured) and row.driven)
    result = {"sweep": sweep, "points": points, "found": found, "moved": moved, "between": idle}
    try:
        partial.write_bytes(msgspec.json.format(msgspec.json.encode(result)))
        partial.replace(folder / RESULT_FILE)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise UnavailableError(
            f"cannot write {folder / RESULT_FILE}: {error.strerror}; every finished point is kept, go on with --resume"
        ) from error


def engine_ended(code: int, log: Path) -> EngineProbeError:
    how = f"by signal {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
    hint = " (out of memory?)" if -code == signal.SIGKILL else ""
    return UnavailableError(f"the engine's process ended {how}{hint}: {last_error(log)}; see {log}")


def last_error(log: Path) -> str:
    """The last line of the log that names an error, without vLLM's time stamp."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if re.search(r"\b(\w*Error|\w*Exception|ERROR|FATAL)\b", line)]
    if not errors:
        return "its log names no error"
    return f'"{LOG_PREFIX.sub("", errors[-1])[:MOST_QUOTED]}"'
