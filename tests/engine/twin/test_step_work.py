from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from engine_probe.engine.twin.step_times import TERMS, Price, StepTimes, counts
from engine_probe.engine.twin.step_work import StepWork, step_work


def scheduled(new: dict[str, tuple[int, int]], cached: dict[str, tuple[int, int]]) -> Any:
    """A scheduler's output: request -> (tokens in this step, tokens computed before)."""
    return SimpleNamespace(
        scheduled_spec_decode_tokens={},
        num_scheduled_tokens={name: tokens for name, (tokens, _) in (new | cached).items()},
        scheduled_new_reqs=[SimpleNamespace(req_id=name, num_computed_tokens=at) for name, (_, at) in new.items()],
        scheduled_cached_reqs=SimpleNamespace(
            req_ids=list(cached), num_computed_tokens=[at for _, at in cached.values()]
        ),
    )


def test_a_prompt_attends_to_itself_and_to_what_was_cached() -> None:
    assert step_work(scheduled({"a": (4, 0), "b": (2, 10)}, {}), {}) == StepWork(2, 6, 0, 10 + 23, 0)


def test_an_answers_token_attends_to_all_before_it() -> None:
    assert step_work(scheduled({}, {"a": (1, 20), "b": (1, 31)}), {"a": 20, "b": 8}) == StepWork(2, 0, 2, 0, 21 + 32)


def test_a_further_chunk_and_a_prompts_last_token_are_prompt() -> None:
    work = step_work(scheduled({}, {"a": (8, 16), "b": (1, 19)}), {"a": 30, "b": 20})
    assert work == StepWork(2, 9, 0, 8 * 16 + 36 + 20, 0)


def test_a_draft_is_verified_beside_the_answers_token_and_shares_what_that_reads() -> None:
    output = scheduled({}, {"a": (4, 20), "b": (1, 31), "c": (4, 10)})
    output.scheduled_spec_decode_tokens = {"a": [8, 8, 8]}
    work = step_work(output, {"a": 20, "b": 8, "c": 30})  # that of c is a chunk of its prompt
    assert work == StepWork(3, 4, 5, 4 * 10 + 10, 21 + 32, 3)
    assert counts(work) == (1, 1, 1, 4, 5, 50, 53, 0)


def test_an_empty_step_has_no_work() -> None:
    assert step_work(scheduled({}, {}), {}) == StepWork(0, 0, 0, 0, 0)


def test_a_steps_time_is_the_sum_of_its_terms() -> None:
    times = StepTimes(
        {name: Price(float(10**place), 0.0, 5.0) for place, name in enumerate(TERMS)}, error=None, recordings=0
    )
    work = StepWork(requests=3, prompt_tokens=4, answer_tokens=2, prompt_pairs=6, answer_context=7)
    assert times.ns(work) == 1 + 10 + 100 * 1 + 1_000 * 4 + 10_000 * 2 + 100_000 * 6 + 1_000_000 * 7
