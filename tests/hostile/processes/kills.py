"""`kill -9` at a random moment of recording, closing, saving `sweep.json` and going on with a sweep.

What is left must be whole and true, and nothing that was told to be finished may be missing.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from time import monotonic, monotonic_ns, sleep
from typing import Any

from tests.hostile.page import HANG, LOST, OTHER, OUTSIDE, TABLE, TRACEBACK
from tests.hostile.processes import sweep_subject
from tests.hostile.processes.subject import (
    CrashedError,
    Driver,
    asked,
    ended,
    forked,
    request_name,
    told_in,
    wrong_rows,
)

KINDS = ("recording", "closing", "sweep.json", "resume")
LONGEST_SECONDS = {"recording": 2.0, "closing": 0.06, "sweep.json": 0.5, "resume": 1.5}  # from the mark to the kill
STEPS_BEFORE_CLOSING = 300
BEGIN_SECONDS = 60.0
# What an attack itself writes beside the recording.
MINE = {"run", "told", "log", "answer.json", "answer.log", sweep_subject.SWEEP_FILE}


@dataclass
class Kill:
    """One attack: when the process was killed, what it left, and what is wrong with that, by kind."""

    kind: str
    number: int
    kills: int = 0
    status: str = ""
    lost_seconds: float = 0.0  # age of the oldest finished step that is not on disk
    finished: int = 0  # rows of finished requests, or points of a sweep
    in_flight: int = 0
    wrong: list[tuple[str, str]] = field(default_factory=list)


def kill(engine: Any, kind: str, number: int, seed: int, place: Path) -> Kill:
    attack, chance = Kill(kind, number), Random(f"{seed}/{number}/{kind}")
    place.mkdir(parents=True)
    if kind == "resume":
        _kill_sweep(engine, attack, chance, place)
    else:
        _kill_once(engine, attack, chance, place)
    left = sorted(path.name for path in place.iterdir() if path.name not in MINE)
    attack.wrong += [(OUTSIDE, f"a file outside: {name}") for name in left]
    return attack


def _kill_once(engine: Any, attack: Kill, chance: Random, place: Path) -> None:
    out, told = place / "run", place / "told"
    works: dict[str, Callable[[], object]] = {
        "recording": lambda: _record(engine, out, told, None),
        "closing": lambda: _record(engine, out, told, STEPS_BEFORE_CLOSING),
        "sweep.json": lambda: sweep_subject.save_rows(out, told),
    }
    mark = "closing" if attack.kind == "closing" else "begun"
    killed_ns = _start_and_kill(works[attack.kind], mark, attack, chance, place)
    judge = _judge_rows if attack.kind == "sweep.json" else _judge_run
    _note(attack, lambda: judge(out, told, killed_ns), place)


def _kill_sweep(engine: Any, attack: Kill, chance: Random, place: Path) -> None:
    """Kill a sweep, kill its resumption, then let it come to its end; judge what is there after each."""
    out, told = place / "run", place / "told"
    out.mkdir()
    told.with_name(sweep_subject.SWEEP_FILE).write_text(sweep_subject.SWEEP)
    for _ in range(2):
        _start_and_kill(lambda: sweep_subject.measure(engine, out, told), "begun", attack, chance, place)
        _note(attack, lambda: sweep_subject.judge(out, told, whole=False), place)
    code = ended(forked(lambda: sweep_subject.measure(engine, out, told), place / "log"))
    if code != 0:
        attack.wrong.append((HANG, "--resume hung") if code is None else (TRACEBACK, f"--resume: {_last(place)}"))
    _note(attack, lambda: sweep_subject.judge(out, told, whole=True), place)


def _start_and_kill(work: Callable[[], object], mark: str, attack: Kill, chance: Random, place: Path) -> int:
    """Kill the work some time after it told the mark; return when."""
    before = _count(place / "told", mark)
    process = forked(work, place / "log")
    until = monotonic() + BEGIN_SECONDS
    while _count(place / "told", mark) == before and monotonic() < until:
        sleep(0.001)
    sleep(chance.random() * LONGEST_SECONDS[attack.kind])
    killed_ns = monotonic_ns()
    os.kill(process, signal.SIGKILL)
    code = ended(process)
    attack.kills += code == -signal.SIGKILL
    if code not in (-signal.SIGKILL, 0):  # it may have come to its end before
        attack.wrong.append((TRACEBACK, f"exit {code}: {_last(place)}"))
    return killed_ns


def _count(told: Path, mark: str) -> int:
    return told.read_text().count(f"{mark} ") if told.exists() else 0


def _last(place: Path) -> str:
    log = place / "log"
    return (log.read_text().strip().splitlines() or ["-"])[-1][:300] if log.exists() else "-"


def _note(attack: Kill, judge: Callable[[], dict[str, Any]], place: Path) -> None:
    try:
        answer = asked(judge, place / "answer.json")
    except CrashedError as error:
        attack.wrong.append((TRACEBACK, str(error)))
        return
    attack.wrong += [(kind, text) for kind, text in answer.pop("wrong")]
    for name, value in answer.items():
        setattr(attack, name, value)


# ---- in forks -------------------------------------------------------------------------------------------


def _record(engine: Any, out: Path, told: Path, steps: int | None) -> None:
    from engine_probe import Probe

    driver = Driver(engine, told)
    with Probe(engine, out):
        driver.tell("begun")
        while steps is None or driver.steps < steps:
            driver.step()
            sleep(0.001)
        driver.tell("closing")
    driver.tell("closed")


def _judge_rows(out: Path, told: Path, _: int) -> dict[str, Any]:
    """`sweep.json` holds every row that was told to be saved, and at most one more."""
    from engine_probe.files.safe_read import read_json

    rows, saved = len(read_json(out / "sweep.json")["points"]), sum(what == "step" for what, _ in told_in(told))
    wrong = [] if rows in (saved, saved + 1) else [(LOST, f"{saved} rows were saved, sweep.json holds {rows}")]
    return {"status": "whole", "finished": rows, "wrong": wrong}


def _judge_run(out: Path, told: Path, killed_ns: int) -> dict[str, Any]:
    """What the folder holds, against what the process had told."""
    from engine_probe import load

    run, events = load(out), told_in(told)
    steps = [when for what, when in events if what == "step"]
    marks = {what for what, _ in events}
    rows = run.requests["request_id"].to_pylist()
    on_disk = run.iterations.num_rows
    wrong = [(TABLE, text) for text in wrong_rows(run)]
    if "closed" in marks and run.status != "complete":
        wrong.append((LOST, f"it was closed, and is {run.status}"))
    if "closing" in marks and run.status == "complete" and on_disk != len(steps):
        wrong.append((TABLE, f"complete with {on_disk} of {len(steps)} steps"))
    if run.status not in ("complete", "cut"):
        wrong.append((OTHER, f"its status is {run.status}"))
    flying = [] if run.status == "complete" else run.in_flight["request_id"].to_pylist()
    if set(flying) & set(rows):
        wrong.append((TABLE, "a request is in flight and finished"))
    lost_seconds = (killed_ns - steps[on_disk]) / 1e9 if on_disk < len(steps) else 0.0
    known = {request_name(row) for row in (*rows, *flying)}
    gone = [what for what, _ in events if what.startswith("finished-") and what.removeprefix("finished-") not in known]
    if gone and not lost_seconds:
        wrong.append((LOST, f"{gone[0]} in a step on disk and is in no table"))
    return {
        "status": run.status, "lost_seconds": lost_seconds, "finished": len(rows), "in_flight": len(flying),
        "wrong": wrong,
    }  # fmt: skip
