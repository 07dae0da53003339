"""The process that holds the engine: `python -m engine_probe.sweep.engine_process PIPE < job.json`.

Its standard output and error are the engine's log; what it has to tell goes through the pipe.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

import msgspec

from engine_probe.engine.build import build_llm
from engine_probe.engine.processes import die_with_parent
from engine_probe.errors import EngineProbeError
from engine_probe.probe import Probe
from engine_probe.sweep.messages import Began, Ended, Failed, Job, Message, Said
from engine_probe.workload.prompts import RandomPrompts
from engine_probe.workload.run import plan_for, run_plan
from engine_probe.workload.spec import Workload

WARM_UP_TOKENS = 4


def measure_all(job: Job, tell: Callable[[Message], None]) -> None:
    """Every point on one warm engine, each recorded into a folder of its own."""
    tell(Said(f"starting vLLM on {job.engine.model}"))
    llm = build_llm(job.engine.spec, say=lambda text: tell(Said(text)))
    plans = [plan_for(llm, workload.description()) for workload in job.workloads]
    tell(Said("warming up"))
    warm_up(llm)
    for number, (workload, plan, folder) in enumerate(zip(job.workloads, plans, job.folders, strict=True)):
        tell(Began(number))
        with Probe(llm, folder, force=job.force, workload=msgspec.to_builtins(workload)):
            run_plan(llm, plan)
        tell(Ended(number))


def warm_up(llm: Any) -> None:
    """Whatever is made at the first request is made now."""
    asked = Workload(RandomPrompts(WARM_UP_TOKENS), output_len=WARM_UP_TOKENS, num_prompts=1)
    run_plan(llm, plan_for(llm, asked))


def main() -> None:
    die_with_parent()
    pipe = int(sys.argv[1])
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=Job)

    def tell(message: Message) -> None:
        os.write(pipe, msgspec.json.encode(message) + b"\n")

    try:
        measure_all(job, tell)
    except EngineProbeError as error:
        tell(Failed(str(error), error.exit_code))
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
