"""A process in place of an engine's: it starts at once, and a script says what becomes of each point.

The script is a JSON file that `ENGINE_SCRIPT` names: what happens at a concurrency, or at the `start`. Without a word
about it a point is measured: its recording is the one that lies in the folder `ENGINE_RECORDINGS` for its concurrency.
The script is read again for every point, so a test may change it. `points.log` beside it lists each point that began,
and the process.
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
    for number, line in enumerate(sys.stdin):
        task = json.loads(line)
        level = task["point"]["workload"]["concurrency"]
        with script.with_name("points.log").open("a") as log:
            log.write(f"{level} {os.getpid()}\n")
        tell("Began", number=number)
        action = json.loads(script.read_text()).get(f"c{level}", "measure")
        if action == "measure":
            shutil.copytree(Path(os.environ["ENGINE_RECORDINGS"]) / str(level), task["folder"])
            tell("Ended", number=number)
        else:
            act(action, number)


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
