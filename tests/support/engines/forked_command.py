"""Commands of this project in the process of the test, whose engines are forked from one that has imported vLLM.

Each engine is a process of its own as ever and gets its job, its points and its log as from `EngineProcess`; only that
no interpreter begins and imports vLLM for it, which takes longer than most tests. How a process begins and ends, what
it is told by signals and what vLLM says while it starts is for tests with `engine_probe` of `processes/command.py`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import chdir, redirect_stderr, redirect_stdout
from io import StringIO
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any
from unittest import mock

from tests.support.engines.forked_engine import clean_environment, forked, in_new_process

WORKER = "engine_probe.sweep.engine_process.worker"


class ForkedWorker:
    """The process of an engine: what `EngineProcess` uses of `subprocess.Popen`."""

    def __init__(
        self, command: list[str], *, stdout: IO[bytes], pass_fds: Sequence[int], env: dict[str, str], **_: Any
    ) -> None:
        assert command[1:3] == ["-m", WORKER]
        self.command = command
        reading, writing = os.pipe()
        self.stdin = os.fdopen(writing, "wb")
        lines = Connection(reading, writable=False)
        log, messages = (Connection(os.dup(end), readable=False) for end in (stdout.fileno(), *pass_fds))
        with lines, log, messages:
            self.process = forked(become_worker, lines, log, messages, env)

    def poll(self) -> int | None:
        return self.process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self.process.join(timeout)
        if self.process.exitcode is None:
            assert timeout is not None
            raise subprocess.TimeoutExpired(self.command, timeout)
        return self.process.exitcode

    def terminate(self) -> None:
        self.process.terminate()

    def kill(self) -> None:
        self.process.kill()


FORKING = SimpleNamespace(**vars(subprocess) | {"Popen": ForkedWorker})


def engine_probe_here(*words: object, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `engine_probe WORDS` with these variables set beside the others, and return what it printed."""
    from engine_probe.cli import main
    from engine_probe.sweep.engine_process import process

    command, out, err = ["engine_probe", *map(str, words)], StringIO(), StringIO()
    code = 0
    with (
        mock.patch.dict(os.environ, clean_environment() | environment, clear=True),
        mock.patch.object(process, "subprocess", FORKING),
        mock.patch.object(sys, "argv", command),
        chdir(cwd or Path.cwd()),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
    return subprocess.CompletedProcess(command, code, out.getvalue(), err.getvalue())


def become_worker(lines: Connection, log: Connection, messages: Connection, environment: dict[str, str]) -> None:
    """Run the worker as a new interpreter would."""
    from engine_probe.sweep.engine_process.worker import main

    os.setsid()
    os.dup2(lines.fileno(), 0)
    sys.stdin = os.fdopen(0, closefd=False)
    sys.argv = [WORKER, str(messages.fileno())]
    in_new_process(log.fileno(), environment, main, ())
