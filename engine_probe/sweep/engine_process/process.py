"""The engine's process seen from outside: started, spoken to, listened to, and ended whatever it is at."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from engine_probe.engine.out_of_memory import kernel_kills
from engine_probe.errors import EngineProbeError, UnavailableError
from engine_probe.sweep.engine_process.exit_reason import engine_ended
from engine_probe.sweep.engine_process.messages import Job, Message, Task

END_SECONDS = 20  # for the engine to let go of its memory and files
# What the user sets wins. OpenMP's threads spin while they wait: on a CPU engine with another program on one of its
# cores that makes a step take a second instead of 40 ms.
# The faulthandler writes to the log what a crashed process was running: the engine's, and those that vLLM starts.
ENGINE_ENVIRONMENT = {"OMP_WAIT_POLICY": "passive", "PYTHONUNBUFFERED": "1", "PYTHONFAULTHANDLER": "1"}
MESSAGES = msgspec.json.Decoder(Message)


@dataclass(frozen=True)
class EngineProcess:
    """`worker.py` at work, and the pipe through which it tells."""

    process: subprocess.Popen[bytes]
    pipe: int
    kills_before: int | None  # that the kernel had counted

    def give(self, what: Job | Task) -> None:
        """One that has ended does not hear it, which shows elsewhere."""
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):
            self.process.stdin.write(msgspec.json.encode(what) + b"\n")
            self.process.stdin.flush()

    def no_more(self) -> None:
        """There is no further task."""
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):
            self.process.stdin.close()

    def messages(self, tick_seconds: float) -> Iterator[Message | None]:
        """What it says until it ends; None at every tick without a word."""
        rest = b""
        while True:
            if not select.select([self.pipe], [], [], tick_seconds)[0]:
                if self.process.poll() is not None:
                    return
                yield None
                continue
            chunk = os.read(self.pipe, 1 << 16)
            if not chunk:
                return
            *lines, rest = (rest + chunk).split(b"\n")
            yield from map(MESSAGES.decode, lines)

    def ended(self, log: Path) -> EngineProbeError:
        """Why, once it has said nothing more."""
        code, kills = self.process.wait(), kernel_kills()
        meanwhile = None if kills is None or self.kills_before is None else kills - self.kills_before
        return engine_ended(code, log, meanwhile)

    def leave(self) -> None:
        """It is ending by itself, and may have a recording to close."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(END_SECONDS)

    def end(self) -> None:
        """Whatever it is still at; its recording stays readable up to the last row."""
        self.no_more()
        self.process.terminate()
        try:
            self.process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@contextmanager
def started(job: Job, log_file: Path) -> Iterator[EngineProcess]:
    """The engine in a process of its own, so that its noise goes to a file and its death is survived."""
    reading, writing = os.pipe()
    command = [sys.executable, "-m", "engine_probe.sweep.engine_process.worker", str(writing)]
    kills_before = kernel_kills()
    try:
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
        finally:
            os.close(writing)
        engine = EngineProcess(process, reading, kills_before)
        try:
            engine.give(job)
            yield engine
        finally:
            engine.end()
    except OSError as error:
        raise UnavailableError(f"{error.filename or log_file}: {error.strerror}; mend that and try again") from error
    finally:
        os.close(reading)
