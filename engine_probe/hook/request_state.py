"""The state of one request between its arrival and its row."""

from dataclasses import dataclass, field
from time import monotonic_ns, time_ns
from typing import Any


@dataclass(slots=True, eq=False)
class RequestState:
    """Keeps what happened to a request (admitted, preempted, resumed, idle, finished); nothing per token."""

    request: Any
    queued_ns: int | None
    request_id: str = field(init=False)
    arrival_ns: int | None = field(init=False)
    first_scheduled_ns: int | None = None
    first_token_ns: int | None = None
    last_token_ns: int | None = None
    first_token_iteration: int | None = None
    last_token_iteration: int | None = None
    adopted: bool = False  # it was already running when the probe attached
    adopted_tokens: int = 0  # output tokens from before that
    running: bool = False
    stretch_start: int | None = None  # first iteration of the open stretch
    run_starts: list[int] = field(default_factory=list)  # of the closed stretches
    run_lengths: list[int] = field(default_factory=list)
    bursts: list[tuple[int, int]] = field(default_factory=list)  # (iteration, tokens) of steps with no token or several
    cached_tokens: int = 0
    connector_tokens: int = 0
    recomputed_tokens: int = 0
    num_preemptions: int = 0
    peak_blocks: int = 0
    lost_until: int = 0  # tokens below this position were computed and lost in a preemption
    open_preemption: dict[str, Any] | None = None  # its row, until the number of recomputed tokens is final
    reason: str = ""

    def __post_init__(self) -> None:
        self.request_id = self.request.request_id
        self.arrival_ns = monotonic_arrival_ns(self.request.arrival_time, self.queued_ns)

    def admit(self, iteration: int, called: int, cached: int, connected: int) -> bool:
        """Note that schedule() took the request from the waiting queue; return whether it resumes from a preemption."""
        self.running = True
        if self.num_preemptions:
            if self.open_preemption is not None:
                self.open_preemption.update(resumed_iteration=iteration, resumed_ns=called)
            return True
        if self.first_scheduled_ns is not None:  # a further turn of a streaming session
            return False
        self.cached_tokens, self.connector_tokens = cached, connected
        self.first_scheduled_ns = called
        if self.queued_ns is not None and self.queued_ns > called:  # added by another thread within this step
            self.queued_ns = None
            if self.arrival_ns is not None and self.arrival_ns > called:
                self.arrival_ns = None
        return False

    def close_stretch(self, last: int) -> bool:
        """End the open stretch with iteration `last`; return False if it has no iteration."""
        start, self.stretch_start = self.stretch_start, None
        if start is None or last < start:
            return False
        self.run_starts.append(start)
        self.run_lengths.append(last - start + 1)
        self.last_token_iteration = last
        return True

    def preempt(self, iteration: int, when: int, lost: int, held: int, before: int, after: int, cause: str) -> None:
        """Open the row of a preemption; `before` and `after` are the blocks in use around it."""
        self.running = False
        self.num_preemptions += 1
        self.peak_blocks = max(self.peak_blocks, held)
        self.lost_until = max(self.lost_until, lost)
        self.open_preemption = {  # in the order of the table's columns, which a test checks
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
            "cause": cause,
        }

    def recompute(self, start: int, end: int) -> int:
        """Count the tokens in [start, end) that were computed before and lost; return how many they are."""
        recomputed = max(0, min(end, self.lost_until) - start)
        self.recomputed_tokens += recomputed
        if self.open_preemption is not None:
            self.open_preemption["recomputed_tokens"] += recomputed
        return recomputed

    def finish(self, held: int) -> None:
        """Note that the request finished while it held `held` blocks."""
        self.running = False
        self.peak_blocks = max(self.peak_blocks, held)
        self.reason = str(self.request.get_finished_reason())

    def tokens_add_up(self) -> bool:
        """Return whether the stretches hold as many tokens as vLLM counted."""
        tokens = sum(self.run_lengths) + sum(count - 1 for _, count in self.bursts)
        return bool(tokens == self.request.num_output_tokens - self.adopted_tokens)

    def drop_token_times(self) -> None:
        """Leave all token times unknown, where the stretches would give wrong ones."""
        self.run_starts, self.run_lengths, self.bursts = [], [], []
        self.first_token_ns = self.last_token_ns = self.first_token_iteration = self.last_token_iteration = None

    def row(self, finished_ns: int) -> dict[str, Any]:
        """Return the row of `requests`."""
        request = self.request
        return {  # in the order of the table's columns, which a test checks
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
            "connector_tokens": self.connector_tokens,
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


def monotonic_arrival_ns(arrival_time: float, queued_ns: int | None) -> int | None:
    """Convert an arrival from wall-clock seconds, as vLLM stores it, to this monotonic clock, by its age now.

    So an arrival stays right if the wall clock was set earlier in the run. None if the result is impossible: after the
    request was queued (the clock was set in between, or belongs to another machine), before this clock began, or not
    a time at all.
    """
    now = monotonic_ns()
    try:
        arrival_ns = now - (time_ns() - int(arrival_time * 1e9))
    except (TypeError, ValueError, OverflowError):
        return None
    return arrival_ns if 0 <= arrival_ns <= (now if queued_ns is None else queued_ns) else None
