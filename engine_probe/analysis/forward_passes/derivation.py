"""The fields of NVIDIA Dynamo's forward-pass metrics, derived from a recording for each step that computed tokens.

Dynamo's scheduler walks over the batch and the queues in every step. A recording holds sums per step and a row per
request, from which the same figures follow:

- A request decodes in the steps that deliver a token after its first, over the KV of `prompt + tokens so far - 1`.
- A span computes a prompt, or what a preemption lost: from the step that runs the request to its next token. In one
  step it computes all that is not cached. Over several steps the last chunk is what the earlier ones left, and any
  other is what the remaining requests leave of the step's prefill tokens.
- A request is queued from `queued_ns` until the step that first runs it, and from a preemption until it is resumed.

A step is known where the requests and tokens found so are those that the step counted. The others are null.
"""

from collections import Counter
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from engine_probe.analysis.run.token_times import token_times, update_end_ns, waiting_requests
from engine_probe.analysis.statistics.arrays import Flags, Integers, Reals

NEVER = np.iinfo(np.int64).max
ALWAYS = np.iinfo(np.int64).min
SCHEDULED = (
    *("num_prefill_requests", "sum_prefill_tokens", "var_prefill_length", "sum_prefill_kv_tokens"),
    *("num_decode_requests", "sum_decode_kv_tokens", "var_decode_kv_tokens"),
)
QUEUED = tuple(name for name in SCHEDULED if name != "sum_prefill_kv_tokens")


class Batch(NamedTuple):
    """What was computed: one entry per request and step."""

    step: Integers
    tokens: Integers  # of a prompt or of what a preemption lost; 0 for a request that continues its answer
    kv: Integers  # tokens in the cache before the step
    prompt: Integers  # length of the prompt
    decodes: Flags  # the request has output tokens already


class PrefillSpan(NamedTuple):
    """The computation of a prompt, or of what a preemption lost."""

    first: int
    last: int  # the step that delivers the next token
    cached: int
    tokens: int
    prompt: int
    decodes: bool


class Deliveries(NamedTuple):
    """Steps that gave a request tokens, in the order of requests and steps."""

    row: Integers
    step: Integers
    before: Integers  # tokens that the request had already


def forward_passes(
    iterations: pa.Table, requests: pa.Table, preemptions: pa.Table, deferred_have_kv: bool = False
) -> pa.Table:
    """Return a row per step that computed tokens: number, end, wall time, and Dynamo's fields of batch and queues.

    `deferred_have_kv` says that deferred requests may wait for KV from elsewhere. Dynamo counts those as decodes, and
    the recording does not tell them from others, so that steps with deferred requests are not known.
    """
    known = np.ones(iterations.num_rows, dtype=bool)
    batch = _batch(iterations, requests, preemptions, known)
    scheduled = _scheduled(batch, iterations.num_rows)
    in_batch = np.bincount(batch.step, minlength=iterations.num_rows)
    known &= in_batch == _integers(iterations, "scheduled_requests")
    known &= _sums(batch.step, batch.tokens, iterations.num_rows) == _integers(iterations, "prefill_tokens")
    queues = _Queues(iterations, requests, preemptions)
    known &= queues.lengths(_schedule_end_ns(iterations)) == waiting_requests(iterations)
    if deferred_have_kv:
        known &= _integers(iterations, "deferred_requests") == 0
    ran = _integers(iterations, "scheduled_tokens") > 0
    fields = {f"scheduled_{name}": values for name, values in scheduled.items()}
    fields |= {f"queued_{name}": values for name, values in queues.fields(update_end_ns(iterations)).items()}
    return pa.table(
        {
            "iteration": iterations["iteration"].to_numpy()[ran],
            "end_ns": update_end_ns(iterations)[ran],
            "wall_time": _wall_ns(iterations, ran)[ran] / 1e9,
            **{name: pa.array(values[ran], mask=~known[ran]) for name, values in fields.items()},
        }
    )


def _integers(table: pa.Table, name: str, absent: int = 0) -> Integers:
    values: Integers = pc.fill_null(table[name], absent).to_numpy().astype(np.int64)
    return values


def _sums(step: Integers, values: Integers, num_steps: int) -> Integers:
    """Sum integers by step; unlike the weights of bincount, they stay integers."""
    sums = np.zeros(num_steps, dtype=np.int64)
    np.add.at(sums, step, values)
    return sums


def _moments(step: Integers, values: Integers, num_steps: int) -> tuple[Integers, Integers, Reals]:
    """Return number, sum and population variance of the values of each step."""
    count = np.bincount(step, minlength=num_steps)
    total = _sums(step, values, num_steps)
    return count, total, _variance(count, total, _sums(step, values * values, num_steps))


def _variance(count: Integers, total: Integers, squares: Integers) -> Reals:
    """Return the population variance, 0 of nothing as Dynamo has it; integers up to the division keep it exact."""
    some = np.maximum(count, 1)
    variance: Reals = (some * squares - total * total) / (some * some)
    return variance


def _scheduled(batch: Batch, num_steps: int) -> dict[str, npt.NDArray[np.generic]]:
    prefill, decode = ~batch.decodes, batch.decodes
    num_prefill, _, variance = _moments(batch.step[prefill], batch.prompt[prefill], num_steps)
    num_decode, kv, kv_variance = _moments(batch.step[decode], batch.kv[decode], num_steps)
    return {
        "num_prefill_requests": num_prefill,
        "sum_prefill_tokens": _sums(batch.step[prefill], batch.tokens[prefill], num_steps),
        "var_prefill_length": variance,
        "sum_prefill_kv_tokens": _sums(batch.step[prefill], batch.kv[prefill], num_steps),
        "num_decode_requests": num_decode,
        "sum_decode_kv_tokens": kv,
        "var_decode_kv_tokens": kv_variance,
    }


def _batch(iterations: pa.Table, requests: pa.Table, preemptions: pa.Table, known: Flags) -> Batch:
    """Return who was computed in which step; steps in which that cannot be told are marked in `known`."""
    deliveries = _deliveries(iterations, requests)
    prompt = _integers(requests, "prompt_tokens")
    spans = _spans(iterations, requests, preemptions, deliveries, known)
    ends = {(row, span.last) for row, span in spans}
    rows, steps = deliveries.row.tolist(), deliveries.step.tolist()
    ends_span = np.fromiter(((row, step) in ends for row, step in zip(rows, steps, strict=True)), bool, len(rows))
    continues = ~ends_span & (deliveries.before > 0)
    row = deliveries.row[continues]
    chunks = _chunks([span for _, span in spans], _integers(iterations, "prefill_tokens"), known)
    step, tokens, kv, length, decodes = (np.array(column, dtype=np.int64) for column in _columns(chunks))
    zeros = np.zeros(len(row), dtype=np.int64)
    return Batch(
        np.r_[step, deliveries.step[continues]],
        np.r_[tokens, zeros],
        np.r_[kv, prompt[row] + deliveries.before[continues] - 1],
        np.r_[length, prompt[row]],
        np.r_[decodes, zeros + 1].astype(bool),
    )


def _columns(chunks: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
    return list(zip(*chunks, strict=True)) or [()] * 5


def _deliveries(iterations: pa.Table, requests: pa.Table) -> Deliveries:
    tokens = token_times(iterations, requests)
    row, step = tokens["request"].to_numpy(), tokens["iteration"].to_numpy()
    new = np.r_[True, row[1:] != row[:-1]][: len(row)]
    begins = np.flatnonzero(new)
    before = np.arange(len(row)) - np.repeat(begins, np.diff(np.r_[begins, len(row)]))
    first = new | np.r_[True, step[1:] != step[:-1]][: len(row)]
    return Deliveries(row[first], step[first], before[first])


def _spans(
    iterations: pa.Table, requests: pa.Table, preemptions: pa.Table, deliveries: Deliveries, known: Flags
) -> list[tuple[int, PrefillSpan]]:
    """Return the spans that ended in a token, each with its request's row; the steps of others are not known."""
    starts_ns = iterations["start_ns"].to_numpy()
    first_ns = _integers(requests, "first_scheduled_ns", NEVER)
    first = np.searchsorted(starts_ns, first_ns)
    prompt, cached = _integers(requests, "prompt_tokens").tolist(), _integers(requests, "cached_tokens").tolist()
    begins = [(row, int(first[row]), cached[row]) for row in np.flatnonzero(first_ns < NEVER)]
    rows_of = {name: row for row, name in enumerate(requests["request_id"].to_pylist())}
    stops: dict[int, list[int]] = {}
    for event in preemptions.to_pylist():
        row = rows_of.get(event["request_id"])
        if row is None:
            continue
        stops.setdefault(row, []).append(event["iteration"])
        if event["resumed_iteration"] is not None:
            begins.append((row, event["resumed_iteration"], event["lost_tokens"] - event["recomputed_tokens"]))
    finished = np.searchsorted(starts_ns, _integers(requests, "finished_ns"))
    key = deliveries.row * (len(starts_ns) + 1) + deliveries.step
    spans = []
    for row, step, in_cache in begins:
        place = int(np.searchsorted(key, row * (len(starts_ns) + 1) + step))
        token = int(deliveries.step[place]) if place < len(key) and deliveries.row[place] == row else None
        stop = min((at for at in stops.get(row, ()) if at >= step), default=None)
        if token is None or (stop is not None and stop <= token):
            known[step : stop if stop is not None else int(finished[row])] = False
            continue
        before = int(deliveries.before[place])
        spans.append(
            (row, PrefillSpan(step, token, in_cache, prompt[row] + before - in_cache, prompt[row], before > 0))
        )
    return spans


def _chunks(spans: list[PrefillSpan], prefill_tokens: Integers, known: Flags) -> list[tuple[int, ...]]:
    """Return step, tokens, KV before, prompt length and whether it decodes, for each chunk of each span."""
    left = prefill_tokens.copy()
    for span in spans:
        if span.first == span.last:
            left[span.first] -= span.tokens
    several = sorted(span for span in spans if span.first < span.last)
    unfinished = Counter(step for span in several for step in range(span.first, span.last))
    chunks: list[tuple[int, ...]] = [
        (span.first, span.tokens, span.cached, span.prompt, int(span.decodes))
        for span in spans
        if span.first == span.last
    ]
    for span in several:
        if any(unfinished[step] > 1 for step in range(span.first, span.last)):
            known[span.first : span.last + 1] = False
            continue
        done = 0
        for step in range(span.first, span.last + 1):
            tokens = int(left[step]) if step < span.last else span.tokens - done
            left[step] -= tokens
            if tokens > 0:  # a step may leave it out
                chunks.append((step, tokens, span.cached + done, span.prompt, int(span.decodes)))
            done += tokens
    return chunks


class _Queues:
    """Who waits at a given time: requests that never ran, and preempted ones, whose KV is gone."""

    def __init__(self, iterations: pa.Table, requests: pa.Table, preemptions: pa.Table) -> None:
        left = np.minimum(_integers(requests, "first_scheduled_ns", NEVER), _integers(requests, "finished_ns"))
        queued = _integers(requests, "queued_ns", ALWAYS)
        prompt = _integers(requests, "prompt_tokens")
        self._new = [_Steps(queued, left, weights) for weights in (np.ones_like(prompt), prompt, prompt * prompt)]
        names = pa.array(requests["request_id"].to_pylist(), pa.string())
        rows = pc.index_in(preemptions["request_id"].cast(pa.string()), names)
        finished = _integers(requests, "finished_ns")
        rows_known = pc.fill_null(rows, 0).to_numpy().astype(np.int64)
        end = np.where(pc.is_valid(rows).to_numpy(), finished[rows_known] if len(finished) else 0, NEVER)
        preempted = _integers(preemptions, "preempted_ns")
        back = np.minimum(_integers(preemptions, "resumed_ns", NEVER), end)
        self._preempted = _Steps(preempted, back, np.ones_like(preempted))

    def lengths(self, at_ns: Integers) -> Integers:
        return self._new[0].at(at_ns) + self._preempted.at(at_ns)

    def fields(self, at_ns: Integers) -> dict[str, npt.NDArray[np.generic]]:
        count, total, squares = (steps.at(at_ns) for steps in self._new)
        nothing = np.zeros(len(at_ns), dtype=np.int64)
        return {
            "num_prefill_requests": count,
            "sum_prefill_tokens": total,
            "var_prefill_length": _variance(count, total, squares),
            "num_decode_requests": self._preempted.at(at_ns),
            "sum_decode_kv_tokens": nothing,  # a preempted request holds no KV
            "var_decode_kv_tokens": nothing.astype(np.float64),
        }


class _Steps:
    """Sums weights, each of which counts from its begin to its end, both included."""

    def __init__(self, begin: Integers, end: Integers, weights: Integers) -> None:
        self._begins, self._begun = _ordered(begin, weights)
        self._ends, self._ended = _ordered(end, weights)

    def at(self, at_ns: Integers) -> Integers:
        begun: Integers = self._begun[np.searchsorted(self._begins, at_ns, side="right")]
        return begun - self._ended[np.searchsorted(self._ends, at_ns, side="left")]


def _ordered(times: Integers, weights: Integers) -> tuple[Integers, Integers]:
    """Return the times in order, and the sum of the weights before each and at the end."""
    order = np.argsort(times, kind="stable")
    return times[order], np.r_[0, np.cumsum(weights[order])]


def _schedule_end_ns(iterations: pa.Table) -> Integers:
    return _integers(iterations, "start_ns") + _integers(iterations, "schedule_ns")


def _wall_ns(iterations: pa.Table, ran: Flags) -> Integers:
    """Return the time from one output of the model to the next; from schedule() after a pause of the engine.

    A pause is a step without tokens, or a step before which no request was in flight.
    """
    output_ns = _schedule_end_ns(iterations) + _integers(iterations, "execute_ns")
    in_flight = _integers(iterations, "running_requests") + waiting_requests(iterations)
    from_nothing = in_flight == _integers(iterations, "arrived_requests")
    paused = np.r_[True, ~ran[:-1]][: len(ran)] | from_nothing
    return np.where(paused, _integers(iterations, "execute_ns"), np.diff(output_ns, prepend=0))
