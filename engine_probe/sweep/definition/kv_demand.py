"""The most KV cache that points can use, from their descriptions; an engine's pool on a CPU is sized by it."""

from collections.abc import Iterable

from engine_probe.engine.cpu.cpu_kv_pool import KvNeed
from engine_probe.perplexity.scoring import TOKENS_AT_ONCE
from engine_probe.sweep.definition.sweep_file import Point
from engine_probe.sweep.definition.workload_section import WorkloadSection
from engine_probe.workload.arrivals import ClosedLoop, Steps
from engine_probe.workload.dataset_file import Dataset, Texts
from engine_probe.workload.lengths import Length
from engine_probe.workload.prompts import Conversations, SharedPrefix
from engine_probe.workload.question_set.question_prompts import Questions
from engine_probe.workload.traces.trace_file import Trace


def need_of_all(points: Iterable[Point]) -> KvNeed | None:
    """Return the need of the point that needs most. None if one of them may need any amount."""
    needs = [need_of(point) for point in points]
    bounded = [need for need in needs if need is not None]
    if not bounded or len(bounded) < len(needs):
        return None
    return max(bounded, key=lambda need: need.requests * need.tokens + need.shared_tokens)


def need_of(point: Point) -> KvNeed | None:
    """Return the KV need of a point at its peak. None if a file decides lengths or number of requests."""
    if point.quality is not None:  # windows are sent together, each with the token that vLLM generates
        return KvNeed(max(1, TOKENS_AT_ONCE // point.quality.window), point.quality.window + 1)
    work = point.workload
    requests, tokens = most_in_flight(work), longest(work)
    if requests is None or tokens is None:
        return None
    limit = point.engine.arguments.get("max_num_seqs")
    if isinstance(limit, int) and not isinstance(work.prompts, Conversations):  # of these it holds the history, too
        requests = min(requests, limit)
    match work.prompts:
        case SharedPrefix(prefix_len=prefix, num_prefixes=number):
            return KvNeed(requests, tokens, shared_tokens=number * prefix)
    return KvNeed(requests, tokens)


def most_in_flight(work: WorkloadSection) -> int | None:
    """Return the most requests in flight. None for all of a file."""
    everything = work.from_file and work.num_prompts is None
    bounded = work.concurrency is not None or isinstance(work.arrivals, ClosedLoop | Steps)
    return None if everything and not bounded else work.max_in_flight


def longest(work: WorkloadSection) -> int | None:
    """Return the tokens of the longest request at its end. None if a file decides."""
    match work.prompts:
        case Dataset(max_total_len=most):
            return most
        case Questions() | Trace() | Texts():
            return None
        case SharedPrefix(prefix_len=prefix, input_len=asked):
            return prefix + highest(asked) + highest(work.output_len)
        case Conversations(input_len=asked, system_len=system):
            return system + work.turns[1] * (highest(asked) + highest(work.output_len))
        case None:
            return highest(work.input_len) + highest(work.output_len)
        case prompts:
            return highest(prompts.input_len) + highest(work.output_len)


def highest(length: Length | None) -> int:
    """Return the greatest length that can be drawn."""
    if length is None:
        return 0
    return length if isinstance(length, int) else length.high
