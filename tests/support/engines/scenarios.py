"""What the engine is put through in the tests of exactness; each runs in a process with an engine of its own.

A scenario drives the engine's own step loop twice, without the probe and with it, beside the witness. Only plain
values leave: the differences found (there must be none), and what shows that the scenario really happened.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from vllm import SamplingParams
from vllm.sampling_params import RequestOutputKind
from vllm.v1.core.sched.interface import PauseState

from engine_probe import Probe, load
from engine_probe.record.schema import WaitingReason
from tests.support.engines.fixed_prompts import greedy, prompt
from tests.support.engines.forward_pass_witness import ForwardPassWitness
from tests.support.engines.witness import (
    Witness,
    differences_of_drafts,
    differences_of_requests,
    differences_of_statistics,
)

Request = tuple[str, list[int], SamplingParams]


def drive(
    engine: Any,
    requests: list[Request],
    late: dict[int, list[Request]] | None = None,
    aborts: dict[int, list[str]] | None = None,
    priorities: dict[str, int] | None = None,
) -> dict[str, Any]:
    """Step by step until everything is done; what comes late and what is aborted is told by the step's number."""

    def add(arriving: list[Request]) -> None:
        for request_id, ids, parameters in arriving:
            priority = (priorities or {}).get(request_id, 0)
            engine.add_request(request_id, {"prompt_token_ids": ids}, parameters, priority=priority)

    outputs: dict[str, Any] = {}
    add(requests)
    step = 0
    while engine.has_unfinished_requests() or any(number >= step for number in late or {}):
        add((late or {}).get(step, []))
        if leaving := (aborts or {}).get(step):
            engine.abort_request(leaving)
        for output in engine.step():
            outputs[output.request_id] = output
        step += 1
    return outputs


def watch(llm: Any, run_it: Callable[[Any], dict[str, Any]], statistics: bool = False) -> dict[str, Any]:
    """The same twice: bare, then with the witness below the probe."""
    engine = llm.llm_engine
    core = engine.engine_core.engine_core
    before = dict(vars(core.scheduler))
    bare = run_it(engine)
    llm.reset_prefix_cache()
    witness = Witness(core)
    passes = ForwardPassWitness(core.scheduler)
    with Probe(engine, Path(tempfile.mkdtemp(prefix="engine_probe-")) / "run") as probe:
        watched = run_it(engine)
    passes.leave()
    witness.leave()
    llm.reset_prefix_cache()
    run = load(probe.folder.path)
    differences = witness.differences(run) + differences_of_requests(run, list(watched.values()), witness)
    different_passes, known_passes = passes.compare(run)
    differences += different_passes + differences_of_drafts(run, witness)
    if statistics:
        differences += differences_of_statistics(run, witness)
    if tokens_of(bare) != tokens_of(watched):
        differences.append("the tokens are not those without the probe")
    if vars(core.scheduler).keys() != before.keys():
        differences.append("something is left on the scheduler")
    return {
        "differences": differences[:20],
        "known_passes": known_passes,
        "status": run.status,
        "failure": run.facts["failure"],
        "close": run.facts["close"],
        "reasons": sorted(row["finish_reason"] for row in run.requests.to_pylist()),
        "totals": {
            name: sum(run.iterations[name].to_pylist())
            for name in run.iterations.schema.names
            if name.endswith(("_requests", "_tokens"))
        },
        "waiting_reasons": sorted({WaitingReason(code).name for code in run.iterations["waiting_reason"].to_pylist()}),
        "peaks": {name: max(run.iterations[name].to_pylist()) for name in run.iterations.schema.names},
        "bursts": sum(len(row["burst_tokens"]) for row in run.requests.to_pylist()),
        "preemptions": run.preemptions.to_pylist(),
        "drafts": run.drafts.to_pylist(),
        "draft_statistics": sum(getattr(each, "spec_decoding_stats", None) is not None for each in witness.statistics),
        "worker_tokens": run.workers["scheduled_tokens"].to_pylist() == run.iterations["scheduled_tokens"].to_pylist(),
    }


def tokens_of(outputs: dict[str, Any]) -> dict[str, list[list[int]]]:
    return {name: [list(answer.token_ids) for answer in output.outputs] for name, output in sorted(outputs.items())}


# ---- the scenarios --------------------------------------------------------------------------------------


def storm(llm: Any, statistics: bool = False) -> dict[str, Any]:
    """More than the pool holds, prompts that repeat, chunks of prompts."""
    requests = [(f"{i}", prompt(i % 8, 40 + 9 * (i % 8)), greedy(60)) for i in range(24)]
    again = [(f"{i}", prompt(i % 8, 40 + 9 * (i % 8)), greedy(20)) for i in range(24, 32)]
    return watch(llm, lambda engine: drive(engine, requests, late={50: again}), statistics)


def several_answers(llm: Any) -> dict[str, Any]:
    parameters = SamplingParams(
        n=3, max_tokens=30, temperature=1.0, ignore_eos=True, output_kind=RequestOutputKind.FINAL_ONLY
    )
    requests = [(f"{i}", prompt(i, 50), parameters) for i in range(6)]

    def sampled(engine: Any) -> dict[str, Any]:
        torch.manual_seed(5)  # a seed per request fails on the CPU where a prompt comes in chunks
        return drive(engine, requests)

    return watch(llm, sampled)


def aborts(llm: Any) -> dict[str, Any]:
    """Aborted while running, while waiting, right after a preemption storm began, and before the first step."""
    requests = [(f"{i}", prompt(i, 60), greedy(60)) for i in range(40)]
    leaving = {0: ["3"], 7: ["0", "39"], 30: ["5", "6", "38"], 45: ["7"]}
    return watch(llm, lambda engine: drive(engine, requests, aborts=leaving))


def stop_tokens(llm: Any) -> dict[str, Any]:
    everything = [(f"{i}", prompt(i, 30), greedy(40, stop_token_ids=list(range(10 + i, 200, 9)))) for i in range(12)]
    return watch(llm, lambda engine: drive(engine, everything))


def late_comers(llm: Any) -> dict[str, Any]:
    """Arrivals in every step, long prompts among short ones: the token budget passes requests over."""
    late = {step: [(f"{step}", prompt(step, 20 + 37 * (step % 9)), greedy(12))] for step in range(60)}
    return watch(llm, lambda engine: drive(engine, [], late=late))


def priorities(llm: Any) -> dict[str, Any]:
    """The important come last and throw others out."""
    requests = [(f"{i}", prompt(i, 60), greedy(60)) for i in range(20)]
    important = [(f"{i}", prompt(i, 200), greedy(30)) for i in range(100, 106)]
    ranks = {f"{i}": 20 - i for i in range(20)} | {f"{i}": -5 for i in range(100, 106)}
    return watch(llm, lambda engine: drive(engine, requests, late={12: important}, priorities=ranks))


def repetitions(llm: Any) -> dict[str, Any]:
    """Prompts that repeat themselves, so that drafts are proposed, taken and refused."""
    requests = [(f"{i}", [20 + i, 30, 40, 50 + i] * 12, greedy(70)) for i in range(16)]
    return watch(llm, lambda engine: drive(engine, requests))


def grammars(llm: Any) -> dict[str, Any]:
    from vllm.sampling_params import StructuredOutputsParams

    def shaped(index: int) -> SamplingParams:
        pattern = StructuredOutputsParams(regex=f"(ab|cd){{{3 + index % 4},9}}x")
        return SamplingParams(max_tokens=40, temperature=0, structured_outputs=pattern)

    requests = [(f"{i}", prompt(i, 30), shaped(i) if i % 2 else greedy(30)) for i in range(16)]
    return watch(llm, lambda engine: drive(engine, requests))


# ---- what keeps requests waiting ------------------------------------------------------------------------


ACTIVE = "max_num_active_reqs"


def short(count: int) -> list[Request]:
    return [(f"{i}", prompt(i, 40), greedy(12)) for i in range(count)]


def with_settings(llm: Any, requests: list[Request], **settings: int) -> dict[str, Any]:
    """Changed limits of the scheduler, or of its block manager, for one run; one that this vLLM lacks is left out."""
    scheduler = llm.llm_engine.engine_core.engine_core.scheduler
    settings = {name: value for name, value in settings.items() if name != ACTIVE or hasattr(scheduler, name)}
    owners = {name: scheduler if hasattr(scheduler, name) else scheduler.kv_cache_manager for name in settings}
    before = {name: getattr(owner, name) for name, owner in owners.items()}
    for name, value in settings.items():
        setattr(owners[name], name, value)
    try:
        return watch(llm, lambda engine: drive(engine, requests))
    finally:
        for name, value in before.items():
            setattr(owners[name], name, value)


def throttled(llm: Any) -> dict[str, Any]:
    """Prefills are held back in two of three steps, as an engine of a data-parallel group does it."""
    core, step = llm.llm_engine.engine_core.engine_core, iter(range(10**9))
    core._should_throttle_prefills = lambda: next(step) % 3 > 0
    late = {step: [(f"{step}", prompt(step, 40), greedy(12))] for step in range(0, 30, 2)}
    try:
        return watch(llm, lambda engine: drive(engine, [], late=late))
    finally:
        del core._should_throttle_prefills


def slow_grammars(llm: Any) -> dict[str, Any]:
    """Every grammar takes a tenth of a second to compile."""
    executor = llm.llm_engine.engine_core.engine_core.scheduler.structured_output_manager.executor
    submit = executor.submit

    def slowly(function: Callable[..., Any], *args: Any) -> Any:
        return submit(lambda: (time.sleep(0.1), function(*args))[1])

    executor.submit = slowly
    try:
        return grammars(llm)
    finally:
        del executor.submit


def interrupted(llm: Any) -> dict[str, Any]:
    """The prefix cache is reset while requests run; a pause lets no new request in, and resets it as well."""
    scheduler = llm.llm_engine.engine_core.engine_core.scheduler

    def run(engine: Any) -> dict[str, Any]:
        outputs: dict[str, Any] = {}
        for request_id, ids, parameters in short(24):
            engine.add_request(request_id, {"prompt_token_ids": ids}, parameters)
        step = 0
        while engine.has_unfinished_requests():
            if step == 4:
                scheduler.reset_prefix_cache(reset_running_requests=True)
            if step == 7:
                scheduler.set_pause_state(PauseState.PAUSED_NEW)
            if step == 10:
                scheduler.reset_prefix_cache(reset_running_requests=True)
                scheduler.set_pause_state(PauseState.UNPAUSED)
            for output in engine.step():
                outputs[output.request_id] = output
            step += 1
        return outputs

    return watch(llm, run)
