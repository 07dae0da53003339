"""Where things lie in a checkout, and the one sentence that ends a failed set-up."""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


class SetupError(Exception):
    """One sentence for the person at the keyboard, and the exit code."""

    def __init__(self, sentence: str, exit_code: int = 3) -> None:
        super().__init__(sentence)
        self.exit_code = exit_code


@dataclass(frozen=True)
class Place:
    """Where things lie in a checkout."""

    root: Path

    @property
    def venv(self) -> Path:
        return self.root / ".venv"

    @property
    def python(self) -> Path:
        return self.venv / "bin" / "python"

    @property
    def log(self) -> Path:
        """Beside the environment, which goes when a set-up fails."""
        return self.root / ".venv.log"

    @property
    def stamp(self) -> Path:
        """Written last: an environment with this file is complete."""
        return self.venv / ".engine-probe-ready"

    @property
    def unfinished(self) -> Path:
        """Lies there while packages are written: an environment with this file holds half of something."""
        return self.venv / ".engine-probe-unfinished"

    @property
    def lock(self) -> Path:
        return self.root / ".venv.lock"

    @property
    def making(self) -> bool:
        """Whether a set-up that made `.venv` has not come to its end: what is there of it is ours, and half-made."""
        return self.lock.exists() and self.lock.stat().st_size > 0

    def mark_making(self, begun: bool) -> None:
        self.lock.write_text("making .venv\n" if begun else "", encoding="utf-8")

    def remove_half_made(self) -> bool:
        """Nothing half-written is left behind; an environment that was whole before stays."""
        if not (self.venv.exists() and (self.making or self.unfinished.exists())):
            return False
        with suppress(OSError):  # a full disk has no room for the mark, and is what this frees
            self.mark_making(True)
        shutil.rmtree(self.venv)
        self.mark_making(False)
        return True


def say(line: str) -> None:
    print(f"set-up: {line}", flush=True)
