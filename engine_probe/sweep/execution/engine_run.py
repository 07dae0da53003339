"""Task after task on one engine, and what its process tells of each."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pyarrow as pa

from engine_probe.engine.cpu.cpu_kv_pool import KvNeed
from engine_probe.errors import EngineProbeError, InputError, UnavailableError
from engine_probe.perplexity.scoring import Scoring
from engine_probe.recordings.live_reader import LiveReader
from engine_probe.sweep.definition.sweep_file import EngineSection
from engine_probe.sweep.engine_process.crash_cause import worker_crash
from engine_probe.sweep.engine_process.messages import Began, Ended, Failed, Job, Noted, Refused, Said, Task
from engine_probe.sweep.engine_process.process import EngineProcess, started
from engine_probe.sweep.engine_process.start_log import StartLog
from engine_probe.sweep.execution.events import Finished, NeverBeganError, Numbered, Running
from engine_probe.sweep.execution.folders import set_aside
from engine_probe.sweep.results.point_results import FAILED, Row, Unmeasured, row_at

TICK_SECONDS = 1.0


class Allowance(msgspec.Struct, frozen=True):
    """How long an engine may take (None: as long as it likes), and the most KV cache that its points can use."""

    start_seconds: float | None = None  # until its first point begins
    point_seconds: float | None = None
    need: KvNeed | None = None  # None: nobody knows


ENDLESS = Allowance()


class GivenUpError(UnavailableError):
    """A point took too long; the engine was well."""


def run_engine(
    engine: EngineSection,
    tasks: Iterator[Numbered],
    log: Path,
    force: bool = False,
    allowance: Allowance = ENDLESS,
    tick_seconds: float | None = None,
) -> Running:
    """Task after task on one engine; None as an event when a tick has passed and there is nothing to say.

    Returns None when there is no task left, or the row of the task that ended the engine. The next task is asked for
    when somebody has seen the row of the one before.
    """
    task = next(tasks, None)
    if task is None:
        return None
    tick_seconds = tick_seconds or TICK_SECONDS
    live, begun = None, time.monotonic()
    ever_began = False
    try:
        with started(Job(engine, force, allowance.need), log) as process:
            hand_over(process, task)
            start = StartLog(log, tick_seconds)
            yield Said(f"starting vLLM on {engine.model}")
            pa.array([0])  # loads pandas now, while the engine starts, and not between its first two points
            for message in process.messages(tick_seconds):
                match message:
                    case None | Scoring() if live is not None:
                        yield live.progress() if message is None else message
                        if is_over(allowance.point_seconds, begun):
                            raise GivenUpError(f"given up after {allowance.point_seconds:g} s (point_seconds)")
                    case None | Said():
                        if ever_began:
                            yield None
                            continue
                        yield start.progress() if message is None else start.enter(message.text)
                        if is_over(allowance.start_seconds, begun):
                            raise UnavailableError(
                                f"given up after {allowance.start_seconds:g} s without a first point (start_seconds); "
                                f"all the engine said is in {log}"
                            )
                    case Noted():
                        yield message
                    case Began():
                        if not ever_began:
                            yield start.started()
                        begun, live, ever_began = time.monotonic(), LiveReader(task[2]), True
                        yield Began(task[0])
                    case Ended() | Refused():
                        live = None
                        start.keep_in(task[2])
                        yield Finished(task[0], row_of(message, task))
                        task = next(tasks, None)
                        if task is None:
                            process.no_more()
                            return None
                        hand_over(process, task)
                    case Failed(sentence, exit_code):
                        process.leave()
                        kind = InputError if exit_code == InputError.exit_code else UnavailableError
                        raise kind(f"{sentence}{worker_crash(log)}; all the engine said is in {log}")
            raise process.ended(log)
    except EngineProbeError as error:
        assert task is not None
        if not ever_began:
            raise NeverBeganError(str(error), error.exit_code, task) from error
        lost = Unmeasured(task[2].name, task[1], FAILED, str(error), error.exit_code)
        yield Finished(task[0], lost, engine_died=not isinstance(error, GivenUpError))
        return lost


def is_over(seconds: float | None, since: float) -> bool:
    return seconds is not None and time.monotonic() - since > seconds


def hand_over(process: EngineProcess, task: Numbered) -> None:
    _, point, place = task
    set_aside(place)
    process.give(Task(point, str(place)))


def row_of(message: Ended | Refused, task: Numbered) -> Row:
    _, point, place = task
    if isinstance(message, Refused):
        return Unmeasured(place.name, point, FAILED, message.sentence, InputError.exit_code)
    return row_at(place, point)
