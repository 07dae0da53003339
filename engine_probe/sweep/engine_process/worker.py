"""The process that holds the engine: `python -m engine_probe.sweep.engine_process.worker PIPE`.

A `Job` and then its `Task`s come as lines on standard input, each task when the one before is done. Messages go
through the pipe. Standard output and error are the engine's log.
"""

import os
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec

from engine_probe.engine.build import build_llm
from engine_probe.engine.child_process import die_with_parent
from engine_probe.engine.parallelism import DATA, parallel_size
from engine_probe.engine.twin.build import build_twin
from engine_probe.engine.twin.data_parallel import build_cores
from engine_probe.engine.twin.settings import Twin
from engine_probe.engine.twin.virtual_clock import VirtualClock
from engine_probe.errors import EngineProbeError, InputError
from engine_probe.perplexity.scoring import score
from engine_probe.perplexity.text_scores import write_measured
from engine_probe.sweep.definition.sweep_file import Point
from engine_probe.sweep.engine_process import messages
from engine_probe.sweep.engine_process.recorded_point import Tell, report_failure, run_cores, run_probed, run_unprobed
from engine_probe.sweep.results.driver_log import WarmedUp
from engine_probe.workload.prompts import RandomPrompts
from engine_probe.workload.stop import Stop
from engine_probe.workload.workload_run import plan_for, run_plan
from engine_probe.workload.workload_spec import Workload

CommonStart = Callable[[], int]  # blocks until all engines of the point are warm; returns when they begin, in wall time

FIRST_TOKENS = 4
OTHER_SEED = 1 << 20  # added for warming up: other prompts than those that are measured


def measure_all(job: messages.Job, tasks: Iterable[messages.Task], tell: Tell, common_start: CommonStart) -> None:
    """Measure every task on one warm engine, each recorded into a folder of its own."""
    with ExitStack() as open_until_the_end:
        measure_on(start_engine(job, tell, open_until_the_end), job, tasks, tell, common_start)


def start_engine(job: messages.Job, tell: Tell, open_until_the_end: ExitStack) -> Any:
    """Start the engine, or its twin on a virtual clock that this process then reads."""

    def say(text: str) -> None:
        tell(messages.StartStep(text))

    def note(text: str) -> None:
        tell(messages.Notice(text))

    if job.engine.twin is None:
        return build_llm(job.engine.spec, need=job.need, engines_here=job.engines_here, say=say, note=note)
    twin = msgspec.convert(job.engine.twin, Twin)
    if twin.refusal is not None:
        raise InputError(twin.refusal)
    clock = open_until_the_end.enter_context(VirtualClock().installed())
    if (cores := parallel_size(job.engine.arguments, DATA)) > 1:
        return build_cores(job.engine.spec, cores, twin, clock, say)
    return build_twin(job.engine.spec, twin, clock, say)


def measure_on(
    llm: Any, job: messages.Job, tasks: Iterable[messages.Task], tell: Tell, common_start: CommonStart
) -> None:
    for number, task in enumerate(tasks):
        point = task.point
        tell(messages.Began(number))
        try:
            with report_failure(tell):
                if point.quality is not None:
                    write_measured(Path(task.folder), score(llm, point.quality, tell))
                    tell(messages.Ended(number))
                    continue
                plan = plan_for(llm, point.workload.description())
                warmed = warm_up(llm, point, first=number == 0)
                empty_prefix_cache(llm)
        except InputError as error:
            tell(messages.Refused(number, str(error)))
            continue
        start_ns = None
        if task.together:
            tell(messages.Ready(number))
            start_ns = common_start()
        if point.recorded_by_core:
            run_cores(llm, task, plan, warmed, job.force, tell)
        elif point.probe:
            run_probed(llm, task, plan, warmed, job.force, tell, start_ns)
        else:
            with report_failure(tell):
                run_unprobed(llm, task, plan, warmed)
        tell(messages.Ended(number))


def warm_up(llm: Any, point: Point, first: bool) -> WarmedUp | None:
    """Run the warm-up that the point asks for, or one short request before the first point.

    vLLM allocates and compiles some things at its first request.
    """
    asked, work = point.warm_up, point.workload
    if asked.own_workload:
        before = msgspec.structs.replace(work, seed=work.seed + OTHER_SEED)
        begun = time.monotonic()
        plan = plan_for(llm, before.description())
        outcome = run_plan(llm, plan, Stop(seconds=asked.seconds, requests=asked.requests))
        return WarmedUp(time.monotonic() - begun, outcome.ended, outcome.aborted)
    if first and not asked.none:
        run_plan(llm, plan_for(llm, Workload(RandomPrompts(FIRST_TOKENS), output_len=FIRST_TOKENS, num_prompts=1)))
    return None


def empty_prefix_cache(llm: Any) -> None:
    """Empty vLLM's prefix cache: a point would find the prompts of those before it, and depend on their order."""
    if not llm.reset_prefix_cache():
        raise InputError("vLLM does not empty its prefix cache: requests of the point before are still in it")


def main() -> None:
    die_with_parent()
    pipe = int(sys.argv[1])
    lines = sys.stdin.buffer
    job = msgspec.json.decode(lines.readline(), type=messages.Job)
    tasks = (msgspec.json.decode(line, type=messages.Task) for line in lines)
    if job.cores:
        os.sched_setaffinity(0, job.cores)

    def tell(message: messages.Message) -> None:
        os.write(pipe, msgspec.json.encode(message) + b"\n")

    def common_start() -> int:
        line = lines.readline()
        if not line:  # the sweep has ended
            sys.exit()
        return msgspec.json.decode(line, type=messages.Start).wall_ns

    try:
        measure_all(job, tasks, tell, common_start)
    except EngineProbeError as error:
        tell(messages.Failed(str(error), error.exit_code))
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
