"""The paths of a checkout, and the error that ends a set-up with one sentence."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path


class SetupError(Exception):
    """One sentence for the user, and the exit code."""

    def __init__(self, sentence: str, exit_code: int = 3) -> None:
        super().__init__(sentence)
        self.exit_code = exit_code


class Place:
    """The paths of one checkout."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.venv = root / ".venv"
        self.python = self.venv / "bin" / "python"
        self.log = root / ".venv.log"  # beside the environment, which is removed when a set-up fails
        self.lock = root / ".venv.lock"  # held while a set-up runs; not empty while `.venv` is half written

    def stamp(self, dev: bool) -> Path:
        """Return the file written last: an environment with it is complete, for development or for sweeps."""
        return self.venv / (".engine-probe-ready" if dev else ".engine-probe-sweep-ready")

    def locks(self, flavour: str, dev: bool) -> list[Path]:
        """Return the lock files, complete lists of exact versions made by `make lock`."""
        return [self.root / "tools" / "locks" / f"{name}.txt" for name in [flavour, "dev"][: 1 + dev]]

    @property
    def half_made(self) -> bool:
        return self.lock.exists() and self.lock.stat().st_size > 0

    def mark_half_made(self, begun: bool) -> None:
        self.lock.write_text("writing .venv\n" if begun else "", encoding="utf-8")

    def remove_half_made(self) -> bool:
        """Remove a half-written `.venv` and tell whether there was one. Keep a complete one."""
        if not (self.venv.exists() and self.half_made):
            return False
        with suppress(FileNotFoundError):  # an installer that was just killed may still be removing files
            shutil.rmtree(self.venv)
        self.mark_half_made(False)
        return True


def say(line: str) -> None:
    print(f"set-up: {line}", flush=True)
