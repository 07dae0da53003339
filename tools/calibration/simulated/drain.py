"""A run with a fixed number of requests: what its end, at which nothing follows, does to its throughput.

The engine is a fluid: `running` requests share the rate of that load equally. A closed loop starts a request whenever
one ends, until none is left to start; from then on fewer and fewer run.
"""

import heapq
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from engine_probe.analysis.statistics.arrays import Reals


@dataclass(frozen=True)
class Run:
    """Tokens per second of a run as a whole, and while its load was held."""

    whole: float
    held: float
    held_answers: int


def run_to_the_end(rate: Callable[[Reals], Reals], load: int, lengths: Reals) -> Run:
    """Run requests of these answer lengths with so many in flight as long as there are requests enough."""
    rates = rate(np.arange(1, load + 1, dtype=np.float64))
    waiting = iter(lengths.tolist())
    ends = [next(waiting) for _ in range(min(load, len(lengths)))]  # in tokens that each running request has had
    heapq.heapify(ends)
    had = seconds = 0.0
    held_seconds = held_tokens = tokens = 0.0
    left = len(lengths) - len(ends)
    while ends:
        running = len(ends)
        each = ends[0] - had
        seconds += each * running / rates[running - 1]
        tokens += each * running
        had = ends[0]
        if left:
            heapq.heapreplace(ends, had + next(waiting))
            left -= 1
        else:
            if running == load:
                held_seconds, held_tokens = seconds, tokens
            heapq.heappop(ends)
    if not held_seconds:
        held_seconds, held_tokens = seconds, tokens
    # Each answer but the last of the part is followed by a request that was waiting.
    held_answers = max(0, len(lengths) - load + 1)
    return Run(tokens / seconds, held_tokens / held_seconds, held_answers)


def draw_lengths(rng: np.random.Generator, requests: int) -> Reals:
    """Draw answer lengths: mostly around 200 tokens, some much longer."""
    return np.ceil(rng.lognormal(np.log(200.0), 0.6, requests))
