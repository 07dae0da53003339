"""`python -m tests.hostile.faults`: every function of the probe fails at its first and at a later call."""

from __future__ import annotations

import argparse
import importlib
import inspect
import logging
import os
import pickle
import pkgutil
import platform
import random
import select
import signal
import sys
import tempfile
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic, sleep
from types import FunctionType
from typing import Any

from tests.hostile.page import HANG, LOST, OTHER, OUTSIDE, TABLE, TOKENS, TRACEBACK, Verdict, command_line, put_section

TITLE = "Planted faults"
ROOMS = ("engine_probe.hook", "engine_probe.record", "engine_probe.telemetry")
MODULES = ("engine_probe.probe", "engine_probe.recording")
_WORKER, _PHASES = "hook.workers.step_rows.WorkerHook.", "hook.workers.phases.PhaseMarks."
# A fault that is planted at the edge of such a function is the caller's; what they call inside is attacked.
NOT_ATTACKED = {
    "vLLM calls these in place of its own methods, and they hold the guard themselves": (
        *(_PHASES + name for name in ("_forward_start", "_prepare")),
        *("hook.admission.Admission._allocate", "hook.admission.Admission._count_needed"),
    ),
    "the user calls these, or makes them by making a Probe, before anything is attached": (
        *(
            f"probe.Probe.{name}"
            for name in ("__init__", "__enter__", "__exit__", "detach", "failure", "folder", "run")
        ),
        *("record.recorder.Recorder.__init__", "telemetry.sampler.Sampler.__init__"),
        *("telemetry.sampler.checked_period", "telemetry.core_thread.CoreThread.__init__"),
    ),
    "these are the guards that take every other error": (
        f"{_WORKER}_fail",
        *(f"recording.Recording.{name}" for name in ("__init__", "attaching", "close", "fail", "warn_if_incomplete")),
        *("recording.Recording._detach", "record.writer.Writer._run"),
    ),
    "it takes the hooks off, and nothing stands behind it": ("hook.patches.Patches.undo",),
}
NOT_REACHABLE = "Functions within functions are not replaced either; what they call is."
WRAPPERS = {
    FunctionType: lambda function: function,
    staticmethod: staticmethod,
    classmethod: classmethod,
    property: property,
}
LATER = 12  # a later call is at most this one
EVERY = 25  # functions after which a log hears of them
LIMIT_SECONDS, PATIENCE_SECONDS = 30.0, 5.0


@dataclass(frozen=True)
class Place:
    """A function of the probe, where it is looked up."""

    owner: Any
    name: str
    label: str


@dataclass(frozen=True)
class Outcome:
    place: str
    call: int
    reached: bool
    status: str
    wrong: tuple[tuple[str, str], ...]  # kind and what went wrong


def places() -> list[Place]:
    names = list(MODULES)
    for room in ROOMS:
        package = importlib.import_module(room)
        names += [found.name for found in pkgutil.walk_packages(package.__path__, f"{room}.")]
    found = [place for name in sorted(names) for place in functions_of(importlib.import_module(name))]
    left_out = {label for labels in NOT_ATTACKED.values() for label in labels}
    if unknown := left_out - {place.label for place in found}:
        raise LookupError(f"NOT_ATTACKED names what is not there: {', '.join(sorted(unknown))}")
    return [place for place in found if place.label not in left_out]


def functions_of(module: Any) -> Iterator[Place]:
    short = module.__name__.removeprefix("engine_probe.")
    for name, value in sorted(vars(module).items()):
        if getattr(value, "__module__", None) != module.__name__:
            continue
        if inspect.isclass(value):
            for method, function in sorted(vars(value).items()):
                if type(function) in WRAPPERS:
                    yield Place(value, method, f"{short}.{name}.{method}")
        elif isinstance(value, FunctionType):
            yield Place(module, name, f"{short}.{name}")


def plant(place: Place, call: int) -> Callable[[], int]:
    """Let the function fail at this call, wherever it was imported to; what it gives disarms and counts the calls."""
    found = vars(place.owner)[place.name]
    original = getattr(found, "fget", None) or getattr(found, "__func__", found)
    calls, armed = 0, True

    def failing(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += armed
        if armed and calls == call:
            raise RuntimeError("planted")
        return original(*args, **kwargs)

    def disarm() -> int:
        nonlocal armed
        armed = False
        return calls

    setattr(place.owner, place.name, WRAPPERS[type(found)](failing))
    for module in [module for name, module in sys.modules.items() if name.startswith("engine_probe")]:
        for name, value in list(vars(module).items()):
            if value is original:
                setattr(module, name, failing)
    return disarm


def in_fork(call: Callable[[], Any], seconds: float) -> Any:
    """Return what the call returned in a fork of this process. None if it hung or died."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        os.write(writing, pickle.dumps(call()))
        os._exit(0)
    os.close(writing)
    answered = bool(select.select([reading], [], [], seconds)[0])
    told = os.read(reading, 1 << 16) if answered else b""
    os.close(reading)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return pickle.loads(told) if told else None


def attack(engine: Any, place: Place, call: int, folder: Path) -> Outcome:
    """In a fork of this process, which a hang cannot hold up."""

    def guarded() -> Outcome:
        try:
            return in_child(engine, place, call, folder)
        except BaseException as error:
            return Outcome(place.label, call, True, "-", ((TRACEBACK, f"it reached the user: {error!r:.300}"),))

    outcome: Outcome | None = in_fork(guarded, LIMIT_SECONDS)
    return outcome or Outcome(place.label, call, True, "-", ((HANG, "it hung or died"),))


def calls_of(engine: Any, found: list[Place], folder: Path) -> list[int]:
    """Count the calls of each function in a recording without a fault, in a fork: one without calls cannot fail."""
    from engine_probe import Probe
    from tests.support.engines import scheduler_engine

    def count() -> list[int]:
        counts = [plant(place, 0) for place in found]
        with Probe(engine, folder):
            scheduler_engine.generate(engine)
        return [disarm() for disarm in counts]

    counts: list[int] | None = in_fork(count, LIMIT_SECONDS)
    if counts is None:
        raise RuntimeError("the recording whose calls are counted hung or died")
    return counts


def in_child(engine: Any, place: Place, call: int, folder: Path) -> Outcome:
    from engine_probe import IncompleteRecordingWarning, Probe, load
    from tests.support.engines import scheduler_engine

    before, bare = scheduler_engine.held(engine), scheduler_engine.generate(engine)
    engine.reset_prefix_cache()
    disarm = plant(place, call)
    wrong: list[tuple[str, str]] = []
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        with Probe(engine, folder):
            if scheduler_engine.generate(engine) != bare:
                wrong.append((TOKENS, "other tokens"))
    reached = disarm() >= call  # what is read from here on is read by us, not by the probe
    told = [one for one in warned if issubclass(one.category, IncompleteRecordingWarning)]
    status = load(folder).status if (folder / "run.json").exists() else "none"
    if reached and status == "complete" and told:
        wrong.append((TABLE, "complete, though it warned"))
    if status in ("incomplete", "none") and not told:
        wrong.append((LOST, f"{status}, and nothing was said"))
    if status == "complete" and counted(load(folder)) != (len(bare), sum(map(len, bare.values()))):
        wrong.append((TABLE, "complete, and requests or tokens are missing"))
    engine.reset_prefix_cache()
    if scheduler_engine.generate(engine) != bare:
        wrong.append((TOKENS, "other tokens afterwards"))
    deadline = monotonic() + PATIENCE_SECONDS  # a worker that was not told notices by itself
    while (threads := our_threads()) or scheduler_engine.held(engine) != before:
        if monotonic() > deadline:
            wrong.append((OTHER, f"threads are left: {threads}" if threads else "hooks are left"))
            break
        sleep(0.05)
    return Outcome(place.label, call, reached, status, tuple(wrong))


def counted(run: Any) -> tuple[int, int]:
    """Return the requests and the output tokens of a recording, by two tables."""
    return run.requests.num_rows, sum(run.iterations["output_tokens"].to_pylist())


def our_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("engine_probe")]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.hostile.faults", description=__doc__)
    parser.add_argument("--sample", type=int, metavar="N", help="attack only N functions, drawn by the seed [all]")
    parser.add_argument("--only", default="", help="functions whose name holds this, as `recording.`")
    parser.add_argument("--first-only", action="store_true", help="only the first call fails, not a later one too")
    parser.add_argument("--seed", type=int, default=1, help="the same seed draws the same functions and calls [1]")
    parser.add_argument("--write", type=Path, help="write the section to this file, as docs/results/hostile.md")
    asked = parser.parse_args()
    from engine_probe import Probe
    from tests.support.engines.scheduler_engine import generate, scheduler_engine

    logging.getLogger("engine_probe").setLevel(logging.CRITICAL)  # each fault is logged, as it should be
    engine, chance, attacked = (
        scheduler_engine(),
        random.Random(asked.seed),
        [place for place in places() if asked.only in place.label],
    )
    if asked.sample is not None:
        attacked = chance.sample(attacked, min(asked.sample, len(attacked)))
    outcomes = []
    with tempfile.TemporaryDirectory(prefix="engine_probe-faults-") as name, warnings.catch_warnings(action="ignore"):
        with Probe(engine, Path(name) / "first"):  # loads what is loaded late
            generate(engine)
        engine.reset_prefix_cache()
        called = calls_of(engine, attacked, Path(name) / "calls")
        for number, (place, calls) in enumerate(zip(attacked, called, strict=True)):
            if number % EVERY == 0:
                print(f"{number} of {len(attacked)} functions", file=sys.stderr, flush=True)
            later = chance.randint(2, max(2, min(calls, LATER)))
            for call in (1,) if asked.first_only else (1, later):
                if call > calls:
                    outcomes.append(Outcome(place.label, call, False, "-", ()))
                    continue
                outcome = attack(engine, place, call, Path(name) / f"{number}-{call}")
                outcomes.append(outcome)
                if outcome.wrong:
                    print(told(outcome), file=sys.stderr, flush=True)
    section = section_of(outcomes, "first call" if asked.first_only else "first and at a later call")
    print("\n".join(section))
    if asked.write:
        wrong = Counter(kind for outcome in outcomes for kind, _ in outcome.wrong)
        attacks = f"{len(outcomes):,} faults, {sum(outcome.reached for outcome in outcomes):,} reached"
        put_section(asked.write, TITLE, Verdict(attacks, wrong, unknown=[OUTSIDE]), section)
    return 1 if any(outcome.wrong for outcome in outcomes) else 0


def told(outcome: Outcome) -> str:
    return f"{outcome.place} at call {outcome.call}: {'; '.join(text for _, text in outcome.wrong)}"


def section_of(outcomes: list[Outcome], calls: str) -> list[str]:
    command = command_line("tests.hostile.faults", sys.argv[1:])
    reached = [outcome for outcome in outcomes if outcome.reached]
    attacked = len({outcome.place for outcome in outcomes})
    lines = [
        f"Made by `{command}` on {datetime.now(UTC):%Y-%m-%d} with Python {platform.python_version()}: each of",
        f"{attacked} functions and methods (of {len(places())}) fails at its {calls}, in a fork of a process with",
        "vLLM's real scheduler over an executor that computes nothing. A call that a recording without a fault does",
        "not make is not reached, and not run.",
        "",
        "| room | faults | reached | complete | incomplete | recording | none | wrong |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for room in sorted({outcome.place.partition(".")[0] for outcome in outcomes}):
        own = [outcome for outcome in outcomes if outcome.place.partition(".")[0] == room]
        hit = [outcome for outcome in reached if outcome in own]
        ended = Counter(outcome.status for outcome in hit)
        cells = [len(own), len(hit), *(ended[status] for status in ("complete", "incomplete", "recording", "none"))]
        lines.append(f"| {room} | {' | '.join(map(str, cells))} | {sum(bool(one.wrong) for one in own)} |")
    wrong = [f"- {told(one)}" for one in outcomes if one.wrong]
    lines += ["", *wrong] if wrong else []
    lines += ["", f"Not attacked. {NOT_REACHABLE}", ""]
    return lines + [f"- {why}: {', '.join(f'`{label}`' for label in labels)}" for why, labels in NOT_ATTACKED.items()]


if __name__ == "__main__":
    sys.exit(main())
