"""The time of every token, rebuilt from the stretches of iterations in the requests table.

A request gets one token in each iteration of a stretch, except in iterations listed as bursts. A token's time is the
end of the update that delivered it.
"""

import numpy as np
import pyarrow as pa

from engine_probe.analysis.statistics.arrays import Flags, Integers
from engine_probe.analysis.statistics.sample import Sample

TimeSpan = tuple[int, int]  # begin and end


def update_end_ns(iterations: pa.Table) -> Integers:
    """Return when each iteration's update returned."""
    start, *parts = (iterations[f"{part}_ns"].to_numpy() for part in ("start", "schedule", "execute", "update"))
    ends: Integers = start + parts[0] + parts[1] + parts[2]
    return ends


def waiting_requests(iterations: pa.Table) -> Integers:
    """Return how many requests had to wait in each iteration: those in the queue and those that were deferred."""
    waiting: Integers = iterations["waiting_requests"].to_numpy() + iterations["deferred_requests"].to_numpy()
    return waiting


def flat(lists: pa.ChunkedArray) -> tuple[Integers, Integers]:
    """Flatten a list column into one array, with the row number of each value."""
    whole = lists.combine_chunks()
    lengths = whole.value_lengths().to_numpy(zero_copy_only=False)
    return whole.flatten().to_numpy(zero_copy_only=False), np.repeat(np.arange(len(lengths)), lengths)


def token_times(iterations: pa.Table, requests: pa.Table) -> pa.Table:
    """Return a row per token, ordered by request: row of the requests table, iteration and time."""
    starts, row = flat(requests["run_starts"])
    lengths, _ = flat(requests["run_lengths"])
    request = np.repeat(row, lengths)
    before = np.repeat(np.cumsum(lengths) - lengths, lengths)
    iteration = np.repeat(starts, lengths) + np.arange(lengths.sum()) - before
    burst_iteration, burst_row = flat(requests["burst_iterations"])
    if len(burst_iteration):
        count = np.ones(len(iteration), dtype=np.int64)
        # Tokens are ordered by (request, iteration), so that bisection finds a burst.
        span = int(iteration.max()) + 1
        place = np.searchsorted(request * span + iteration, burst_row * span + burst_iteration)
        count[place] = flat(requests["burst_tokens"])[0]
        request, iteration = np.repeat(request, count), np.repeat(iteration, count)
    return pa.table({"request": request, "iteration": iteration, "time_ns": update_end_ns(iterations)[iteration]})


def deliveries(iterations: pa.Table, requests: pa.Table) -> tuple[Integers, Integers]:
    """Return request row and time of each delivery, which is a step that gave the request one or more tokens."""
    tokens = token_times(iterations, requests)
    request, iteration = tokens["request"].to_numpy(), tokens["iteration"].to_numpy()
    first = np.r_[True, (np.diff(request) != 0) | (np.diff(iteration) != 0)][: len(request)]
    return request[first], tokens["time_ns"].to_numpy()[first]


def delivery_gaps(request: Integers, time_ns: Integers) -> tuple[Integers, Integers]:
    """Return request row and length of each gap between two deliveries to the same request."""
    same = request[1:] == request[:-1]
    return request[1:][same], np.diff(time_ns)[same]


def gap_sample(iterations: pa.Table, requests: pa.Table, without: TimeSpan | None = None) -> Sample:
    """Return all gaps between two deliveries to a request as a weighted sample, without a row per token.

    This is the inter-token latency of `vllm bench`: two tokens of one step are one delivery. Within a stretch the gap
    between iterations i and i+1 is the same for all requests in it, and their number is a sum over the stretches' ends.
    Only the gaps between the stretches of one request are counted one by one. Gaps that a time to leave out touches
    do not count.
    """
    if len(flat(requests["burst_iterations"])[0]):  # several tokens per step are rare, so gaps are counted one by one
        request, time_ns = deliveries(iterations, requests)
        gaps = delivery_gaps(request, time_ns)[1]
        return Sample.of(gaps[apart(time_ns[1:][request[1:] == request[:-1]] - gaps, gaps, without)])
    ends = update_end_ns(iterations)
    starts, row = flat(requests["run_starts"])
    lengths, _ = flat(requests["run_lengths"])
    last = starts + lengths - 1
    change = np.zeros(len(ends) + 1, dtype=np.int64)
    np.add.at(change, starts, 1)
    np.add.at(change, last, -1)
    continuing = np.cumsum(change)[: max(0, len(ends) - 1)]
    again = np.flatnonzero(row[1:] == row[:-1])  # stretches that are not the first of their request
    between = ends[starts[again + 1]] - ends[last[again]]
    within = continuing > 0
    gaps = np.r_[np.diff(ends)[within], between]
    kept = apart(np.r_[ends[:-1][within], ends[last[again]]], gaps, without)
    counts = np.r_[continuing[within], np.ones(len(between), dtype=np.int64)]
    return Sample(gaps[kept].astype(np.float64), counts[kept])


def apart(begins: Integers, lengths: Integers, span: TimeSpan | None) -> Flags:
    """Return which times do not touch a span."""
    if span is None:
        return np.ones(len(begins), dtype=bool)
    return (begins >= span[1]) | (begins + lengths <= span[0])
