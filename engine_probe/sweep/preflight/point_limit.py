"""How long a point may take if its sweep file does not say: its tokens at a pace that no healthy engine falls below."""

import math

from engine_probe.engine.parallelism import weight_shards
from engine_probe.sweep.definition.kv_demand import highest, longest
from engine_probe.sweep.definition.sweep_file import Point
from engine_probe.sweep.preflight.duration_estimate import arriving, weights_bytes
from engine_probe.sweep.preflight.memory_fit import pool_tokens
from engine_probe.workload.arrivals import ClosedLoop, Ramp, Replay

LEAST_SECONDS = 1800.0  # of every point, for what is not counted here
STEP_SECONDS = 1.0  # or as long as reading the weights takes from
SLOWEST_MEMORY = 10e9  # bytes/s; one channel of a laptop's memory has more
PROMPT_TOKENS_PER_S = 20.0
STALL_SECONDS = 1800.0  # of one step


def longest_time(point: Point) -> float | None:
    """Return the seconds that a point may take. None if a file decides how many tokens it asks for."""
    work = point.workload
    requests, tokens = work.most_requests, longest(work)
    if point.quality is not None or requests is None or tokens is None or isinstance(work.arrivals, Replay):
        return None
    answer = highest(work.output_len)
    steps = math.ceil(requests / fewest_together(point, tokens)) * answer
    prompts = requests * (tokens - answer)
    asked = waiting(point) + steps * slowest_step(point) + prompts / PROMPT_TOKENS_PER_S
    if point.warm_up.own_workload:
        asked *= 2  # a warm-up is at most the workload again
    elif point.stop.seconds is not None:
        asked = min(asked, point.stop.seconds)
    return LEAST_SECONDS + asked


def fewest_together(point: Point, tokens: int) -> int:
    """Return how many requests of this length run at once where as many are in flight as may be."""
    pool, seqs = pool_tokens(point), point.engine.arguments.get("max_num_seqs")
    together = [point.workload.max_in_flight]
    together += [seqs] if isinstance(seqs, int) else []
    together += [pool // tokens] if pool is not None else []
    return max(1, min(together))


def slowest_step(point: Point) -> float:
    weights = weights_bytes(point) or 0.0
    return max(STEP_SECONDS, weights / weight_shards(point.engine.arguments) / SLOWEST_MEMORY)


def waiting(point: Point) -> float:
    """Return the seconds in which users think and requests have yet to arrive."""
    work = point.workload
    match work.arrivals:
        case Ramp(start, end) if work.sessions is not None:
            return work.sessions / min(start, end)
        case ClosedLoop(users) as loop if work.most_requests is not None:
            pause = max(loop.think_seconds, loop.pace_seconds)
            return math.ceil(work.most_requests / users) * pause + loop.spread_seconds
    return arriving(point)
