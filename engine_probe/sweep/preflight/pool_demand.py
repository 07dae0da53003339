"""What the lengths that a point's seed draws ask of an engine: KV tokens at the peak, steps, tokens of all answers.

Requests run as on an engine whose pool is never short: a prompt takes one step, each further step gives every running
request a token, and the next request takes the place of one that has ended. Tokens that all prompts share are counted
once where the prefix cache keeps them.
"""

import heapq
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from engine_probe.sweep.definition.sweep_file import Point
from engine_probe.workload.lengths import Length, Lengths
from engine_probe.workload.prompts import Chances, SharedPrefix

MOST_STEPS, MOST_REQUESTS = 2**21, 100_000  # that are simulated; a longer point has no prediction


class PoolDemand(NamedTuple):
    """Holds what the requests of a point ask of the pool."""

    shared_tokens: int  # kept once, for all of them
    own: list[tuple[int, int]]  # of each request: the tokens of its prompt that are its own, and those of its answer
    measured: int  # of them; the point ends with the last of these


def peak_tokens(point: Point, block_size: int = 1) -> int | None:
    """Return the tokens of all blocks in use at the peak. None for prompts or arrivals that decide it in flight."""
    slots = point.workload.in_flight
    held = held_by(point, block_size)
    if slots is None or held is None:
        return None
    limit = point.engine.arguments.get("max_num_seqs")
    slots = min(slots, limit) if isinstance(limit, int) else slots
    spans = list(scheduled(held, slots))
    last = last_step(spans, held)
    if last > MOST_STEPS:
        return None
    return held.shared_tokens + most_blocks(spans, last, block_size) * block_size


def fewest_steps(point: Point) -> int | None:
    """Return the steps that the drawn answers take. None for prompts or arrivals that decide it in flight."""
    slots, held = point.workload.in_flight, held_by(point, 1)
    return None if slots is None or held is None else last_step(list(scheduled(held, slots)), held)


def answer_tokens(point: Point) -> int | None:
    """Return the tokens of all measured answers that are drawn. None if they are not drawn from a description."""
    held = held_by(point, 1)
    return None if held is None else sum(answer for _, answer in held.own[: held.measured])


def held_by(point: Point, block_size: int) -> PoolDemand | None:
    work = point.workload
    if work.output_len is None or work.sessions is None or not isinstance(work.prompts, SharedPrefix | None):
        return None
    description = work.description()
    count, measured = description.num_prompts or 0, description.measured or description.num_prompts or 0
    if count > MOST_REQUESTS:
        return None
    answers = drawn(work.output_len, work.seed, "output lengths", count)
    if isinstance(work.prompts, SharedPrefix):
        asked, prefix = drawn(work.prompts.input_len, work.seed, "input lengths", count), work.prompts.prefix_len
        kept = cached_tokens(point, work.prompts, block_size)
        if kept is None:
            return None
        own = [(prefix + tokens - kept, answer) for tokens, answer in zip(asked, answers, strict=True)]
        return PoolDemand(kept * min(work.prompts.num_prefixes, count), own, measured)
    assert work.input_len is not None
    asked = drawn(work.input_len, work.seed, "input lengths", count)
    return PoolDemand(0, list(zip(asked, answers, strict=True)), measured)


def drawn(length: Length, seed: int, stream: str, count: int) -> list[int]:
    """Return the lengths that the workload of this seed has."""
    if isinstance(length, int):
        return [length] * count
    lengths = Lengths(length, Chances(seed).stream(stream))
    return [lengths.draw() for _ in range(count)]


def cached_tokens(point: Point, prompts: SharedPrefix, block_size: int) -> int | None:
    """Return how many tokens of a prompt the prefix cache shares, in whole blocks. None if only some prompts do."""
    if prompts.share == 0 or point.engine.arguments.get("enable_prefix_caching", True) is False:
        return 0
    return prompts.prefix_len // block_size * block_size if prompts.share == 1 else None


def scheduled(held: PoolDemand, slots: int) -> Iterator[tuple[int, int, int]]:
    """Yield for each request the step of its prompt, the step behind its last token, and its own prompt tokens."""
    free = [0] * slots
    for asked, answer in held.own:
        begin = free[0]
        heapq.heapreplace(free, begin + answer)
        yield begin, begin + answer, asked


def last_step(spans: Sequence[tuple[int, int, int]], held: PoolDemand) -> int:
    return max(end for _, end, _ in spans[: held.measured])


def most_blocks(spans: Sequence[tuple[int, int, int]], last: int, block_size: int) -> int:
    """Return the most blocks in use at one step; a request takes one more when its tokens begin it.

    Each request counts in `begun` where its further blocks begin and, once over, where the next would: summed along
    strides of `block_size` steps, that is one block at each of the steps between, without a look at every step.
    """
    begins, ends, asked = np.array(spans, dtype=np.int64).T
    begins, ends, asked = (column[begins <= last] for column in (begins, ends, asked))
    ends = np.minimum(ends, last + 1)
    blocks = -(-(asked + 1) // block_size)
    firsts = begins + blocks * block_size - asked  # the step whose token begins a further block
    further = np.maximum(-((firsts - ends) // block_size), 0)  # blocks, in the steps from firsts to ends
    begun = np.zeros((last + 2) // block_size * block_size + 2 * block_size, dtype=np.int64)
    grown = further > 0
    np.add.at(begun, firsts[grown], 1)
    np.add.at(begun, (firsts + further * block_size)[grown], -1)
    change = begun.reshape(-1, block_size).cumsum(axis=0).ravel()
    np.add.at(change, begins, blocks)
    np.add.at(change, ends, -(blocks + further))
    return int(change.cumsum().max(initial=0))
