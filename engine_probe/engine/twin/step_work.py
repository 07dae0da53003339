"""What a step asks of the model: the figures from which its time is predicted."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class StepWork(NamedTuple):
    """Sums over the requests of a step. A prompt is also what a preemption lost and a step computes again."""

    requests: int
    prompt_tokens: int  # scheduled tokens of prompts
    answer_tokens: int  # scheduled tokens that continue answers, with the drafts that are verified
    prompt_pairs: int  # of a prompt's token in the step and a token it attends to, itself included
    answer_context: int  # tokens that the answers' tokens attend to, themselves included; drafts are not counted
    draft_tokens: int = 0  # of the answers' tokens


def step_work(scheduler_output: Any, prompt_lengths: Mapping[str, int]) -> StepWork:
    """Return the work of what vLLM's scheduler decided; `prompt_lengths` knows every request it scheduled before."""
    scheduled, drafts = scheduler_output.num_scheduled_tokens, scheduler_output.scheduled_spec_decode_tokens
    prompt_tokens = answer_tokens = prompt_pairs = answer_context = draft_tokens = 0
    for data in scheduler_output.scheduled_new_reqs:
        tokens = scheduled[data.req_id]
        prompt_tokens += tokens
        prompt_pairs += _pairs(tokens, data.num_computed_tokens)
    cached = scheduler_output.scheduled_cached_reqs
    for request_id, computed in zip(cached.req_ids, cached.num_computed_tokens, strict=True):
        tokens = scheduled[request_id]
        drafted = len(drafts[request_id]) if request_id in drafts else 0
        if tokens - drafted == 1 and computed >= prompt_lengths[request_id]:
            answer_tokens += tokens
            answer_context += computed + 1
            draft_tokens += drafted
        else:
            prompt_tokens += tokens
            prompt_pairs += _pairs(tokens, computed)
    return StepWork(len(scheduled), prompt_tokens, answer_tokens, prompt_pairs, answer_context, draft_tokens)


def _pairs(tokens: int, before: int) -> int:
    """Count the pairs in causal attention of so many tokens that follow others."""
    return tokens * before + tokens * (tokens + 1) // 2
