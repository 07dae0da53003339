"""What vLLM's scheduler decided in every step, seen without the probe, and workloads that make it decide."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

MOST_STEPS = 5_000  # an engine that gets stuck never ends


class Decision(NamedTuple):
    """One step: tokens given to each request, and what was there when `schedule()` returned."""

    scheduled: tuple[tuple[str, int], ...]
    preempted: tuple[str, ...]
    running: tuple[str, ...]
    waiting: tuple[str, ...]
    free_blocks: int


@dataclass(frozen=True)
class Asked:
    """A request that is handed over after `gap` further steps."""

    gap: int
    shared: int  # tokens of a prefix that all requests share
    own: int  # further tokens of the prompt
    output_len: int
    samples: int = 1
    priority: int = 0
    aborted_after: int | None = None  # steps


@dataclass(frozen=True)
class Limits:
    """What the scheduler may use, at most what its engine was built with."""

    blocks: int
    running: int
    tokens: int  # of a step


Answers = dict[tuple[str, int], list[int]]  # (request, sample) -> its tokens


class Speculated(NamedTuple):
    """What a real engine's drafts came to: (request, tokens of its answer so far) -> a number of tokens."""

    given: dict[tuple[str, int], int]  # by the step that began with so many
    drafted: dict[tuple[str, int], int]


def decisions(engine: Any, asked: Sequence[Asked], limits: Limits, answers: Answers | None = None) -> list[Decision]:
    """Drive an in-process `LLMEngine` step by step, and return what its scheduler decided.

    `answers` gets the tokens of all answers.
    """
    core = engine.engine_core.engine_core
    assert core.scheduler.reset_prefix_cache()
    with limited(core.scheduler, limits), noted(core.scheduler) as found:
        try:
            _drive(engine, asked, {} if answers is None else answers)
        finally:
            engine.abort_request(list(engine.output_processor.request_states), internal=True)
            while core.scheduler.has_requests() or core.batch_queue:  # aborted ones in a step that is under way
                engine.step()
    return found


def _drive(engine: Any, asked: Sequence[Asked], answers: Answers) -> None:
    due, step, aborts = 0, 0, dict[str, int]()
    waiting = list(enumerate(asked))
    for step in range(MOST_STEPS):
        while waiting and (due + waiting[0][1].gap <= step or not engine.has_unfinished_requests()):
            number, request = waiting.pop(0)
            due = step
            given = {"prompt_token_ids": prompt(number, request)}
            engine.add_request(str(number), given, parameters(request), priority=request.priority)
            if request.aborted_after is not None:
                aborts[str(number)] = step + request.aborted_after
        late = [name for name, when in aborts.items() if when <= step]
        if late:
            engine.abort_request(late)
            aborts = {name: when for name, when in aborts.items() if name not in late}
        if engine.has_unfinished_requests():
            for output in engine.step():
                for sample in output.outputs:
                    answers.setdefault((output.request_id, sample.index), []).extend(sample.token_ids)
        elif not waiting:
            return
    raise AssertionError(f"the engine does not end within {MOST_STEPS} steps")


def prompt(number: int, request: Asked) -> list[int]:
    return [11] * request.shared + [100 + number] * request.own


def parameters(request: Asked) -> Any:
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    chance = {"temperature": 1.0} if request.samples > 1 else {"temperature": 0.0}
    return SamplingParams(
        max_tokens=request.output_len,
        ignore_eos=True,
        detokenize=False,
        n=request.samples,
        output_kind=RequestOutputKind.DELTA,
        **chance,
    )


@contextmanager
def limited(scheduler: Any, limits: Limits) -> Iterator[None]:
    """Hold back KV blocks and lower the limits of running requests and of a step's tokens inside the block."""
    pool = scheduler.kv_cache_manager.block_pool
    before = scheduler.max_num_active_reqs, scheduler.max_num_scheduled_tokens
    held = pool.free_block_queue.popleft_n(pool.get_num_free_blocks() - limits.blocks)
    scheduler.max_num_active_reqs, scheduler.max_num_scheduled_tokens = limits.running, limits.tokens
    try:
        yield
    finally:
        pool.free_block_queue.append_n(held)
        scheduler.max_num_active_reqs, scheduler.max_num_scheduled_tokens = before


@contextmanager
def noted(scheduler: Any) -> Iterator[list[Decision]]:
    """Note every decision inside the block."""
    found, schedule = list[Decision](), scheduler.schedule
    pool = scheduler.kv_cache_manager.block_pool

    def noting(*args: Any, **kwargs: Any) -> Any:
        output = schedule(*args, **kwargs)
        found.append(
            Decision(
                tuple((plain(name), tokens) for name, tokens in output.num_scheduled_tokens.items()),
                tuple(sorted(map(plain, output.preempted_req_ids or ()))),
                tuple(plain(request.request_id) for request in scheduler.running),
                tuple(plain(request.request_id) for request in scheduler.waiting),
                pool.get_num_free_blocks(),
            )
        )
        return output

    scheduler.schedule = noting
    try:
        yield found
    finally:
        del scheduler.schedule


@contextmanager
def speculations(scheduler: Any, found: Speculated) -> Iterator[None]:
    """Note what every step gave each request inside the block, and what was drafted after it."""
    update, take = scheduler.update_from_output, scheduler.update_draft_token_ids

    def updating(output: Any, sampled: Any) -> Any:
        for name, place in sampled.req_id_to_index.items():
            if sampled.sampled_token_ids and (request := scheduler.requests.get(name)) is not None:
                found.given[plain(name), request.num_output_tokens] = len(sampled.sampled_token_ids[place])
        return update(output, sampled)

    def taking(drafts: Any) -> Any:
        for name, tokens in zip(drafts.req_ids, drafts.draft_token_ids, strict=True):
            if (request := scheduler.requests.get(name)) is not None:
                found.drafted[plain(name), request.num_output_tokens] = len(tokens)
        return take(drafts)

    scheduler.update_from_output, scheduler.update_draft_token_ids = updating, taking
    try:
        yield
    finally:
        del scheduler.update_from_output, scheduler.update_draft_token_ids


def plain(request_id: str) -> str:
    """Return a request's number, with that of its sample: vLLM appends a random part."""
    return request_id.rpartition("-")[0] or request_id
