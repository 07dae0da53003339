"""Run commands, and show and log what the long ones print."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bootstrap.place import Place


@dataclass(frozen=True)
class Answer:
    """The exit code of a command and what it printed."""

    code: int
    text: str

    @property
    def error(self) -> str:
        """The cause that uv names, else the last line that begins with "error", else the last line of all."""
        causes = re.findall(r"^\s*cause: (.*)", self.text, re.MULTILINE)
        lines = [line.strip() for line in self.text.splitlines() if line.strip()]
        errors = [line for line in lines if line.lower().startswith("error")]
        return causes[0] if causes else (errors or lines or ["it printed nothing"])[-1]


class Shell:
    """Runs commands in the checkout, without standard input."""

    def __init__(self, place: Place, lock: int) -> None:
        self.place = place
        self.lock = lock

    def run(self, command: Sequence[object], environment: Mapping[str, str] = os.environ, show: bool = False) -> Answer:
        """Run a command. If it is shown, log its output; the indented lines, which are details, are only logged."""
        words = [str(word) for word in command]
        plumbing = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        try:
            # The child inherits the lock: if this process is killed, no other set-up starts beside an orphaned pip.
            process = subprocess.Popen(words, cwd=self.place.root, env=environment, pass_fds=[self.lock], **plumbing)
        except OSError as error:
            return Answer(127, str(error))
        printed = []
        with process, self.place.log.open("ab", buffering=0) as log:
            try:
                log.write(f"$ {' '.join(words)}\n".encode() if show else b"")
                for line in process.stdout or ():
                    printed.append(line)
                    log.write(line if show else b"")
                    if show and not line.startswith(b" "):
                        sys.stdout.buffer.write(line)
                        sys.stdout.flush()
            except BaseException:
                process.kill()
                raise
        return Answer(process.returncode, b"".join(printed).decode(errors="replace"))
