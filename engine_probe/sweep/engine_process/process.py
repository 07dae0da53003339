"""The engine's process seen from outside: started, given points, listened to, and ended."""

import os
import select
import subprocess
import sys
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from engine_probe.engine.failures import kernel_kills
from engine_probe.sweep.engine_process.exit_reason import engine_ended
from engine_probe.sweep.engine_process.messages import Job, Message, Start, Task

END_SECONDS = 20  # for the engine to let go of its memory and files
# What the user sets wins. OpenMP's threads spin while they wait: on a CPU engine with another program on one of its
# cores that makes a step take a second instead of 40 ms.
# The faulthandler writes to the log what a crashed process was running: the engine's, and those that vLLM starts.
ENGINE_ENVIRONMENT = {"OMP_WAIT_POLICY": "passive", "PYTHONUNBUFFERED": "1", "PYTHONFAULTHANDLER": "1"}
MESSAGES = msgspec.json.Decoder(Message)


class EngineProcess:
    """A process that runs `worker.py`, so that vLLM's output goes to a file and its death is survived."""

    def __init__(self, log: Path, environment: Mapping[str, str] | None = None) -> None:
        self._log = log
        self._kills_before = kernel_kills()
        self._messages, self._rest = deque[Message](), b""
        self._pipe, writing = os.pipe()
        command = [sys.executable, "-m", "engine_probe.sweep.engine_process.worker", str(writing)]
        try:
            with log.open("xb") as log_file:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=log_file,
                    stderr=subprocess.STDOUT,
                    pass_fds=[writing],
                    start_new_session=True,  # Ctrl-C is for this process to answer
                    env=ENGINE_ENVIRONMENT | os.environ | dict(environment or {}),
                )
        except BaseException:
            os.close(self._pipe)
            raise
        finally:
            os.close(writing)

    def give(self, line: Job | Task | Start) -> None:
        """Send the job, the next point, or its start. Ignore a closed pipe; `receive` raises why the process ended."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.write(msgspec.json.encode(line) + b"\n")
            self._process.stdin.flush()

    def receive(self, tick_seconds: float) -> Message | None:
        """Return the next message; raise the reason if the process has ended. None after a tick without a message."""
        while not self._messages:
            if not select.select([self._pipe], [], [], tick_seconds)[0]:
                if self._process.poll() is None:
                    return None
                # It may have sent its last messages after the tick and before its end.
                if not select.select([self._pipe], [], [], 0)[0]:
                    break
            chunk = os.read(self._pipe, 1 << 16)
            if not chunk:
                break
            *lines, self._rest = (self._rest + chunk).split(b"\n")
            self._messages.extend(map(MESSAGES.decode, lines))
        else:
            return self._messages.popleft()
        code, kills = self._process.wait(), kernel_kills()
        meanwhile = None if kills is None or self._kills_before is None else kills - self._kills_before
        raise engine_ended(code, self._log, meanwhile)

    def wait_for_end(self) -> None:
        """Wait for a process that is ending by itself, and may have a recording to close."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(END_SECONDS)

    def end(self) -> None:
        """End the process, even in the middle of a point; its recording stays readable up to the last row."""
        try:
            assert self._process.stdin is not None
            with suppress(BrokenPipeError):
                self._process.stdin.close()
            self._process.terminate()
            try:
                self._process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        finally:
            os.close(self._pipe)
