"""The work of attention in each step: the tokens read from the KV cache, and the pairs of tokens multiplied.

A decode token attends to all tokens of its request, whose number follows from its place in the answer; the stretches of
iterations in the requests table give the sum over all requests of a step. Prompts computed in a single step are known
from their rows. The other live tokens belong to chunked prompts: with one of them in a step the pairs are exact; with
several, n tokens in all after e earlier ones, they lie between an even split of n with e counted once, and all n in one
prompt.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from engine_probe.analysis.run.token_times import flat
from engine_probe.analysis.statistics.arrays import Integers, Reals


@dataclass(frozen=True, eq=False)
class Bounds:
    """Lower and upper bound of each step; the figure is exact if they agree."""

    least: Reals
    most: Reals

    @classmethod
    def exact(cls, values: Reals) -> Bounds:
        return cls(values, values)

    def __add__(self, other: Bounds | Reals) -> Bounds:
        more = other if isinstance(other, Bounds) else Bounds.exact(other)
        return Bounds(self.least + more.least, self.most + more.most)

    def __mul__(self, factor: float) -> Bounds:
        return Bounds(self.least * factor, self.most * factor)


@dataclass(frozen=True, eq=False)
class Attended:
    tokens: Bounds  # attended to in a step, each counted once per request
    pairs: Bounds  # of a token in the step and a token it attends to, itself included


def attended(iterations: pa.Table, requests: pa.Table) -> Attended:
    """Bound the attention work of each step, without speculative decoding and with full attention in every layer."""
    held, decode, prompt, scheduled, running = (iterations[name].to_numpy().astype(np.float64) for name in COLUMNS)
    prompts = scheduled - decode
    single = single_step_prompts(iterations, requests)
    live, prompt, prompts = held - single.tokens, prompt - single.computed, prompts - single.prompts
    counted, contexts = decode_contexts(requests, iterations.num_rows)
    exact = counted == decode  # not if a request has no row, because it was cut off or began before the probe
    whole = running == scheduled  # else running requests that were not scheduled hold some of the live tokens
    rest = np.maximum(live - prompt, decode)  # attended to besides the prompts' own tokens, if all were scheduled
    only_answers = prompt == 0
    answers = Bounds(
        np.select([only_answers & whole, exact], [live, contexts], decode),
        np.select([only_answers & whole, exact], [live, contexts], rest),
    )
    among = Bounds(
        np.where(prompts > 1, prompt**2 / np.maximum(2 * prompts, 1), prompt**2 / 2) + prompt / 2,
        (prompt**2 + prompt) / 2,
    )
    before = np.maximum(rest - answers.least, 0)  # upper bound; attended to by one token of a prompt, or by all
    least_before = np.where(prompts > 1, 1, prompt) * np.where(exact & whole, before, 0)
    shared_out = ~exact & whole & ~only_answers  # answers and prompts together attend to the rest, at least once
    pairs = Bounds(
        np.where(shared_out, rest, answers.least + least_before) + among.least,
        np.where(exact, answers.most, np.where(only_answers, answers.most, decode)) + prompt * before + among.most,
    )
    least = answers.least + prompt + single.tokens
    return Attended(Bounds(np.where(whole, held, least), held), pairs + single.pairs)


COLUMNS = ("kv_tokens_live", "decode_tokens", "prefill_tokens", "scheduled_requests", "running_requests")


@dataclass(frozen=True, eq=False)
class SingleStepPrompts:
    """The sums over prompts that a step computed completely, apart from their cached tokens."""

    prompts: Reals
    computed: Reals
    tokens: Reals  # cached ones included
    pairs: Reals


def single_step_prompts(iterations: pa.Table, requests: pa.Table) -> SingleStepPrompts:
    started = requests.filter(
        pc.and_(pc.is_valid(requests["first_scheduled_ns"]), pc.is_valid(requests["first_token_iteration"]))
    )
    number = started["first_token_iteration"].to_numpy()
    begun = started["first_scheduled_ns"].to_numpy() == iterations["start_ns"].to_numpy()[number]
    prompt, cached = (started[name].to_numpy().astype(np.float64)[begun] for name in ("prompt_tokens", "cached_tokens"))
    computed = prompt - cached
    pairs = computed * cached + computed * (computed + 1) / 2

    def of_step(what: Reals) -> Reals:
        return np.bincount(number[begun], weights=what, minlength=iterations.num_rows).astype(np.float64)

    return SingleStepPrompts(of_step(np.ones(len(prompt))), of_step(computed), of_step(prompt), of_step(pairs))


def decode_contexts(requests: pa.Table, steps: int) -> tuple[Reals, Reals]:
    """Return for every step the number of decode tokens known from the requests, and the tokens they attend to.

    The k-th token of an answer attends to the prompt and k - 1 tokens; within a stretch k grows by one with every step,
    so that sums over stretches are differences at their two ends. Accepted drafts lengthen all later steps' contexts;
    those being verified are not counted.
    """
    there = requests.filter(pc.is_valid(requests["queued_ns"]))
    starts, row = flat(there["run_starts"])
    lengths, _ = flat(there["run_lengths"])
    if not len(starts):
        return np.zeros(steps), np.zeros(steps)
    first = np.r_[True, row[1:] != row[:-1]]
    earlier = np.cumsum(lengths) - lengths
    earlier = earlier - np.repeat(earlier[first], np.bincount(row)[row[first]])  # tokens before this stretch
    # The step that ends a prompt, also one recomputed after a preemption, has no decode token of the request.
    skip = (first | (there["preemptions"].to_numpy()[row] > 0)).astype(np.int64)
    ends = starts + lengths
    in_stretch, begins, extra = accepted_tokens(there, starts, row, steps)
    accepted = np.bincount(in_stretch, weights=extra, minlength=len(starts))
    before = np.cumsum(accepted) - accepted
    before = before - np.repeat(before[first], np.bincount(row)[row[first]])  # accepted in the request's own stretches
    context = there["prompt_tokens"].to_numpy()[row] + earlier - starts + before
    counted, contexts = summed(starts + skip, ends, context.astype(np.float64), steps)
    at_begin, at_end = (
        np.bincount(places, weights=extra, minlength=steps + 1) for places in (begins, ends[in_stretch])
    )
    return counted, contexts + np.cumsum(at_begin - at_end)[:steps]


def accepted_tokens(
    requests: pa.Table, starts: Integers, row: Integers, steps: int
) -> tuple[Integers, Integers, Reals]:
    """Return for each step that gave a request several tokens: its stretch, the next step, and the further tokens."""
    burst, of_row = flat(requests["burst_iterations"])
    tokens, _ = flat(requests["burst_tokens"])
    span = steps + 1
    in_stretch = np.searchsorted(row * span + starts, of_row * span + burst, side="right") - 1
    return in_stretch.astype(np.int64), (burst + 1).astype(np.int64), tokens.astype(np.float64) - 1


def summed(begins: Integers, ends: Integers, offsets: Reals, steps: int) -> tuple[Reals, Reals]:
    """Return for every step how many stretches contain it, and the sum of (offset + number of the step) over them."""
    size = steps + 1
    count = np.cumsum(np.bincount(begins, minlength=size) - np.bincount(ends, minlength=size))[:steps]
    at_begin, at_end = (np.bincount(places, weights=offsets, minlength=size) for places in (begins, ends))
    offset = np.cumsum(at_begin - at_end)[:steps]
    return count.astype(np.float64), offset + count * np.arange(steps)
