"""The process that holds the engine: `python -m engine_probe.sweep.engine_process PIPE`.

A job and then its tasks come as lines on its standard input, each task when the one before is done.

Its standard output and error are the engine's log; what it has to tell goes through the pipe.
"""

from __future__ import annotations

import os
import statistics
import sys
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from engine_probe.engine.build import build_llm
from engine_probe.engine.processes import die_with_parent
from engine_probe.errors import EngineProbeError, InputError
from engine_probe.probe import Probe
from engine_probe.sweep.messages import Began, Ended, Failed, Job, Message, Refused, Said, Task
from engine_probe.workload.driver import Outcome
from engine_probe.workload.prompts import RandomPrompts
from engine_probe.workload.run import plan_for, run_plan
from engine_probe.workload.spec import Workload

WARM_UP_TOKENS = 4


def measure_all(job: Job, tasks: Iterable[Task], tell: Callable[[Message], None]) -> None:
    """Every task as it comes, on one warm engine, each recorded into a folder of its own."""
    tell(Said(f"starting vLLM on {job.engine.model}"))
    llm = build_llm(job.engine.spec, say=lambda text: tell(Said(text)))
    tell(Said("warming up"))
    warm_up(llm)
    for number, task in enumerate(tasks):
        try:
            plan = plan_for(llm, task.workload.description())
        except InputError as error:
            tell(Refused(number, str(error)))
            continue
        tell(Began(number))
        asked = {**msgspec.to_builtins(task.workload), "sha256": plan.sha256, "notes": plan.notes}
        with Probe(llm, task.folder, force=job.force, workload=asked) as probe:
            outcome = run_plan(llm, plan)
            probe.folder.facts["outcome"] = outcome_facts(outcome)
        tell(Ended(number))


def outcome_facts(outcome: Outcome) -> dict[str, Any]:
    """How well the plan was kept: what came late came late by the driver, not by the engine."""
    late = [delivery.lateness_ns for delivery in outcome.deliveries]
    return {
        "handed_over": len(late),
        "aborted": outcome.aborted,
        "never_handed_over": outcome.never_handed,
        "late_ns": {"median": statistics.median(late), "most": max(late)} if late else None,
    }


def warm_up(llm: Any) -> None:
    """Whatever is made at the first request is made now."""
    asked = Workload(RandomPrompts(WARM_UP_TOKENS), output_len=WARM_UP_TOKENS, num_prompts=1)
    run_plan(llm, plan_for(llm, asked))


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
