"""A process in place of an engine's: it starts at once, and a script says what becomes of each point.

The script is a JSON file that `ENGINE_SCRIPT` names: what happens at a concurrency, or at the `start`. Without a word
about it a point is measured: its recording is that of the engine in `tests/support/recordings.py`. The script is read
again for every point, so a test may change it. `points.log` beside it lists each point that began, and the process.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
# Runs `engine_probe` with this process in place of its engines.
COMMAND = """
import subprocess, sys
real = subprocess.Popen
class Popen(real):
    def __init__(self, command, **how):
        if "engine_probe.sweep.engine_process.worker" in command:
            command = [sys.executable, "-m", "tests.support.scripted_engine", command[-1]]
        super().__init__(command, **how)
subprocess.Popen = Popen
from engine_probe.cli import main
main()
"""


class ScriptedSweeps:
    """Runs `engine_probe sweep` on scripted engines in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.out = folder / "out"
        self.script()

    def script(self, **actions: str) -> None:
        """Say what becomes of points from now on: `c4="hang"` for concurrency 4, `start="hang"`."""
        new = self.folder / "new-script.json"
        new.write_text(json.dumps(actions))
        new.replace(self.folder / "script.json")

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-c", COMMAND, "sweep", *words]

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(ROOT), "ENGINE_SCRIPT": str(self.folder / "script.json")}

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


def main() -> None:
    script = Path(os.environ["ENGINE_SCRIPT"])
    sys.stdin.readline()  # the engine, which is none
    tell("StartStep", text="starting")
    act(json.loads(script.read_text()).get("start", ""), 0)
    for number, line in enumerate(sys.stdin):
        task = json.loads(line)
        level = task["point"]["workload"]["concurrency"]
        with script.with_name("points.log").open("a") as log:
            log.write(f"{level} {os.getpid()}\n")
        tell("Began", number=number)
        action = json.loads(script.read_text()).get(f"c{level}", "measure")
        if action == "measure":
            record(Path(task["folder"]), level)
            tell("Ended", number=number)
        else:
            act(action, number)


def record(folder: Path, level: int) -> None:
    from tests.support.recordings import ran, write_run

    write_run(folder, ran(level, blocks=25))


def act(action: str, number: int) -> None:
    match action:
        case "hang":
            time.sleep(600)
        case "stubborn":  # does not end when it is asked to
            asked = Path(os.environ["ENGINE_SCRIPT"]).with_name("asked-to-end")
            signal.signal(signal.SIGTERM, lambda *_: asked.touch())
            while True:
                time.sleep(600)
        case "die":
            print(f"RuntimeError: died of {os.urandom(8).hex()}", flush=True)  # never twice the same way
            os.kill(os.getpid(), signal.SIGKILL)
        case "refuse":
            tell("Refused", number=number, sentence="it cannot be asked")
        case "fail":
            tell("Failed", sentence="out of memory in the middle of the point", exit_code=3)
            sys.exit(3)


def tell(kind: str, **what: Any) -> None:
    os.write(int(sys.argv[1]), json.dumps({"type": kind, **what}).encode() + b"\n")


if __name__ == "__main__":
    main()
