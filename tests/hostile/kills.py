"""`kill -9` at a random moment of recording, of closing and of saving `sweep.json`: what is left is whole and true."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from time import monotonic, monotonic_ns, sleep
from typing import Any

from tests.hostile.subject import ANSWER, HANG_SECONDS, Driver, Teller, asked, ended, forked

KINDS = ("recording", "closing", "sweep.json")
STEPS_BEFORE_CLOSING = 300
BEGIN_SECONDS = 30.0


@dataclass
class Kill:
    """One attack: when the process was killed, what it left, and what is wrong with that."""

    kind: str
    number: int
    status: str = ""
    lost_seconds: float = 0.0  # age of the oldest finished step that is not on disk
    finished: int = 0
    in_flight: int = 0
    wrong: list[str] = field(default_factory=list)


def record(engine: Any, out: Path, told: Path, steps: int | None) -> None:
    from engine_probe import Probe

    driver = Driver(engine, told)
    with Probe(engine, out):
        driver.tell("begun")
        while steps is None or driver.steps < steps:
            driver.step()
            sleep(0.001)
        driver.tell("closing")
    driver.tell("closed")


def save_rows(folder: Path, told: Path) -> None:
    """Save a sweep's standing after each of its rows, as a sweep does, and tell each that is on disk."""
    from engine_probe.sweep.plan import points
    from engine_probe.sweep.read import read_sweep
    from engine_probe.sweep.result import FAILED, Unmeasured
    from engine_probe.sweep.standing import Standing

    sweep, tell = read_sweep("smoke"), Teller(told)
    folder.mkdir()
    standing = Standing(folder, sweep)
    standing.save()
    tell("begun")
    point = points(sweep)[0]
    for number in range(100_000):
        standing.rows[number] = Unmeasured(f"row{number}", point, FAILED, "x" * 200, 3)
        standing.save()
        tell("step")


def lines(told: Path) -> list[tuple[str, int]]:
    words = told.read_text().splitlines() if told.exists() else []
    return [(what, int(when)) for what, _, when in (line.partition(" ") for line in words)]


def judge(kind: str, out: Path, told: Path, killed_ns: int) -> dict[str, Any]:
    """In a fork: what the folder holds, against what the process had told."""
    events = lines(told)
    wrong: list[str] = []
    if kind == "sweep.json":
        from engine_probe.safe_read import read_json

        rows, saved = len(read_json(out / "sweep.json")["points"]), sum(what == "step" for what, _ in events)
        if rows not in (saved, saved + 1):
            wrong.append(f"{saved} rows were saved, sweep.json holds {rows}")
        return {"status": "read", "wrong": wrong}
    from engine_probe import load
    from engine_probe.record.folder import COMPLETE

    run = load(out)
    steps = [when for what, when in events if what == "step"]
    ids = [what.removeprefix("finished-") for what, _ in events if what.startswith("finished")]
    found, rows = run.iterations.num_rows, run.requests.to_pylist()
    names = [row["request_id"].rpartition("-")[0] or row["request_id"] for row in rows]
    if run.iterations["iteration"].to_pylist() != list(range(found)):
        wrong.append("iterations do not count")
    if sum(run.iterations["finished_requests"].to_pylist()) > len(rows):
        wrong.append("a step finished requests that have no row")
    wrong += [
        f"{row['request_id']} has {row['output_tokens']} tokens"
        for name, row in zip(names, rows, strict=True)
        if row["output_tokens"] != ANSWER + int(name) % 7
    ]
    if len(set(names)) != len(names):
        wrong.append("a request has two rows")
    closed = any(what == "closed" for what, _ in events)
    if closed and run.status != COMPLETE:
        wrong.append(f"it was closed, and is {run.status}")
    if any(what == "closing" for what, _ in events) and run.status == COMPLETE and found != len(steps):
        wrong.append(f"complete with {found} of {len(steps)} steps")
    flying = [] if run.status == COMPLETE else run.in_flight["request_id"].to_pylist()
    if set(flying) & {row["request_id"] for row in rows}:
        wrong.append("somebody is in flight and finished")
    lost = (killed_ns - steps[found]) / 1e9 if found < len(steps) else 0.0
    missing = [name for name in ids if name not in names]
    known = {name.rpartition("-")[0] or name for name in flying}
    lost_names = [name for name in missing if name not in known]
    if lost_names and not lost:
        wrong.append(f"{lost_names[0]} finished in a step on disk and is in no table")
    return {
        "status": run.status, "wrong": wrong, "lost_seconds": lost, "finished": len(rows), "in_flight": len(flying),
    }  # fmt: skip


def kill(engine: Any, kind: str, number: int, seed: int, place: Path) -> Kill:
    chance = Random(f"{seed}/{number}/{kind}")
    attack = Kill(kind, number)
    place.mkdir(parents=True)
    out, told = place / "run", place / "told"
    works: dict[str, Callable[[], object]] = {
        "recording": lambda: record(engine, out, told, None),
        "closing": lambda: record(engine, out, told, STEPS_BEFORE_CLOSING),
        "sweep.json": lambda: save_rows(out, told),
    }
    process = forked(works[kind], place / "log")
    until, mark = monotonic() + BEGIN_SECONDS, b"closing" if kind == "closing" else b"begun"
    while not (told.exists() and mark in told.read_bytes()) and monotonic() < until:
        sleep(0.001)
    sleep(chance.random() * {"recording": 2.0, "closing": 0.06, "sweep.json": 0.5}[kind])
    killed_ns = monotonic_ns()
    os.kill(process, signal.SIGKILL)
    code = ended(process, HANG_SECONDS)
    if code not in (-signal.SIGKILL, 0 if kind == "closing" else -signal.SIGKILL):
        attack.wrong.append(f"exit {code}: {(place / 'log').read_text()[-300:]}")
        return attack
    outside = sorted(path.name for path in place.iterdir() if path.name not in {"run", "told", "log"})
    try:
        answer = asked(lambda: judge(kind, out, told, killed_ns), place / "answer.json")
    except RuntimeError as error:
        attack.wrong.append(str(error).strip().splitlines()[-1])
        return attack
    for name, value in answer.items():
        setattr(attack, name, value)
    attack.wrong += [f"a file outside: {name}" for name in outside]
    return attack
