"""A process in place of an engine's: it starts at once, and a script says what becomes of each point.

The script is a JSON file that `ENGINE_SCRIPT` names: what happens at a concurrency, or at the `start`. Without a word
about it a point is measured: its recording is the one that lies in the folder `ENGINE_RECORDINGS` for its concurrency.
The script is read again for every point, so a test may change it. Of several engines that measure a point together each
has words of its own, by the name of its folder: `replica-2`, and `ready-replica-2` for before it is ready. `points.log`
beside it lists each point that began, and the process.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any


def main() -> None:
    script = Path(os.environ["ENGINE_SCRIPT"])
    sys.stdin.readline()  # the engine, which is none
    tell("StartStep", text="starting")
    act(json.loads(script.read_text()).get("start", ""), 0)
    for number, line in enumerate(iter(sys.stdin.readline, "")):
        task = json.loads(line)
        level = task["point"]["workload"]["concurrency"]
        with script.with_name("points.log").open("a") as log:
            log.write(f"{level} {os.getpid()}\n")
        tell("Began", number=number)
        actions, name = json.loads(script.read_text()), Path(task["folder"]).name
        if task["together"]:
            act(actions.get(f"ready-{name}", ""), number)
            tell("Ready", number=number)
            script.with_name(f"start-{name}").write_text(sys.stdin.readline())
        action = actions.get(name, actions.get(f"c{level}", "measure"))
        if action.endswith("-last"):
            wait_for_the_first(Path(task["folder"]))
        if action == "measure":
            shutil.copytree(Path(os.environ["ENGINE_RECORDINGS"]) / str(level), task["folder"])
            tell("Ended", number=number)
        else:
            act(action.removesuffix("-last"), number)


def wait_for_the_first(folder: Path) -> None:
    while not (folder.with_name("replica-1") / "run.json").exists():
        time.sleep(0.05)
    time.sleep(1)  # for what it still copies


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
