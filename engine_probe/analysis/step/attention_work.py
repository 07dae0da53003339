"""How many tokens each step attended to: what its kernels read of the KV cache, and the pairs they multiplied.

A token that continues an answer attends to all of its request, and how many that are follows from its place in the
answer: the stretches of iterations in the requests table give the sum over all requests of a step. Prompts that were
computed in a single step are known from their rows. What is left of the live tokens belongs to prompts in pieces: of
one in a step the pairs follow exactly; of several, n tokens in all with e before them, they lie between the even
split of n with e counted once, and all in one prompt.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from engine_probe.analysis.run.token_times import flat
from engine_probe.analysis.step.bounds import Bounds, Reals


@dataclass(frozen=True, eq=False)
class Attended:
    tokens: Bounds  # attended to by the requests of a step, each counted once per request
    pairs: Bounds  # of a token in the step and one it attends to, itself among them


def attended(iterations: pa.Table, requests: pa.Table) -> Attended:
    """Without speculative decoding, and with every layer attending to everything."""
    held, decode, prompt, scheduled, running = (iterations[name].to_numpy().astype(np.float64) for name in COLUMNS)
    prompts = scheduled - decode
    at_once = prompts_at_once(iterations, requests)
    live, prompt, prompts = held - at_once.tokens, prompt - at_once.computed, prompts - at_once.prompts
    counted, contexts = decode_contexts(requests, iterations.num_rows)
    known = counted == decode  # a request without a row, cut off or there before the probe, leaves its steps open
    whole = running == scheduled  # else requests that were passed over hold some of the live tokens
    rest = np.maximum(live - prompt, decode)  # attended to besides the prompts' own tokens, if whole
    only_answers = prompt == 0
    answers = Bounds(
        np.select([only_answers & whole, known], [live, contexts], decode),
        np.select([only_answers & whole, known], [live, contexts], rest),
    )
    among = Bounds(
        np.where(prompts > 1, prompt**2 / np.maximum(2 * prompts, 1), prompt**2 / 2) + prompt / 2,
        (prompt**2 + prompt) / 2,
    )
    before = np.maximum(rest - answers.least, 0)  # at most; attended to once by one token of a prompt, or by all
    least_before = np.where(prompts > 1, 1, prompt) * np.where(known & whole, before, 0)
    shared_out = ~known & whole & ~only_answers  # answers and prompts together attend to the rest, each at least once
    pairs = Bounds(
        np.where(shared_out, rest, answers.least + least_before) + among.least,
        np.where(known, answers.most, np.where(only_answers, answers.most, decode)) + prompt * before + among.most,
    )
    least = answers.least + prompt + at_once.tokens
    return Attended(Bounds(np.where(whole, held, least), held), pairs + at_once.pairs)


COLUMNS = ("kv_tokens_live", "decode_tokens", "prefill_tokens", "scheduled_requests", "running_requests")


@dataclass(frozen=True, eq=False)
class AtOnce:
    """Of the prompts that a step computed from the first token (after what was cached) to the last."""

    prompts: Reals
    computed: Reals
    tokens: Reals  # with what was cached
    pairs: Reals


def prompts_at_once(iterations: pa.Table, requests: pa.Table) -> AtOnce:
    told = requests.filter(
        pc.and_(pc.is_valid(requests["first_scheduled_ns"]), pc.is_valid(requests["first_token_iteration"]))
    )
    number = told["first_token_iteration"].to_numpy()
    begun = told["first_scheduled_ns"].to_numpy() == iterations["start_ns"].to_numpy()[number]
    prompt, cached = (told[name].to_numpy().astype(np.float64)[begun] for name in ("prompt_tokens", "cached_tokens"))
    computed = prompt - cached
    pairs = computed * cached + computed * (computed + 1) / 2

    def of_step(what: Reals) -> Reals:
        return np.bincount(number[begun], weights=what, minlength=iterations.num_rows).astype(np.float64)

    return AtOnce(of_step(np.ones(len(prompt))), of_step(computed), of_step(prompt), of_step(pairs))


def decode_contexts(requests: pa.Table, steps: int) -> tuple[Reals, Reals]:
    """For every step: how many tokens of answers it is known to have continued, and the sum of what they attend to.

    The k-th token of an answer (the first is the prompt's own) attends to the prompt and k - 1 tokens; within a
    stretch k grows by one with every step, so that sums over stretches are differences at their two ends.
    """
    there = requests.filter(pc.is_valid(requests["queued_ns"]))
    starts, row = flat(there["run_starts"])
    lengths, _ = flat(there["run_lengths"])
    if not len(starts):
        return np.zeros(steps), np.zeros(steps)
    first = np.r_[True, row[1:] != row[:-1]]
    told = np.cumsum(lengths) - lengths
    told = told - np.repeat(told[first], np.bincount(row)[row[first]])  # tokens of the answer before this stretch
    # The step that ends a prompt, or one computed again after a preemption, continues nothing.
    skip = (first | (there["preemptions"].to_numpy()[row] > 0)).astype(np.int64)
    context = there["prompt_tokens"].to_numpy()[row] + told - starts
    return summed(starts + skip, starts + lengths, context.astype(np.float64), steps)


def summed(
    begins: npt.NDArray[np.int64], ends: npt.NDArray[np.int64], offsets: Reals, steps: int
) -> tuple[Reals, Reals]:
    """In every step: how many of the stretches hold, and the sum of (offset + number of the step) over them."""
    size = steps + 1
    count = np.cumsum(np.bincount(begins, minlength=size) - np.bincount(ends, minlength=size))[:steps]
    at_begin, at_end = (np.bincount(places, weights=offsets, minlength=size) for places in (begins, ends))
    offset = np.cumsum(at_begin - at_end)[:steps]
    return count.astype(np.float64), offset + count * np.arange(steps)
