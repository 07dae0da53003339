"""Where things lie in a checkout, and the one sentence that ends a failed set-up."""

from __future__ import annotations

import shutil
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
        return self.venv / "setup.log"

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
        """Whether `.venv` itself was being made when an earlier set-up ended: what is there of it is ours."""
        return self.lock.exists() and self.lock.stat().st_size > 0

    def mark_making(self, begun: bool) -> None:
        self.lock.write_text("making .venv\n" if begun else "", encoding="utf-8")

    def clear_half_made(self) -> bool:
        """Frees what an environment takes up that will be made anew anyhow; the log stays."""
        if not (self.venv.exists() and (self.making or self.unfinished.exists())):
            return False
        self.mark_making(True)
        for entry in self.venv.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            elif entry != self.log:
                entry.unlink()
        return True


def say(line: str) -> None:
    print(f"set-up: {line}", flush=True)
