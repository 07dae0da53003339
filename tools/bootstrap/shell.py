"""Run commands: short questions, and long work whose progress is shown."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bootstrap.place import Place

PROGRESS = re.compile(r"^\s*((?:Collecting|Downloading|Downloaded|Building|Prepared|Installing) .{1,80})", re.MULTILINE)


@dataclass(frozen=True)
class Answer:
    """The exit code of a command and what it printed."""

    code: int
    text: str

    @property
    def last_error(self) -> str:
        """The last line that begins with "error", else the last line of all."""
        lines = [line.strip() for line in self.text.splitlines() if line.strip()]
        errors = [line for line in lines if line.lower().startswith("error")]
        return (errors or lines or ["it printed nothing"])[-1]


def show_progress(text: str, seconds: float) -> None:
    """Show the latest step: in place on a terminal, as a line of its own in a log."""
    line = f"set-up:   {seconds:4.0f} s  {(PROGRESS.findall(text) or ['starting'])[-1]}"
    if sys.stdout.isatty():
        print(f"\r{line[: shutil.get_terminal_size().columns - 1]}\x1b[K", end="", flush=True)
    else:
        print(line, flush=True)


class Shell:
    """Runs commands in the checkout, without standard input. Long ones inherit the lock."""

    def __init__(self, place: Place, lock: int) -> None:
        self.place = place
        self.lock = lock

    def ask(self, command: Sequence[object], environment: Mapping[str, str] = os.environ) -> Answer:
        """Run a short command and show nothing."""
        process = self._start(command, environment, subprocess.PIPE)
        printed, _ = process.communicate()
        return Answer(process.returncode, printed.decode(errors="replace"))

    def work(self, command: Sequence[object], environment: Mapping[str, str] = os.environ) -> Answer:
        """Run a long command: its output goes to the log, and a line on the screen shows its progress."""
        begun = time.monotonic()
        with self.place.log.open("ab") as log:
            log.write(f"$ {' '.join(map(str, command))}\n".encode())
            log.flush()
            start = log.tell()
            process = self._start(command, environment, log)
        try:
            while process.poll() is None:
                try:
                    process.wait(timeout=1 if sys.stdout.isatty() else 10)
                except subprocess.TimeoutExpired:
                    show_progress(self._printed(start), time.monotonic() - begun)
        except BaseException:
            process.kill()
            process.wait()
            raise
        if sys.stdout.isatty():
            print("\r\x1b[K", end="", flush=True)
        return Answer(process.returncode, self._printed(start))

    def _start(self, command: Sequence[object], environment: Mapping[str, str], out: Any) -> subprocess.Popen[bytes]:
        # The child inherits the lock: if this process is killed, no other set-up starts beside an orphaned pip.
        plumbing = {"stdin": subprocess.DEVNULL, "stdout": out, "stderr": subprocess.STDOUT, "pass_fds": [self.lock]}
        return subprocess.Popen(list(map(str, command)), cwd=self.place.root, env=environment, **plumbing)

    def _printed(self, start: int) -> str:
        return self.place.log.read_bytes()[start:].decode(errors="replace")
