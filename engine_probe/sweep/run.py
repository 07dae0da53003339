"""Runs a sweep: starts the process that holds the engine, and reads from the recordings how far it is."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from engine_probe.engine.spec import EngineSpec
from engine_probe.errors import EngineProbeError, InputError, UnavailableError
from engine_probe.record.follow import Moment, Watch
from engine_probe.run import load
from engine_probe.sweep.messages import Began, Ended, Failed, Job, Message, Said
from engine_probe.sweep.plan import Point, SweepFile, points
from engine_probe.sweep.result import PointResult, Unmeasured, measure

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

Event = Said | Began | Moment | PointResult | Unmeasured | None


def run_sweep(sweep: SweepFile, folder: Path, force: bool = False) -> Generator[Event]:
    """What happens, as it happens; after every point its result is on disk."""
    todo = points(sweep)
    places = [folder / "points" / point.key(sweep.spec) for point in todo]
    done: list[PointResult | Unmeasured] = []
    for event in run_points(sweep.spec, todo, places, folder / LOG_FILE, force):
        if isinstance(event, PointResult | Unmeasured):
            done.append(event)
            save(folder, sweep, done)
        yield event


def run_points(
    spec: EngineSpec,
    todo: list[Point],
    places: list[Path],
    log: Path,
    force: bool = False,
    tick_seconds: float | None = None,
) -> Generator[Event]:
    """One engine, point after point; None when a tick has passed and there is nothing to say."""
    job = Job(spec.model, dict(spec.arguments), todo, [str(place) for place in places], force)
    done = 0
    watch: Watch | None = None
    with engine_process(job, log) as (process, pipe):
        for message in messages(process, pipe, tick_seconds or TICK_SECONDS):
            match message:
                case None if watch is not None:
                    yield watch.progress()
                case None | Said():
                    yield message
                case Began(number):
                    watch = Watch(places[number])
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


@contextmanager
def engine_process(job: Job, log_file: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """The engine in a process of its own, so that its noise goes to a file and its death is survived."""
    reading, writing = os.pipe()
    command = [sys.executable, "-m", "engine_probe.sweep.engine_process", str(writing)]
    try:
        with log_file.open("wb") as log:
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


def save(folder: Path, sweep: SweepFile, done: list[PointResult | Unmeasured]) -> None:
    """After every point, in one step."""
    partial = folder / f".{RESULT_FILE}.partial"
    partial.write_bytes(msgspec.json.format(msgspec.json.encode({"sweep": sweep, "points": done})))
    partial.replace(folder / RESULT_FILE)


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
