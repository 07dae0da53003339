"""The steps that the requests of a point make, and how long they take by prices of steps: a scheduler in miniature.

Prompts are computed as soon as there is room, each request then gets a token a step, and a request that would not fit
into the pool at its end waits. So nothing is preempted: a point whose pool is short takes longer than this says. Steps
in which nothing begins or ends are taken together.
"""

import heapq
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from engine_probe.engine.twin.step_work import StepWork
from engine_probe.sweep.preflight.asked_requests import AskedRequests

SECOND_NS = 1e9
MOST_EVENTS = 200_000  # of a point that is simulated


class BatchLimits(NamedTuple):
    """What bounds a batch; infinite where nothing is known."""

    requests: float  # max_num_seqs
    tokens: float  # max_num_batched_tokens
    pool_tokens: float
    answers: int | None = None  # after which the point ends (stop.requests)


class BatchForecast(NamedTuple):
    seconds: float
    peak_tokens: int  # of prompts and answers at one time


@dataclass
class Schedule:
    """Runs the sessions of a point on a clock that the prices of steps drive."""

    asked: AskedRequests
    limits: BatchLimits
    step_ns: Callable[[StepWork], float]
    now: float = 0.0
    step: int = 0
    tokens: int = 0  # that all running requests attend to
    held: int = 0  # of the pool
    reserved: int = 0  # of the pool at their ends
    peak: int = 0
    answered: int = 0
    running: list[tuple[int, int, int, int]] = field(default_factory=list)  # heap: last step, number, session, turn
    waiting: deque[tuple[int, int]] = field(default_factory=deque)
    coming: list[tuple[float, int, int]] = field(default_factory=list)  # heap: when, session, turn
    left: deque[int] = field(default_factory=deque)  # sessions that wait for a user
    begun: dict[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._shared = max((turn.shared for session in self.asked.sessions for turn in session), default=0)

    def run(self) -> BatchForecast | None:
        """Return how long the point takes. None if it has too many events, or a request that never fits."""
        if self.asked.levels:
            return self._levels()
        self._arrive(range(len(self.asked.sessions)), self.asked.loop.users if self.asked.loop else None)
        return BatchForecast(self.now / SECOND_NS, self.peak) if self._all(self.asked.measured) else None

    def _levels(self) -> BatchForecast | None:
        first = 0
        for number, level in enumerate(self.asked.levels):
            self.now += level.pause_ns if number else 0.0
            self._arrive(range(first, first + level.sessions), level.users)
            first += level.sessions
            if not self._all(first):
                return None
        return BatchForecast(self.now / SECOND_NS, self.peak)

    def _arrive(self, sessions: range, users: int | None) -> None:
        arrivals, loop = self.asked.arrivals_ns, self.asked.loop
        if users is None:
            self.coming = [(arrivals[each] or 0.0, each, 0) for each in sessions]
            heapq.heapify(self.coming)
            return
        for place, each in enumerate(sessions[:users]):
            heapq.heappush(self.coming, (self.now + (loop.spread_ns * place / users if loop else 0.0), each, 0))
        self.left = deque(sessions[users:])

    def _all(self, measured: int) -> bool:
        """Go on until the first so many sessions have ended, or so many answers are given."""
        open_sessions = set(range(measured))
        for _ in range(MOST_EVENTS):
            if not open_sessions or (self.limits.answers is not None and self.answered >= self.limits.answers):
                return True
            while self.coming and self.coming[0][0] <= self.now:
                _, session, turn = heapq.heappop(self.coming)
                self.begun.setdefault(session, self.now)
                self.waiting.append((session, turn))
            if batch := self._admitted():
                self._prompts(batch)
            elif self.running:
                self._answers()
            elif self.coming:
                self.now = self.coming[0][0]
            else:
                return False
            while self.running and self.running[0][0] <= self.step:
                _, _, session, turn = heapq.heappop(self.running)
                if self._end(session, turn):
                    open_sessions.discard(session)
        return False

    def _admitted(self) -> list[tuple[int, int]]:
        batch: list[tuple[int, int]] = []
        tokens, at_once = 0, self.asked.most_at_once or math.inf
        while self.waiting and len(self.running) + len(batch) < min(self.limits.requests, at_once):
            session, number = self.waiting[0]
            turn = self.asked.sessions[session][number]
            fits = self.reserved + turn.own <= self.limits.pool_tokens - self._shared
            fits = fits or not (batch or self.running)  # alone, a request has room
            if not fits or (batch and tokens + turn.new > self.limits.tokens - len(self.running)):
                break
            batch.append(self.waiting.popleft())
            tokens += turn.new
            self.reserved += turn.own
        return batch

    def _prompts(self, batch: list[tuple[int, int]]) -> None:
        """Compute prompts, in as many steps as the budget of tokens asks for; running answers go on beside them."""
        turns = [self.asked.sessions[session][number] for session, number in batch]
        new, answers = sum(turn.new for turn in turns), len(self.running)
        steps = (
            max(1, math.ceil(new / max(1, self.limits.tokens - answers))) if math.isfinite(self.limits.tokens) else 1
        )
        pairs = sum(turn.new * turn.before + turn.new * (turn.new + 1) // 2 for turn in turns)
        context = self.tokens + answers * (steps + 1) // 2
        work = StepWork(answers + len(batch), new // steps, answers, pairs // steps, context)
        self.now += steps * self.step_ns(work)
        self.step += steps
        self.tokens += answers * steps + sum(turn.before + turn.new + 1 for turn in turns)
        self.held += answers * steps + sum(turn.history + turn.new + 1 for turn in turns)
        self.peak = max(self.peak, self.held + self._shared)
        for turn, (session, number) in zip(turns, batch, strict=True):
            heapq.heappush(self.running, (self.step + turn.answer - 1, self.step, session, number))

    def _answers(self) -> None:
        """Take the steps to the next end, or to the next arrival if that is sooner."""
        count, steps = len(self.running), max(1, self.running[0][0] - self.step)
        one = self.step_ns(StepWork(count, 0, count, 0, self.tokens + count * (steps + 1) // 2))
        if self.coming and one > 0:
            steps = min(steps, max(1, math.ceil((self.coming[0][0] - self.now) / one)))
        self.now += steps * one
        self.step += steps
        self.tokens += steps * count
        self.held += steps * count
        self.peak = max(self.peak, self.held + self._shared)

    def _end(self, session: int, number: int) -> bool:
        """End a request: its conversation goes on after a pause, or its user begins another one."""
        turn, loop = self.asked.sessions[session][number], self.asked.loop
        self.tokens -= turn.shared + turn.own
        self.held -= turn.own
        self.reserved -= turn.own
        self.answered += 1
        if number + 1 < len(self.asked.sessions[session]):
            pause = self.asked.sessions[session][number + 1].pause_ns
            heapq.heappush(self.coming, (self.now + pause, session, number + 1))
            return False
        if self.left:
            ready = self.now + self.asked.rest_ns[session]
            ready = max(ready, self.begun[session] + (loop.pace_ns if loop else 0.0))
            heapq.heappush(self.coming, (ready, self.left.popleft(), 0))
        return True
