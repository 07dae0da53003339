"""Find the parts of a checkout's `.venv`, and tell what it holds and whether it is complete."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import sys
import tomllib
from contextlib import suppress
from pathlib import Path

THIS_PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"


class SetupError(Exception):
    """One sentence for the user, and the exit code."""

    def __init__(self, sentence: str, exit_code: int = 3) -> None:
        super().__init__(sentence)
        self.exit_code = exit_code


class Place:
    """The `.venv` of one checkout and the files beside it."""

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

    @property
    def python_version(self) -> str:
        """The Python version of the environment, such as 3.11, or of the one about to be made."""
        config = self.venv / "pyvenv.cfg"
        text = config.read_text(encoding="utf-8") if config.exists() else ""
        found = re.search(r"^version\S*\s*=\s*(\d+\.\d+)", text, re.MULTILINE)
        return found.group(1) if found else THIS_PYTHON

    def vllm(self, distribution: str) -> str:
        """Return the name and version of this distribution in `.venv`, or an empty string."""
        pattern = f"lib/python*/site-packages/{distribution.replace('-', '_')}-*.dist-info"
        return next((path.stem for path in self.venv.glob(pattern)), "")

    def recipe(self, flavour: str, dev: bool) -> str:
        """Return a digest that changes when an environment made earlier no longer suffices."""
        path = self.root / "pyproject.toml"
        try:
            pyproject = tomllib.loads(path.read_text(encoding="utf-8"))
        except tomllib.TOMLDecodeError as error:
            raise SetupError(f"{path} is not valid TOML: {error}; mend that line", 2) from error
        # The rest of pyproject.toml configures tools, and needs no new installation.
        parts = [pyproject["build-system"], pyproject["project"], self.python_version]
        parts += [lock.read_text(encoding="utf-8") for lock in self.locks(flavour, dev)]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def is_ready(self, flavour: str, dev: bool) -> bool:
        stamp, wanted = self.stamp(dev), self.recipe(flavour, dev)
        complete = not self.half_made and stamp.exists() and self.python.exists()
        return complete and stamp.read_text(encoding="utf-8", errors="replace").strip() == wanted

    def write_stamp(self, flavour: str, dev: bool) -> None:
        self.stamp(dev).write_text(self.recipe(flavour, dev) + "\n", encoding="utf-8")


def say(line: str) -> None:
    print(f"set-up: {line}", flush=True)
