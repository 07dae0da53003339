"""Answers of a real engine: the tokens, log-probabilities and text that are kept are those that vLLM returned."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from engine_probe import Probe, Run
from engine_probe.sweep.engine_process.recorded_point import so_far
from engine_probe.workload.answers import AnswerLog, KeepAnswers
from engine_probe.workload.arrivals import Burst
from engine_probe.workload.driver import PlanOutcome
from engine_probe.workload.prompts import RandomPrompts
from engine_probe.workload.request_plan import Plan
from engine_probe.workload.workload_run import plan_for, run_plan
from engine_probe.workload.workload_spec import Sampling, Workload

PROMPTS = RandomPrompts(20)


def record(llm: Any, workload: Workload, folder: Path, kept: KeepAnswers) -> tuple[Plan, PlanOutcome, Run]:
    plan = plan_for(llm, workload)
    with Probe(llm, folder, telemetry=False) as probe:
        decode = llm.get_tokenizer().decode if kept.keep == "text" else None
        answers = AnswerLog(probe.recorder.answers.append, kept, partial(so_far, llm.llm_engine), decode)
        outcome = run_plan(llm, plan, answers=answers)
    assert probe.run.status == "complete"
    return plan, outcome, probe.run


def returned(llm: Any, plan: Plan, output_len: int) -> dict[str, Any]:
    """What vLLM returns for the same prompts."""
    from vllm import SamplingParams

    asked = SamplingParams(max_tokens=output_len, ignore_eos=True, temperature=0.0, logprobs=2)
    requests = [session.requests[0] for session in plan.sessions]
    prompts = [{"prompt_token_ids": request.prompt_token_ids} for request in requests]
    outputs = llm.generate(prompts, asked, use_tqdm=False)
    return {request.id: output.outputs[0] for request, output in zip(requests, outputs, strict=True)}


@pytest.mark.parametrize("stream", [False, True])
def test_what_is_kept_is_what_vllm_returned(tiny_llm: Any, tmp_path: Path, stream: bool) -> None:
    workload = Workload(PROMPTS, Burst(), output_len=12, num_prompts=4, sampling=Sampling(stream=stream))
    plan, _, run = record(tiny_llm, workload, tmp_path / "run", KeepAnswers("text", logprobs=True))
    expected = returned(tiny_llm, plan, 12)
    assert set(run.answers["request_id"].to_pylist()) == set(run.requests["request_id"].to_pylist())
    for row in run.answers.to_pylist():
        theirs = expected[row["prompt_id"]]
        assert row["token_ids"] == theirs.token_ids
        assert row["text"] == tiny_llm.get_tokenizer().decode(theirs.token_ids)
        for place, (token, likely) in enumerate(zip(theirs.token_ids, theirs.logprobs, strict=True)):
            assert row["logprobs"][place] == pytest.approx(likely[token].logprob)
            second = max((each for each in likely if each != token), key=lambda each: likely[each].logprob)
            assert row["second_token_ids"][place] == second
            assert row["second_logprobs"][place] == pytest.approx(likely[second].logprob)


def test_a_deadline_cuts_four_of_five_and_what_they_got_is_kept(tiny_llm: Any, tmp_path: Path) -> None:
    """The first is answered in a step; the others have thousands of steps before them."""
    workload = Workload(PROMPTS, Burst(), output_len=450, num_prompts=5, deadline_seconds=0.15)
    plan = plan_for(tiny_llm, workload)
    short = Workload(PROMPTS, Burst(), output_len=1, num_prompts=1)
    plan.sessions[0] = plan_for(tiny_llm, short).sessions[0]
    with Probe(tiny_llm, tmp_path / "run", telemetry=False) as probe:
        log = AnswerLog(probe.recorder.answers.append, KeepAnswers("tokens"), partial(so_far, tiny_llm.llm_engine))
        outcome = run_plan(tiny_llm, plan, answers=log)
    run = probe.run
    by_outcome = run.answers["outcome"].to_pylist()
    assert sorted(by_outcome) == ["answered", *["deadline"] * 4]
    assert dict(outcome.measured) == {"answered": 1, "deadline": 4}
    tokens = dict(zip(run.requests["request_id"].to_pylist(), run.requests["output_tokens"].to_pylist(), strict=True))
    for row in run.answers.to_pylist():
        assert len(row["token_ids"]) == tokens[row["request_id"]]
    reasons = run.requests["finish_reason"].to_pylist()
    assert sorted(reasons) == ["abort"] * 4 + ["length"]
    assert not tiny_llm.llm_engine.has_unfinished_requests()
