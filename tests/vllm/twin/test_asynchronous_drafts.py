"""A twin whose device makes the drafts: vLLM schedules a step before it knows how many of the last one's are accepted.

vLLM's CPU build cannot run such an engine (it pins memory for a GPU), so that nothing real stands beside it here: what
is checked is that vLLM's scheduler takes what the twin answers, and that it comes to the acceptance that was given.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

InOwnProcess = Callable[..., Any]

TWIN = """
from engine_probe.engine.engine_spec import EngineSpec
from engine_probe.engine.twin.build import build_twin
from engine_probe.engine.twin.settings import Twin
from engine_probe.engine.twin.step_times import Price, StepTimes
from engine_probe.engine.twin.virtual_clock import VirtualClock

drafting = {{"method": "ngram_gpu", "num_speculative_tokens": 2, "prompt_lookup_max": 2, "prompt_lookup_min": 1}}
drafting |= {{"rejection_sample_method": "synthetic", "synthetic_acceptance_rates": {rates!r}}}
arguments = {{"block_size": 16, "num_gpu_blocks_override": {blocks}, "max_model_len": 256, "max_num_seqs": 8}}
spec = EngineSpec("tiny", {{**arguments, "speculative_config": drafting}})
twin = Twin("a test", StepTimes({{"step": Price(1e6)}}), {{"async_scheduling": True}})
llm = build_twin(spec, twin, VirtualClock(), print)
scheduler = llm.llm_engine.engine_core.engine_core.scheduler
steps, preempted, schedule = [], [], scheduler.schedule

def noting(*given, **named):
    output = schedule(*given, **named)
    steps.append(output.total_num_scheduled_tokens)
    preempted.extend(output.preempted_req_ids or ())
    return output

scheduler.schedule = noting
short = SamplingParams(max_tokens=61, ignore_eos=True, detokenize=False)
prompts = [{{"prompt_token_ids": [1 + number] * 20}} for number in range({requests})]
outputs = llm.generate(prompts, short, use_tqdm=False)
answer = {{
    "scheduler": [base.__name__ for base in type(scheduler).__mro__],
    "answered": [len(output.outputs[0].token_ids) for output in outputs],
    "steps": sum(tokens > 0 for tokens in steps),
    "preempted": len(preempted),
}}
"""


@pytest.mark.parametrize(("rates", "tokens"), [([1.0, 1.0], 3), ([1.0, 0.0], 2), ([0.0, 0.0], 1)])
def test_a_step_gives_a_token_and_the_accepted_drafts(
    rates: list[float], tokens: int, in_own_process: InOwnProcess
) -> None:
    """61 tokens: one of the prompt's step, then `tokens` of each; two more steps are scheduled before the end shows."""
    found = in_own_process(None, {}, TWIN.format(rates=rates, blocks=64, requests=1))
    assert "AsyncScheduler" in found["scheduler"]
    assert found["answered"] == [61]
    assert 1 + 60 // tokens <= found["steps"] <= 1 + 60 // tokens + 2


def test_preempted_requests_are_answered_in_full(in_own_process: InOwnProcess) -> None:
    """Eight requests of six blocks each share 17: some are preempted while a step of theirs is under way."""
    found = in_own_process(None, {}, TWIN.format(rates=[0.7, 0.4], blocks=18, requests=8))
    assert found["answered"] == [61] * 8
    assert found["preempted"] > 0
