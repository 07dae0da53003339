"""What is remembered about one request between its arrival and its row."""

from __future__ import annotations

from time import monotonic_ns, time_ns
from typing import Any


class RequestTrack:
    """Changes only: joined, left, preempted, resumed, passed over; never an entry per token."""

    __slots__ = (
        "adopted",
        "adopted_tokens",
        "arrival_ns",
        "bursts",
        "cached_tokens",
        "first_scheduled_ns",
        "first_token_iteration",
        "first_token_ns",
        "last_token_iteration",
        "last_token_ns",
        "lost_until",
        "num_preemptions",
        "open_preemption",
        "peak_blocks",
        "queued_ns",
        "reason",
        "recomputed_tokens",
        "request",
        "request_id",
        "run_lengths",
        "run_start",
        "run_starts",
        "running",
    )

    def __init__(self, request: Any, queued_ns: int | None) -> None:
        self.request = request
        self.request_id: str = request.request_id
        self.queued_ns = queued_ns
        self.arrival_ns = on_this_clock(request.arrival_time, queued_ns)
        self.first_scheduled_ns: int | None = None
        self.first_token_ns: int | None = None
        self.last_token_ns: int | None = None
        self.first_token_iteration: int | None = None
        self.last_token_iteration: int | None = None
        self.adopted = False  # it was running before the probe came
        self.adopted_tokens = 0
        self.running = False
        self.run_start: int | None = None  # of the stretch under way
        self.run_starts: list[int] = []
        self.run_lengths: list[int] = []
        self.bursts: list[tuple[int, int]] = []  # (iteration, tokens) where a step gave other than one
        self.cached_tokens = self.recomputed_tokens = self.num_preemptions = self.peak_blocks = 0
        self.lost_until = 0  # tokens below this position were computed before, and lost
        # The row of the last preemption, until what it cost is known.
        self.open_preemption: dict[str, Any] | None = None
        self.reason = ""

    def adopt(self) -> None:
        self.adopted = self.running = True
        self.adopted_tokens = self.request.num_output_tokens

    def admit(self, iteration: int, called: int, cached: int) -> bool:
        """Scheduled out of the waiting queue; True when it comes back from a preemption."""
        self.running = True
        if self.num_preemptions:
            if self.open_preemption is not None:
                self.open_preemption.update(resumed_iteration=iteration, resumed_ns=called)
            return True
        self.cached_tokens = cached
        self.first_scheduled_ns = called
        if self.queued_ns is not None and self.queued_ns > called:  # added by another thread within this step
            self.queued_ns = None
            if self.arrival_ns is not None and self.arrival_ns > called:
                self.arrival_ns = None
        return False

    def close_run(self, last: int) -> bool:
        """End the stretch under way with iteration `last`; False when it holds no iteration."""
        start, self.run_start = self.run_start, None
        if start is None or last < start:
            return False
        self.run_starts.append(start)
        self.run_lengths.append(last - start + 1)
        self.last_token_iteration = last
        return True

    def preempt(self, iteration: int, when: int, lost: int, held: int, before: int, after: int) -> None:
        self.running = False
        self.num_preemptions += 1
        self.peak_blocks = max(self.peak_blocks, held)
        self.lost_until = max(self.lost_until, lost)
        self.open_preemption = {  # in the order of the table's columns, which a test holds
            "request_id": self.request_id,
            "iteration": iteration,
            "preempted_ns": when,
            "lost_tokens": lost,
            "freed_blocks": before - after,
            "kv_blocks_before": before,
            "kv_blocks_after": after,
            "resumed_iteration": None,
            "resumed_ns": None,
            "recomputed_tokens": 0,
        }

    def recompute(self, start: int, end: int) -> int:
        """How many of the tokens [start, end) were computed before."""
        again = max(0, min(end, self.lost_until) - start)
        self.recomputed_tokens += again
        if self.open_preemption is not None:
            self.open_preemption["recomputed_tokens"] += again
        return again

    def preemption_row(self) -> dict[str, Any]:
        assert self.open_preemption is not None
        row, self.open_preemption = self.open_preemption, None
        return row

    def finish(self, held: int) -> None:
        self.running = False
        self.peak_blocks = max(self.peak_blocks, held)
        self.reason = str(self.request.get_finished_reason())

    def is_exact(self) -> bool:
        """Whether the stretches add up to the tokens that vLLM counted."""
        told = sum(self.run_lengths) + sum(count - 1 for _, count in self.bursts)
        return bool(told == self.request.num_output_tokens - self.adopted_tokens)

    def forget_tokens(self) -> None:
        """Exact or silent: no token times rather than wrong ones."""
        self.run_starts, self.run_lengths, self.bursts = [], [], []
        self.first_token_ns = self.last_token_ns = None
        self.first_token_iteration = self.last_token_iteration = None

    def row(self, finished_ns: int) -> dict[str, Any]:
        request = self.request
        return {  # in the order of the table's columns, which a test holds
            "request_id": self.request_id,
            "arrival_ns": self.arrival_ns,
            "queued_ns": self.queued_ns,
            "first_scheduled_ns": self.first_scheduled_ns,
            "first_token_ns": self.first_token_ns,
            "last_token_ns": self.last_token_ns,
            "finished_ns": finished_ns,
            "prompt_tokens": request.num_prompt_tokens,
            "output_tokens": request.num_output_tokens,
            "cached_tokens": self.cached_tokens,
            "recomputed_tokens": self.recomputed_tokens,
            "preemptions": self.num_preemptions,
            "peak_kv_blocks": self.peak_blocks,
            "priority": request.priority,
            "finish_reason": self.reason,
            "first_token_iteration": self.first_token_iteration,
            "last_token_iteration": self.last_token_iteration,
            "run_starts": self.run_starts,
            "run_lengths": self.run_lengths,
            "burst_iterations": [iteration for iteration, _ in self.bursts],
            "burst_tokens": [tokens for _, tokens in self.bursts],
        }


def on_this_clock(arrival_time: float, queued_ns: int | None) -> int | None:
    """The arrival, which vLLM keeps in seconds of the wall clock, from how long ago that is now.

    Whoever sets the wall clock during a run does not move what arrives later. None where it would lie after the
    request was queued (the clock was set in between, or is another machine's) or before this clock began, and where
    what the caller gave is no time.
    """
    now = monotonic_ns()
    try:
        arrival_ns = now - (time_ns() - int(arrival_time * 1e9))
    except (TypeError, ValueError, OverflowError):
        return None
    return arrival_ns if 0 <= arrival_ns <= (now if queued_ns is None else queued_ns) else None
