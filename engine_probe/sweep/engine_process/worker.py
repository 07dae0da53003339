"""The process that holds the engine: `python -m engine_probe.sweep.engine_process PIPE`.

A job and then its tasks come as lines on its standard input, each task when the one before is done.

Its standard output and error are the engine's log; what it has to tell goes through the pipe.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from engine_probe.engine.build import build_llm
from engine_probe.engine.child_process import die_with_parent
from engine_probe.errors import EngineProbeError, InputError, UnavailableError
from engine_probe.perplexity.results import write_measured
from engine_probe.perplexity.scoring import score
from engine_probe.probe import Probe
from engine_probe.sweep.definition.sweep_file import Point
from engine_probe.sweep.engine_process.exit_reason import failed_in_a_point
from engine_probe.sweep.engine_process.messages import Began, Ended, Failed, Job, Message, Noted, Refused, Said, Task
from engine_probe.sweep.engine_process.steady_stop import SteadyStop
from engine_probe.sweep.results.driver_log import WarmedUp, driven, write_answers, write_driven
from engine_probe.workload.prompts import RandomPrompts
from engine_probe.workload.request_plan import Plan
from engine_probe.workload.run import plan_for, run_plan
from engine_probe.workload.spec import Workload
from engine_probe.workload.stop import Stop

Tell = Callable[[Message], None]

FIRST_TOKENS = 4
OTHER_SEED = 1 << 20  # added for warming up: other prompts than those that are measured


def measure_all(job: Job, tasks: Iterable[Task], tell: Tell) -> None:
    """Every task as it comes, on one warm engine, each recorded into a folder of its own."""
    llm = build_llm(job.engine.spec, need=job.need, say=lambda t: tell(Said(t)), note=lambda t: tell(Noted(t)))
    for number, task in enumerate(tasks):
        point = task.point
        tell(Began(number))
        try:
            with failures_told(tell):
                if point.quality is not None:
                    write_measured(Path(task.folder), score(llm, point.quality, tell))
                    tell(Ended(number))
                    continue
                plan = plan_for(llm, point.workload.description())
                warmed = warm_up(llm, point, first=number == 0)
                empty_prefix_cache(llm)
        except InputError as error:
            tell(Refused(number, str(error)))
            continue
        if point.probe:
            run_probed(llm, task, plan, warmed, job.force, tell)
        else:
            with failures_told(tell):
                run_unprobed(llm, task, plan, warmed)
        tell(Ended(number))


@contextmanager
def failures_told(tell: Tell, probe: Probe | None = None) -> Iterator[None]:
    """Before anything is closed, for which there may be no memory left; and no recording passes for a whole one."""
    try:
        yield
    except EngineProbeError:
        raise
    except Exception as error:
        tell(Failed(failed_in_a_point(error), UnavailableError.exit_code))
        if probe is not None and probe.recording is not None:
            probe.recording.fail(error)
        raise


def run_probed(llm: Any, task: Task, plan: Plan, warmed: WarmedUp | None, force: bool, tell: Tell) -> None:
    point = task.point
    asked = {**msgspec.to_builtins(point.workload), "sha256": plan.sha256, "notes": plan.notes}
    known = {"workload": asked, "stop": msgspec.to_builtins(point.stop), "warm_up": msgspec.to_builtins(warmed)}
    with Probe(llm, task.folder, facts=known, force=force) as probe:
        steady = SteadyStop(point.stop.steady, probe.recorder) if point.stop.steady else None
        with failures_told(tell, probe):
            outcome = run_plan(llm, plan, point.stop, steady)
        found = driven(plan, outcome, warmed, steady.facts() if steady else None)
        probe.folder.facts["outcome"] = msgspec.to_builtins(found)
        write_answers(Path(task.folder), outcome)


def run_unprobed(llm: Any, task: Task, plan: Plan, warmed: WarmedUp | None) -> None:
    """Nothing but the driver's clock, which points with a recording have too."""
    outcome = run_plan(llm, plan)
    write_driven(Path(task.folder), driven(plan, outcome, warmed))


def warm_up(llm: Any, point: Point, first: bool) -> WarmedUp | None:
    """What the point asks for before it; whatever vLLM makes at its first request is made at one short request."""
    asked, work = point.warm_up, point.workload
    if asked.own_workload:
        before = msgspec.structs.replace(work, seed=work.seed + OTHER_SEED)
        begun = time.monotonic()
        plan = plan_for(llm, before.description())
        outcome = run_plan(llm, plan, Stop(seconds=asked.seconds, requests=asked.requests))
        return WarmedUp(time.monotonic() - begun, len(outcome.deliveries) - outcome.aborted, outcome.aborted)
    if first and not asked.none:
        run_plan(llm, plan_for(llm, Workload(RandomPrompts(FIRST_TOKENS), output_len=FIRST_TOKENS, num_prompts=1)))
    return None


def empty_prefix_cache(llm: Any) -> None:
    """Or a point would find the prompts of those before it, and depend on the order of points."""
    if not llm.reset_prefix_cache():
        raise InputError("vLLM does not empty its prefix cache: requests of the point before are still in it")


def main() -> None:
    die_with_parent()
    pipe = int(sys.argv[1])
    told = sys.stdin.buffer
    job = msgspec.json.decode(told.readline(), type=Job)
    tasks = (msgspec.json.decode(line, type=Task) for line in told)

    def tell(message: Message) -> None:
        os.write(pipe, msgspec.json.encode(message) + b"\n")

    try:
        measure_all(job, tasks, tell)
    except EngineProbeError as error:
        tell(Failed(str(error), error.exit_code))
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
