"""`engine_probe sweep` on scripted engines, each command forked from a process that has imported what a sweep needs.

So the imports are paid once, and yet every command is a process that ends as any other, and alone gets its signals.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from tests.support.recordings.run_folders import ran, write_run

ROOT = Path(__file__).parents[3]
LEVELS = range(1, 17)  # what a script can be asked to measure
IMPORTS = (
    "engine_probe.commands.sweep.cli",
    "engine_probe.commands.sweep.in_turns",
    "engine_probe.commands.sweep.measure",
    "engine_probe.commands.sweep.sweep_argument",
    "pandas",
    "pyarrow.dataset",
    "scipy.special",
)


@dataclass(frozen=True)
class Ended:
    returncode: int
    stderr: str


class SweepServer:
    """Forks a process for every command, one at a time, and says how it ended."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(self, words: Sequence[str], folder: Path, environment: Mapping[str, str]) -> int:
        """Start `engine_probe sweep WORDS` in this folder, and return its process."""
        assert self._process.stdin is not None
        print(json.dumps([words, str(folder), dict(environment)]), file=self._process.stdin, flush=True)
        return self._number()

    def returncode(self) -> int:
        """Wait for the end of what was started last."""
        return self._number()

    def close(self) -> None:
        self._process.communicate()

    def _number(self) -> int:
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())


class ScriptedSweeps:
    """Runs `engine_probe sweep` on scripted engines in a folder."""

    def __init__(self, folder: Path, server: SweepServer, recordings: Path) -> None:
        self.folder, self.out = folder, folder / "out"
        self._server = server
        # Without vLLM's own variables, which an engine in this process may have set: they bind engines to its cores.
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("VLLM_")},
            "PYTHONPATH": str(ROOT),
            "ENGINE_SCRIPT": str(folder / "script.json"),
            "ENGINE_RECORDINGS": str(recordings),
        }
        self.script()

    def script(self, **actions: str) -> None:
        """Say what becomes of points from now on: `c4="hang"` for concurrency 4, `start="hang"`."""
        new = self.folder / "new-script.json"
        new.write_text(json.dumps(actions))
        new.replace(self.folder / "script.json")

    def run(self, *words: str) -> Ended:
        self.begin(*words)
        return self.end()

    def begin(self, *words: str) -> None:
        self._command = self._server.start(words, self.folder, self.environment)

    def interrupt(self) -> None:
        os.kill(self._command, signal.SIGINT)

    def kill(self) -> None:
        os.kill(self._command, signal.SIGKILL)

    def end(self) -> Ended:
        """Wait for the end of the command that was begun."""
        code = self._server.returncode()
        return Ended(code, (self.folder / "stderr.txt").read_text())

    @property
    def begun(self) -> list[tuple[int, int]]:
        """Return concurrency and process of every point that began, in order."""
        log = self.folder / "points.log"
        lines = log.read_text().splitlines() if log.exists() else []
        return [(int(line.split()[0]), int(line.split()[1])) for line in lines]

    @property
    def levels(self) -> list[int]:
        return [level for level, _ in self.begun]

    @property
    def rows(self) -> dict[int, dict[str, Any]]:
        """Return the rows of `sweep.json` by concurrency."""
        file = self.out / "sweep.json"
        rows = json.loads(file.read_text())["points"] if file.exists() else []
        return {row["point"]["workload"]["concurrency"]: row for row in rows}

    def statuses(self) -> dict[int, str]:
        return {level: row["status"] for level, row in self.rows.items()}


def write_recordings(folder: Path) -> Path:
    """Write what a scripted engine records at each level."""
    for level in LEVELS:
        write_run(folder / str(level), ran(level, blocks=25))
    return folder


def sweep_command(*words: str) -> NoReturn:
    """Be `engine_probe sweep WORDS` with a scripted engine in place of its engines."""
    from engine_probe.cli import main

    real = subprocess.Popen

    class Popen(real):
        def __init__(self, command: Any, **how: Any) -> None:
            if "engine_probe.sweep.engine_process.worker" in command:
                command = [sys.executable, "-m", "tests.support.sweeps.scripted_engine", command[-1]]
            super().__init__(command, **how)

    subprocess.Popen = Popen
    sys.argv = ["engine_probe", "sweep", *words]
    main()
    sys.exit()


def serve() -> None:
    for name in IMPORTS:
        import_module(name)
    gc.freeze()  # or each command walks through all that was imported when it ends
    for line in sys.stdin:
        words, folder, environment = json.loads(line)
        process = os.fork()
        if not process:
            os.chdir(folder)
            os.environ.clear()
            os.environ.update(environment)
            for stream, name in ((1, "stdout.txt"), (2, "stderr.txt")):
                os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), stream)
            sweep_command(*words)
        print(process, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)


if __name__ == "__main__":
    serve()
