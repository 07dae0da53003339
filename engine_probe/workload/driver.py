"""The loop that steps an engine and hands it requests while it generates."""

import time
from array import array
from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from typing import Any
from zlib import crc32

import msgspec

from engine_probe.workload.load import FURTHER
from engine_probe.workload.request_plan import SECOND_NS, Plan, Request, Session
from engine_probe.workload.stop import Stop, StopReason

NO_STOP = Stop()  # ends when all requests are answered
ALL_ANSWERED: StopReason = "answered"
SteadyCheck = Callable[[Sequence[int], int], bool]  # (times of all answers, number in flight) -> steady enough


class Delivery(msgspec.Struct, frozen=True, gc=False):
    """Holds the times of one request, on the monotonic clock of recordings."""

    request_id: str
    planned_ns: int
    handed_ns: int
    finished_ns: int | None  # None: aborted
    answer: int | None = None  # checksum of the answer's tokens; None: aborted, or streamed

    @property
    def lateness_ns(self) -> int:
        """Return how much later than planned the engine got the request."""
        return self.handed_ns - self.planned_ns


class Outcome(msgspec.Struct, frozen=True):
    """Holds what became of a plan; deliveries are in the order in which the engine got them."""

    started_ns: int
    ended_ns: int
    deliveries: list[Delivery]
    never_handed: int  # measured requests that the engine never got
    why: StopReason = "answered"
    steps: int = 0

    @property
    def further(self) -> int:
        """Return how many requests only held the load; those in flight at the end were aborted."""
        return sum(delivery.request_id.startswith(FURTHER) for delivery in self.deliveries)

    @property
    def aborted(self) -> int:
        """Return how many measured requests were aborted."""
        left = (delivery.request_id for delivery in self.deliveries if delivery.finished_ns is None)
        return sum(not request_id.startswith(FURTHER) for request_id in left)


class _Driver:
    """Keeps which requests are due when, and which are in flight."""

    def __init__(self, engine: Any, plan: Plan, parameters: Callable[[Request], Any], now: Callable[[], int]) -> None:
        self._engine, self._plan, self._parameters, self._now = engine, plan, parameters, now
        self._has_whole_answers = not plan.sampling.stream
        self.started_ns = now()
        self.due: list[tuple[int, int, int]] = []  # a heap of (when, session, turn)
        self.in_flight: dict[str, tuple[int, int]] = {}  # id -> (session, turn)
        self.times_ns: dict[str, list[int]] = {}  # id -> planned, handed over, finished
        self.finished_ns: list[int] = []  # in order
        self._answers: dict[str, int] = {}  # id -> checksum
        self._history: dict[int, list[int]] = {}  # session -> its tokens so far, if it has further turns
        self._asked_ns: dict[int, int] = {}  # session -> when its user asked, if users keep a pace
        for number, offset_ns in enumerate(_first_arrivals_ns(plan)):
            heappush(self.due, (self.started_ns + offset_ns, number, 0))
        self._next_session = len(self.due)  # waits for a free user
        self._measured = len(plan.measured_sessions)
        self.unanswered = self._measured  # sessions

    @property
    def has_room(self) -> bool:
        limit = self._plan.max_concurrency
        return limit is None or len(self.in_flight) < limit

    def hand_over_due(self) -> None:
        """Give the engine the requests that are due, as far as max_concurrency allows."""
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
                self._asked_ns[number] = planned_ns

    def _prompt(self, number: int, turn: int, session: Session) -> list[int]:
        new = session.requests[turn].prompt_token_ids
        if len(session.requests) == 1:
            return new
        history = self._history.setdefault(number, [])
        if history and session.requests[turn].question_id is not None and history[-1] == new[0]:
            history.pop()  # the answer ended itself with the token by which the chat template ends it
        history += new
        return list(history)

    def take(self, outputs: list[Any]) -> None:
        """Take a step's outputs: whole answers, or the new tokens of each if they are streamed."""
        if self._history:
            for output in outputs:
                number, _ = self.in_flight[output.request_id]
                if number in self._history:
                    self._history[number] += output.outputs[0].token_ids
        finished = [output.request_id for output in outputs if output.finished]
        if finished:
            now_ns = self._now()
            if self._has_whole_answers:
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
        self._history.pop(number, None)
        self.unanswered -= number < self._measured
        if self._plan.loop is not None and self._next_session < len(self._plan.sessions):
            paced_ns = self._asked_ns.pop(number, 0) + self._plan.loop.pace_ns
            heappush(self.due, (max(now_ns + session.rest_ns, paced_ns), self._next_session, 0))
            self._next_session += 1

    def abort(self) -> None:
        self._engine.abort_request(list(self.in_flight))
        self.in_flight.clear()

    def outcome(self, why: StopReason, steps: int) -> Outcome:
        deliveries = [
            Delivery(
                request_id, times[0], times[1], times[2] if len(times) == 3 else None, self._answers.get(request_id)
            )
            for request_id, times in self.times_ns.items()
        ]
        further = sum(request_id.startswith(FURTHER) for request_id in self.times_ns)
        never_handed = self._plan.num_requests - len(deliveries) + further
        return Outcome(self.started_ns, self._now(), deliveries, never_handed, why, steps)


def checksum(token_ids: Sequence[int]) -> int:
    """Return a checksum by which equal answers are recognised; two others share it once in four thousand million."""
    return crc32(array("q", token_ids))


def _first_arrivals_ns(plan: Plan) -> list[int]:
    """Return the arrivals of all sessions; in a closed loop those of each user's first session."""
    if plan.loop is None:
        return [session.arrival_ns or 0 for session in plan.sessions]
    users = min(plan.loop.users, len(plan.sessions))
    return [plan.loop.spread_ns * user // plan.loop.users for user in range(users)]


def drive(
    engine: Any,
    plan: Plan,
    parameters: Callable[[Request], Any],
    stop: Stop = NO_STOP,
    is_steady: SteadyCheck | None = None,
    now: Callable[[], int] = time.monotonic_ns,
    sleep: Callable[[float], None] = time.sleep,
) -> Outcome:
    """Step the engine until all measured requests are answered or a stop condition is met.

    Due ones are handed over before each step.

    `engine` is vLLM's `LLMEngine` in this process; `parameters` returns a request's `SamplingParams`. Whatever ends
    this early, Ctrl-C too, aborts the requests in flight.
    """
    driver = _Driver(engine, plan, parameters, now)
    due, in_flight, finished_ns, step = driver.due, driver.in_flight, driver.finished_ns, engine.step  # looked up once
    end_ns = None if stop.seconds is None else driver.started_ns + round(stop.seconds * SECOND_NS)
    steps, why = 0, ALL_ANSWERED
    try:
        while driver.unanswered:
            if end_ns is not None and now() >= end_ns:
                why = "seconds"
                break
            if stop.requests is not None and len(finished_ns) >= stop.requests:
                why = "requests"
                break
            if is_steady is not None and is_steady(finished_ns, len(in_flight)):
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
