"""Drives an engine's own step loop, so that requests arrive while it generates."""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from typing import Any
from zlib import crc32

import msgspec

from engine_probe.workload.request_plan import SECOND_NS, Plan, Request, Session
from engine_probe.workload.stop import Stop, Why

NEVER = Stop()  # before all are answered
EVERYTHING: Why = "answered"
Enough = Callable[[Sequence[int], int], bool]  # asked with the times of all answers and the number in flight


class Delivery(msgspec.Struct, frozen=True, gc=False):
    """What became of one request; times on the monotonic clock that recordings use."""

    request_id: str
    planned_ns: int
    handed_ns: int
    finished_ns: int | None  # None: aborted
    answer: int | None = None  # checksum of its tokens; None: aborted, or streamed

    @property
    def lateness_ns(self) -> int:
        """How much later than planned the engine got it."""
        return self.handed_ns - self.planned_ns


class Outcome(msgspec.Struct, frozen=True):
    """What was asked, in the order it was handed over."""

    started_ns: int
    ended_ns: int
    deliveries: list[Delivery]
    never_handed: int  # left when it ended
    why: Why = "answered"
    steps: int = 0

    @property
    def aborted(self) -> int:
        return sum(delivery.finished_ns is None for delivery in self.deliveries)


class _Driver:
    """The state of one run: what is due when, and what the engine has."""

    def __init__(self, engine: Any, plan: Plan, parameters: Callable[[Request], Any], now: Callable[[], int]) -> None:
        self._engine, self._plan, self._parameters, self._now = engine, plan, parameters, now
        self._whole = not plan.sampling.stream  # an answer comes once, whole, when it is finished
        self.started_ns = now()
        self.due: list[tuple[int, int, int]] = []  # a heap of (when, session, turn)
        self.in_flight: dict[str, tuple[int, int]] = {}  # id -> (session, turn)
        self.times_ns: dict[str, list[int]] = {}  # id -> planned, handed, finished
        self.finished_ns: list[int] = []  # in order
        self._answers: dict[str, int] = {}
        self._words: dict[int, list[int]] = {}  # what a conversation with turns to come has said so far
        self._began_ns: dict[int, int] = {}  # when a user asked; only where there is a pace to keep
        for number, offset_ns in enumerate(_first_arrivals_ns(plan)):
            heappush(self.due, (self.started_ns + offset_ns, number, 0))
        self._next = len(self.due)  # the first session that waits for a free user

    @property
    def has_room(self) -> bool:
        most = self._plan.max_concurrency
        return most is None or len(self.in_flight) < most

    def hand_over_due(self) -> None:
        """Whatever is due by now, while there is room for it."""
        now_ns = self._now()
        while self.due and self.due[0][0] <= now_ns and self.has_room:
            planned_ns, number, turn = heappop(self.due)
            session = self._plan.sessions[number]
            request = session.requests[turn]
            prompt = self._prompt(number, turn, session)
            handed_ns = self._now()
            self._engine.add_request(request.id, {"prompt_token_ids": prompt}, self._parameters(request))
            self.in_flight[request.id] = number, turn
            self.times_ns[request.id] = [planned_ns, handed_ns]
            if turn == 0 and self._plan.loop is not None and self._plan.loop.pace_ns:
                self._began_ns[number] = planned_ns

    def _prompt(self, number: int, turn: int, session: Session) -> list[int]:
        new = session.requests[turn].prompt_token_ids
        if len(session.requests) == 1:
            return new
        words = self._words.setdefault(number, [])
        words += new
        return list(words)

    def take(self, outputs: list[Any]) -> None:
        """What a step answered: whole answers, or the new tokens of each."""
        if self._words:
            for output in outputs:
                number, _ = self.in_flight[output.request_id]
                if number in self._words:
                    self._words[number] += output.outputs[0].token_ids
        finished = [output.request_id for output in outputs if output.finished]
        if finished:
            now_ns = self._now()
            if self._whole:
                for output in outputs:
                    self._answers[output.request_id] = checksum(output.outputs[0].token_ids)
            for request_id in finished:
                self._answered(request_id, now_ns)

    def _answered(self, request_id: str, now_ns: int) -> None:
        number, turn = self.in_flight.pop(request_id)
        self.times_ns[request_id].append(now_ns)
        self.finished_ns.append(now_ns)
        session = self._plan.sessions[number]
        if turn + 1 < len(session.requests):
            heappush(self.due, (now_ns + self._plan.turn_pause_ns, number, turn + 1))
            return
        self._words.pop(number, None)
        if self._plan.loop is not None and self._next < len(self._plan.sessions):
            paced_ns = self._began_ns.pop(number, 0) + self._plan.loop.pace_ns
            heappush(self.due, (max(now_ns + session.rest_ns, paced_ns), self._next, 0))
            self._next += 1

    def abort(self) -> None:
        self._engine.abort_request(list(self.in_flight))
        self.in_flight.clear()

    def outcome(self, why: Why, steps: int) -> Outcome:
        deliveries = [
            Delivery(
                request_id, times[0], times[1], times[2] if len(times) == 3 else None, self._answers.get(request_id)
            )
            for request_id, times in self.times_ns.items()
        ]
        never_handed = self._plan.num_requests - len(deliveries)
        return Outcome(self.started_ns, self._now(), deliveries, never_handed, why, steps)


def checksum(token_ids: Sequence[int]) -> int:
    """Two answers with the same one are the same, but for one chance in four thousand million."""
    return crc32(array("q", token_ids))


def _first_arrivals_ns(plan: Plan) -> list[int]:
    """Of all sessions, or in a closed loop of each user's first."""
    if plan.loop is None:
        return [session.arrival_ns or 0 for session in plan.sessions]
    users = min(plan.loop.users, len(plan.sessions))
    return [plan.loop.spread_ns * user // plan.loop.users for user in range(users)]


def drive(
    engine: Any,
    plan: Plan,
    parameters: Callable[[Request], Any],
    stop: Stop = NEVER,
    enough: Enough | None = None,
    now: Callable[[], int] = time.monotonic_ns,
    sleep: Callable[[float], None] = time.sleep,
) -> Outcome:
    """Ask everything and wait for the answers, handing over before each step what has come due.

    `engine` is vLLM's `LLMEngine` in this process; `parameters` gives a request's `SamplingParams`; `enough` says
    when it is steady. Whatever ends this early (Ctrl-C too) leaves no request of it behind in the engine.
    """
    driver = _Driver(engine, plan, parameters, now)
    due, in_flight, finished_ns, step = driver.due, driver.in_flight, driver.finished_ns, engine.step  # looked up once
    end_ns = None if stop.seconds is None else driver.started_ns + round(stop.seconds * SECOND_NS)
    most = stop.requests
    steps, why = 0, EVERYTHING
    try:
        while due or in_flight:
            if end_ns is not None and now() >= end_ns:
                why = "seconds"
                break
            if most is not None and len(finished_ns) >= most:
                why = "requests"
                break
            if enough is not None and enough(finished_ns, len(in_flight)):
                why = "steady"
                break
            if due and due[0][0] <= now():
                driver.hand_over_due()
            if in_flight:
                steps += 1
                if outputs := step():
                    driver.take(outputs)
            else:
                until_ns = due[0][0] if end_ns is None else min(due[0][0], end_ns)
                sleep(max(0, until_ns - now()) / SECOND_NS)
    finally:
        if in_flight:
            driver.abort()
    return driver.outcome(why, steps)
