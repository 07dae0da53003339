"""Running commands: short questions, and long work that shows how far it is."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from bootstrap.place import Place


@dataclass(frozen=True)
class Answer:
    """What a command said."""

    code: int
    out: str
    err: str = ""

    @property
    def last_error(self) -> str:
        """The line a person would look for: pip's last ERROR, else the last line of all."""
        lines = [line.strip() for line in (self.out + "\n" + self.err).splitlines() if line.strip()]
        errors = [line for line in lines if line.lower().startswith("error")]
        return (errors or lines or ["it said nothing"])[-1]


class Shell(Protocol):
    """The two ways commands are run; the tests have one that only remembers."""

    def ask(self, command: Sequence[object], stdin: str = "") -> Answer:
        """A short question: nothing is shown."""

    def work(self, command: Sequence[object]) -> Answer:
        """Long work: its output goes to the log, and a line on the screen says how far it is."""


def progress(line: str) -> str:
    """What one line of pip's or uv's output says about how far it is, or nothing."""
    collecting = re.match(r"Collecting ([\w.-]+)", line)
    if collecting:
        return f"looking up {collecting.group(1)}"
    fetching = re.match(r"\s*(Downloading|Using cached) (?:\S*/)?([^\s/]+?)-\d\S* (\(.*\))", line)
    if fetching:
        verb = "downloading" if fetching.group(1) == "Downloading" else "taking from pip's cache"
        return f"{verb} {fetching.group(2)} {fetching.group(3)}"
    installing = re.match(r"Installing collected packages: (.*)", line)
    if installing:
        return f"writing {len(installing.group(1).split(', '))} packages"
    return ""


class Ticker:
    """One line that shows life: rewritten every second on a terminal, repeated now and then in a log."""

    def __init__(self) -> None:
        self.begun = time.monotonic()
        self.on_terminal = sys.stdout.isatty()
        self.every_seconds = 1 if self.on_terminal else 10

    def show(self, doing: str) -> None:
        line = f"set-up:   {time.monotonic() - self.begun:4.0f} s  {doing}"
        if self.on_terminal:
            print(f"\r{line[: shutil.get_terminal_size().columns - 1]}\x1b[K", end="", flush=True)
        else:
            print(line, flush=True)

    def close(self) -> None:
        if self.on_terminal:
            print("\r\x1b[K", end="", flush=True)


class RealShell:
    """Runs commands in the checkout, with nothing on their standard input but what they are given."""

    def __init__(self, place: Place, lock: int) -> None:
        self.place = place
        self.lock = lock

    def ask(self, command: Sequence[object], stdin: str = "") -> Answer:
        words = [str(word) for word in command]
        done = subprocess.run(words, input=stdin, capture_output=True, text=True, errors="replace", cwd=self.place.root)
        return Answer(done.returncode, done.stdout, done.stderr)

    def work(self, command: Sequence[object]) -> Answer:
        words = [str(word) for word in command]
        lines: list[str] = []
        with self.place.log.open("a", encoding="utf-8") as log:
            log.write(f"$ {' '.join(words)}\n")
            # The child keeps the lock: should this process be killed, no other starts beside an orphaned pip.
            process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                cwd=self.place.root,
                pass_fds=[self.lock],
            )

            def read() -> None:
                for line in process.stdout or ():
                    lines.append(line)
                    log.write(line)
                    log.flush()

            try:
                watch(read, lines)
            except BaseException:
                process.kill()
                raise
            finally:
                process.wait()
        if process.returncode:
            sys.stderr.write("".join(f"  | {line.rstrip()[:200]}\n" for line in lines[-12:]))
        return Answer(process.returncode, "".join(lines))


def watch(read: Callable[[], None], lines: list[str]) -> None:
    """Reads to the end, and says meanwhile what the latest line that says something was about."""
    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    ticker = Ticker()
    seen, doing = 0, "starting"
    while reader.is_alive():
        reader.join(timeout=ticker.every_seconds)
        fresh, seen = lines[seen:], len(lines)
        doing = ([text for text in map(progress, fresh) if text] or [doing])[-1]
        if reader.is_alive():
            ticker.show(doing)
    ticker.close()
