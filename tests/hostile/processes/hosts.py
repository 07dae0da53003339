"""A recording on a host that lacks something: the tokens stay, and the recording is whole or says what is wrong."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.hostile.page import HANG, LOST, OTHER, OUTSIDE, TABLE, TOKENS, TRACEBACK
from tests.hostile.processes.conditions import BEFORE, INTERPRETERS, WITHIN, NotPossibleHereError
from tests.hostile.processes.subject import CrashedError, Driver, asked, build, ended, forked, wrong_rows

STEPS = 400
OUTCOMES = ("complete", "incomplete", "refused")
NOT_POSSIBLE = "not possible here"
MINE = {"here", "gone", "temporary", "elsewhere"}  # folders that a condition makes
ROOT = Path(__file__).parents[3]
START_SECONDS = 300.0  # for an interpreter that builds an engine of its own


@dataclass
class Held:
    """What became of a recording under one condition."""

    condition: str
    outcome: str = ""
    said: str = ""
    wrong: list[tuple[str, str]] = field(default_factory=list)


def hold(engine: Any, name: str, place: Path) -> Held:
    (place / "here").mkdir(parents=True)
    log = place.with_suffix(".log")
    told, code = _in_an_interpreter(name, place, log) if name in INTERPRETERS else _in_a_fork(engine, name, place, log)
    said = told.get("said", "").replace(f"{place}/", "")
    held = Held(name, told.get("outcome", ""), said, [(kind, text) for kind, text in told["wrong"]])
    if code is None:
        held.wrong.append((HANG, "it hung"))
    elif code:
        held.wrong.append((TRACEBACK, f"exit {code}: {log.read_text()[-200:]}"))
    elif not held.wrong and held.outcome not in (*OUTCOMES, NOT_POSSIBLE):
        held.wrong.append((OTHER, f"outcome {held.outcome!r}"))
    place.chmod(0o755)
    if held.outcome in ("complete", "incomplete") and name != "the folder is deleted":
        try:
            held.wrong += asked(lambda: judge(_recording(place), told), place.with_suffix(".json"))
        except CrashedError as error:
            held.wrong.append((TRACEBACK, f"load(): {error}"))
    held.wrong += [(OUTSIDE, f"a file outside: {name}") for name in _outside(place)]
    return held


def _in_a_fork(engine: Any, name: str, place: Path, log: Path) -> tuple[dict[str, Any], int | None]:
    reads, writes = os.pipe()
    process = forked(lambda: watch(engine, name, place, writes), log)
    os.close(writes)
    code = ended(process)
    with os.fdopen(reads) as answer:
        return json.loads(answer.read() or '{"wrong": []}'), code


def _in_an_interpreter(name: str, place: Path, log: Path) -> tuple[dict[str, Any], int | None]:
    found, answer = INTERPRETERS[name], place.with_suffix(".told")
    program = "import sys; sys.path.insert(0, sys.argv[1]); from tests.hostile.processes.hosts import alone; alone()"
    command = [sys.executable, *found.options, "-c", program, str(ROOT), name, str(place), str(answer)]
    environment = {**os.environ, **dict(found.environment)}
    with log.open("wb") as words:
        process = subprocess.Popen(command, stdout=words, stderr=words, env=environment, start_new_session=True)
        try:
            code: int | None = process.wait(START_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            code = None
    return json.loads(answer.read_text()) if answer.exists() else {"wrong": []}, code


def alone() -> None:
    """In an interpreter of its own: build the engine and watch it; an engine that cannot be built tells nothing."""
    name, place, answer = sys.argv[2:5]
    target = os.open(answer, os.O_WRONLY | os.O_CREAT)
    try:
        engine = build()
    except BaseException as error:
        told = {"outcome": NOT_POSSIBLE, "said": f"vLLM: {type(error).__name__}: {error}"[:300], "wrong": []}
        os.write(target, json.dumps(told).encode())
        return
    watch(engine, name, Path(place), target)


def watch(engine: Any, name: str, place: Path, answer: int) -> None:
    """Record under the condition, go on without the probe, and tell what came of it."""
    from engine_probe import Probe
    from engine_probe.errors import EngineProbeError, IncompleteRecordingWarning

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # as Python does; the writer gets EFBIG
    os.chdir(place / "here")
    driver = Driver(engine)
    told: dict[str, Any] = {"outcome": "", "said": "", "wrong": []}
    try:
        if name in BEFORE:
            BEFORE[name](place)
        with Probe(engine, place / "run") as probe:
            for step in range(STEPS):
                if step == STEPS // 2 and name in WITHIN:
                    WITHIN[name](place)
                driver.step()
                time.sleep(0.001)
            told |= {"outcome": "attached", "finished": driver.finished}
        told["outcome"] = "incomplete" if probe.failure else "complete"
        told["said"] = ((probe.failure or "").strip().splitlines() or [""])[-1]
    except NotPossibleHereError as error:
        told |= {"outcome": NOT_POSSIBLE, "said": str(error)}
    except EngineProbeError as error:
        told |= {"outcome": "refused", "said": str(error)}
    except IncompleteRecordingWarning as error:
        told |= {"outcome": "incomplete", "said": str(error)}
    except BaseException as error:
        where = "__exit__" if told["outcome"] else "__enter__ or the block"
        told["wrong"].append((TRACEBACK, f"out of {where}: {type(error).__name__}: {error}"))
    _go_on(driver, told)
    if os.path.ismount(place / "run"):  # seen by this process alone
        with suppress(OSError):
            shutil.copytree(place / "run", place / "elsewhere")
    os.write(answer, json.dumps(told, default=str).encode())


def _go_on(driver: Driver, told: dict[str, Any]) -> None:
    try:
        while driver.steps < STEPS:
            driver.step()
        driver.rest()
        told["wrong"] += [(TOKENS, f"other tokens: {name}") for name in driver.wrong_answers()[:1]]
    except BaseException as error:
        told["wrong"].append((TRACEBACK, f"the engine raised {type(error).__name__}: {error}"))


def _recording(place: Path) -> Path:
    moved = place / "elsewhere"
    return moved if moved.exists() else place / "run"


def judge(run_folder: Path, told: dict[str, Any]) -> list[tuple[str, str]]:
    """In a fork: hold the recording against what the watched process told of it."""
    from engine_probe import load
    from engine_probe.errors import EngineProbeError

    if told["outcome"] == "incomplete" and not (run_folder / "run.json").exists():
        return []  # nothing was recorded, and it was said
    try:
        run = load(run_folder)
        wrong = [(TABLE, text) for text in wrong_rows(run)]
    except EngineProbeError as error:
        return [(LOST, f"said {told['outcome']}, and load() says {error}")]
    if told["outcome"] == "complete" and run.status != "complete":
        wrong.append((LOST, f"said complete, and load() says {run.status}"))
    if run.status == "complete" and told["outcome"] != "complete":
        wrong.append((TABLE, f"said {told['outcome']}, and load() says complete"))
    if run.status == "complete" and (run.iterations.num_rows, run.requests.num_rows) != (STEPS, told["finished"]):
        wrong.append((TABLE, f"complete with {run.iterations.num_rows} steps, {run.requests.num_rows} requests"))
    return wrong


def _outside(place: Path) -> list[str]:
    """What lies beside the recording that no condition put there."""
    found = [path.name for path in place.iterdir() if path.name not in MINE | {"run"}]
    return found + [f"here/{path.name}" for path in (place / "here").iterdir()]
