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
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from engine_probe.errors import EngineProbeError, InputError, UnavailableError
from engine_probe.record.follow import Moment, Watch
from engine_probe.run import load
from engine_probe.sweep.messages import Began, Ended, Failed, Job, Message, Said
from engine_probe.sweep.plan import EngineSection, Point, SweepFile, points
from engine_probe.sweep.result import PointResult, Row, Unmeasured, measure

TICK_SECONDS = 1.0
END_SECONDS = 20  # for the engine to let go of its memory and files
LOG_PREFIX = re.compile(r"^(\(.*?\) )?(ERROR|FATAL|CRITICAL) [\d-]+ [\d:]+ \[[^]]*\] ")
MOST_QUOTED = 300  # characters of an error
LOG_FILE = "engine.log"
RESULT_FILE = "sweep.json"
# What the user sets wins. OpenMP's threads spin while they wait: on a CPU engine with another program on one of its
# cores that makes a step take a second instead of 40 ms.
ENGINE_ENVIRONMENT = {"OMP_WAIT_POLICY": "passive", "PYTHONUNBUFFERED": "1"}
MESSAGES = msgspec.json.Decoder(Message)

FAILED = "failed"


class Reused(msgspec.Struct, frozen=True):
    """The point with this number was measured before: its row comes next."""

    number: int


class Finished(msgspec.Struct, frozen=True):
    """The row of the point with this number in the whole sweep."""

    number: int
    row: Row


Event = Said | Began | Reused | Moment | PointResult | Unmeasured | None


def run_sweep(sweep: SweepFile, folder: Path, force: bool = False) -> Generator[Event]:
    """What happens, as it happens; after every point its row is on disk.

    Points whose recording in `folder` is complete are read, not measured again. One process per engine; a point
    that fails is a row with its reason, and the sweep goes on behind it.
    """
    todo = points(sweep)
    places = [folder / "points" / point.key for point in todo]
    rows: dict[int, Row] = {}
    for number, (point, place) in enumerate(zip(todo, places, strict=True)):
        if row := finished(place, point):
            rows[number] = row
            yield Reused(number)
            yield row
    save(folder, sweep, rows)
    while left := [number for number in range(len(todo)) if number not in rows]:
        engine = todo[left[0]].engine
        group = [number for number in left if todo[number].engine.spec == engine.spec]
        for number in group:
            set_aside(places[number])
        for event in run_group(
            engine, [(number, todo[number], places[number]) for number in group], sweep, folder, force
        ):
            if isinstance(event, Finished):
                rows[event.number] = event.row
                save(folder, sweep, rows)
                yield event.row
            else:
                yield event


def run_group(
    engine: EngineSection, group: list[tuple[int, Point, Path]], sweep: SweepFile, folder: Path, force: bool
) -> Generator[Event | Finished]:
    """Points of one engine until one of them ends it: that one gets the reason, the others are left to a new one.

    An engine that never began a point is not tried again: all its points get the reason.
    """
    numbers, todo, places = (list(part) for part in zip(*group, strict=True))
    log = new_log(folder)
    current: int | None = None
    try:
        for event in run_points(engine, todo, places, log, force, seconds_each=sweep.point_seconds):
            if isinstance(event, Began):
                current = event.number
                yield Began(numbers[current])
            elif isinstance(event, PointResult | Unmeasured):
                assert current is not None
                yield Finished(numbers[current], event)
                current = None
            else:
                yield event
    except EngineProbeError as error:
        hit = range(len(todo)) if current is None else [current]
        for index in hit:
            yield Finished(
                numbers[index], Unmeasured(places[index].name, todo[index], FAILED, str(error), error.exit_code)
            )


def run_points(
    engine: EngineSection,
    todo: list[Point],
    places: list[Path],
    log: Path,
    force: bool = False,
    seconds_each: float | None = None,
    tick_seconds: float | None = None,
) -> Generator[Event]:
    """One engine, point after point; None when a tick has passed and there is nothing to say."""
    job = Job(engine, [point.workload for point in todo], [str(place) for place in places], force)
    done = 0
    begun = time.monotonic()
    watch: Watch | None = None
    with engine_process(job, log) as (process, pipe):
        for message in messages(process, pipe, tick_seconds or TICK_SECONDS):
            match message:
                case None if watch is not None:
                    yield watch.progress()
                    if seconds_each is not None and time.monotonic() - begun > seconds_each:
                        raise UnavailableError(f"given up after {seconds_each:g} s (point_seconds)")
                case None | Said():
                    yield message
                case Began(number):
                    begun, watch = time.monotonic(), Watch(places[number])
                    yield message
                case Ended(number):
                    watch = None
                    done += 1
                    yield measure(load(places[number]), todo[number])
                case Failed(sentence, exit_code):
                    kind = InputError if exit_code == InputError.exit_code else UnavailableError
                    raise kind(f"{sentence}; all the engine said is in {log}")
        code = process.wait()
    if code or done < len(todo):
        raise engine_ended(code, log, f"after {done} of {len(todo)} points")


def finished(place: Path, point: Point) -> PointResult | None:
    """What an earlier run of the same sweep measured here, if it is whole."""
    if not place.is_dir():
        return None
    try:
        row = measure(load(place), point)
    except EngineProbeError:
        return None
    return row if isinstance(row, PointResult) else None


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
        with process.stdin as stdin:
            stdin.write(msgspec.json.encode(job))
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


def save(folder: Path, sweep: SweepFile, rows: dict[int, Row]) -> None:
    """After every point, in one step."""
    partial = folder / f".{RESULT_FILE}.partial"
    result = {"sweep": sweep, "points": [rows[number] for number in sorted(rows)]}
    try:
        partial.write_bytes(msgspec.json.format(msgspec.json.encode(result)))
        partial.replace(folder / RESULT_FILE)
    except OSError as error:
        raise UnavailableError(
            f"cannot write {folder / RESULT_FILE}: {error.strerror}; every finished point is kept, go on with --resume"
        ) from error


def engine_ended(code: int, log: Path, when: str) -> EngineProbeError:
    how = f"by signal {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
    hint = " (out of memory?)" if -code == signal.SIGKILL else ""
    return UnavailableError(f"the engine's process ended {how}{hint} {when}: {last_error(log)}; see {log}")


def last_error(log: Path) -> str:
    """The last line of the log that names an error, without vLLM's time stamp."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if re.search(r"\b(\w*Error|\w*Exception|ERROR|FATAL)\b", line)]
    if not errors:
        return "its log names no error"
    return f'"{LOG_PREFIX.sub("", errors[-1])[:MOST_QUOTED]}"'
