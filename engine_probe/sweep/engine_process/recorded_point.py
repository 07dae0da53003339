"""Measuring a point on a warm engine into its recording, or on the cores of a twin into one of each."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from engine_probe.engine.twin.data_parallel import DataParallelEngine, DataParallelLLM
from engine_probe.engine.twin.drafts.acceptance import check_drafts
from engine_probe.engine.twin.settings import Twin
from engine_probe.errors import EngineProbeError, UnavailableError
from engine_probe.hook.engine_core import answer_so_far
from engine_probe.probe import Probe
from engine_probe.record.run_folder import REPLICA_FOLDER
from engine_probe.sweep.engine_process.exit_reason import failure_in_point
from engine_probe.sweep.engine_process.messages import Failed, Message, Task
from engine_probe.sweep.engine_process.steady_stop import SteadyStop
from engine_probe.sweep.results.driver_log import WarmedUp, driver_log, write_driver_log, write_questions
from engine_probe.workload.answers import AnswerLog, KeepAnswers, Tokens
from engine_probe.workload.driver import Delivery, PlanOutcome
from engine_probe.workload.load import FURTHER
from engine_probe.workload.prompts import Conversations
from engine_probe.workload.question_set.question_prompts import Questions
from engine_probe.workload.request_plan import Plan
from engine_probe.workload.traces.ideal_hits import ideal_hits
from engine_probe.workload.traces.trace_file import Trace
from engine_probe.workload.workload_run import run_plan

Tell = Callable[[Message], None]


@contextmanager
def report_failure(tell: Tell, *probes: Probe) -> Iterator[None]:
    """Report a failure before cleanup, which may itself run out of memory, and mark the recordings incomplete."""
    try:
        yield
    except EngineProbeError:
        raise
    except Exception as error:
        tell(Failed(failure_in_point(error), UnavailableError.exit_code))
        for probe in probes:
            if probe.recording is not None:
                probe.recording.fail(error)
        raise


def run_probed(
    llm: Any, task: Task, plan: Plan, warmed: WarmedUp | None, force: bool, tell: Tell, start_ns: int | None = None
) -> None:
    point = task.point
    facts, kept = facts_of(task, plan, warmed), point.answers or KeepAnswers()
    # What this machine does meanwhile says nothing of the engine that a twin stands for.
    telemetry = point.engine.twin is None
    with Probe(llm, task.folder, facts=facts, force=force, operators=point.operators, telemetry=telemetry) as probe:
        if isinstance(point.workload.prompts, Questions):
            write_questions(Path(task.folder), point.workload.prompts)
        if isinstance(point.workload.prompts, Trace | Conversations):
            block_tokens = probe.folder.facts["kv"]["block_size_tokens"]
            probe.folder.facts["ideal_hits"] = ideal_hits(plan, block_tokens)
        decode = partial(llm.get_tokenizer().decode, skip_special_tokens=True) if kept.keep == "text" else None
        answers = AnswerLog(probe.recorder.answers.append, kept, partial(so_far, llm.llm_engine), decode)
        steady = SteadyStop(point.stop.steady, probe.recorder) if point.stop.steady else None
        wait_until(start_ns)
        with report_failure(tell, probe):
            outcome = run_plan(llm, plan, point.stop, steady, answers)
        log = driver_log(plan, outcome, warmed, steady.steadiness() if steady else None)
        probe.folder.facts["outcome"] = msgspec.to_builtins(log)


def facts_of(task: Task, plan: Plan, warmed: WarmedUp | None) -> dict[str, Any]:
    """Return what `run.json` holds of the point."""
    point = task.point
    asked = {**msgspec.to_builtins(point.workload), "sha256": plan.sha256, "notes": plan.notes}
    kept = point.answers or KeepAnswers()
    noted = {"stop": point.stop, "warm_up": warmed, "answers": kept, "point": {"id": task.id, "label": point.label}}
    facts = {"workload": asked, **{name: msgspec.to_builtins(value) for name, value in noted.items()}}
    if point.engine.twin is not None:
        twin = msgspec.convert(point.engine.twin, Twin)
        accepted = check_drafts(point.engine.arguments, twin.acceptance)
        facts["predicted"] = msgspec.to_builtins(msgspec.structs.replace(twin, acceptance=accepted))
    return facts


def run_cores(llm: DataParallelLLM, task: Task, plan: Plan, warmed: WarmedUp | None, force: bool, tell: Tell) -> None:
    """Record each core of a twin, with its own requests, into a folder below the point's."""
    facts, kept, engine = facts_of(task, plan, warmed), task.point.answers or KeepAnswers(), llm.llm_engine
    folders = [Path(task.folder, REPLICA_FOLDER.format(number)) for number, _ in enumerate(llm.llms, 1)]
    engine.begin()
    with ExitStack() as recording:
        probes = [
            recording.enter_context(Probe(one, folder, facts=facts, force=force, telemetry=False))
            for one, folder in zip(llm.llms, folders, strict=True)
        ]
        decode = partial(llm.get_tokenizer().decode, skip_special_tokens=True) if kept.keep == "text" else None

        def append(row: tuple[Any, ...]) -> None:
            probes[engine.cores[row[1]]].recorder.answers.append(row)

        deliveries: list[Delivery] = []
        answers = AnswerLog(append, kept, lambda name: so_far(engine.engine_of(name), name), decode)
        with report_failure(tell, *probes):
            outcome = run_plan(llm, plan, task.point.stop, answers=answers, deliveries=deliveries)
            engine.settle()
        for number, probe in enumerate(probes):
            own = [each for each in deliveries if engine.cores[each.request_id] == number]
            part = outcome_of_core(outcome, own, number, engine)
            probe.folder.facts["outcome"] = msgspec.to_builtins(driver_log(plan, part, warmed))


def outcome_of_core(
    outcome: PlanOutcome, own: Sequence[Delivery], number: int, engine: DataParallelEngine
) -> PlanOutcome:
    """Return what became of the requests that one core got; those that no core got are told of the first."""
    further = [each for each in own if each.request_id.startswith(FURTHER)]
    ended = Counter(each.outcome for each in own)
    ended.subtract(each.outcome for each in further)
    return msgspec.structs.replace(
        outcome,
        measured=ended,
        further=len(further),
        lateness_ns=[each.lateness_ns for each in own],
        answered_tokens=sum(engine.asked_tokens[each.request_id] for each in own if each.finished_ns is not None),
        steps=engine.steps[number],
        never_handed=0 if number else outcome.never_handed,
        not_asked=0 if number else outcome.not_asked,
    )


def wait_until(wall_ns: int | None) -> None:
    """Sleep until this moment of the wall clock; not at all if it has passed, or is None."""
    if wall_ns is not None:
        time.sleep(max(0, wall_ns - time.time_ns()) / 1e9)


def so_far(llm_engine: Any, request_id: str) -> Tokens | None:
    """Return the answer so far of a request in flight. None if vLLM does not tell it."""
    answer = answer_so_far(llm_engine, request_id)
    return None if answer is None else Tokens.of(answer)


def run_unprobed(llm: Any, task: Task, plan: Plan, warmed: WarmedUp | None) -> None:
    """Measure a point with the probe off: the driver's clock is all that is kept."""
    outcome = run_plan(llm, plan)
    write_driver_log(Path(task.folder), driver_log(plan, outcome, warmed))
