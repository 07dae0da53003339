"""The loop that steps an engine and hands it requests while it generates."""

import time
from array import array
from collections import Counter, deque
from collections.abc import Callable, Sequence
from functools import partial
from heapq import heappop, heappush
from typing import Any

import msgspec

from engine_probe.record.schema import ANSWERED, AnswerOutcome
from engine_probe.workload.answers import AnswerLog, Tokens
from engine_probe.workload.load import FURTHER
from engine_probe.workload.request_plan import SECOND_NS, Loop, Plan, Request, Session
from engine_probe.workload.stop import Stop, StopReason

NO_STOP = Stop()  # ends when all requests are answered
ALL_ANSWERED: StopReason = "answered"
SteadyCheck = Callable[[Sequence[int], int], bool]  # (times of all answers, number in flight) -> steady enough


class Delivery(msgspec.Struct, gc=False):
    """Holds the times of one request, on the monotonic clock of recordings."""

    request_id: str
    planned_ns: int
    handed_ns: int
    finished_ns: int | None = None  # None: not answered
    outcome: AnswerOutcome = AnswerOutcome.STOPPED  # unless it ends before the run does

    @property
    def lateness_ns(self) -> int:
        """Return how much later than planned the engine got the request."""
        return self.handed_ns - self.planned_ns


class UserLevel(msgspec.Struct):
    """Holds when a level of users began and ended, on the monotonic clock of recordings."""

    users: int
    started_ns: int
    ended_ns: int | None = None  # None: the run ended before


class PlanOutcome(msgspec.Struct, frozen=True):
    """Holds what became of a plan."""

    started_ns: int
    ended_ns: int
    never_handed: int  # measured requests that the engine never got, for want of time
    measured: Counter[AnswerOutcome]  # measured requests that the engine got, by how they ended
    further: int  # requests that only held the load; those in flight at the end were aborted
    answered_tokens: int  # asked of the requests that were answered, further ones included
    lateness_ns: Sequence[int]  # of each request, in the order in which the engine got them
    why: StopReason = "answered"
    steps: int = 0
    not_asked: int = 0  # later turns of measured conversations that ended with a turn that was not answered
    levels: list[UserLevel] = []  # of arrivals in steps

    @property
    def aborted(self) -> int:
        """Return how many measured requests were in flight when the run ended."""
        return self.measured[AnswerOutcome.STOPPED]

    @property
    def ended(self) -> int:
        """Return how many requests the engine got, without those that `aborted` counts."""
        return len(self.lateness_ns) - self.aborted


class _InFlight(msgspec.Struct):
    """Holds a request that the engine works on."""

    number: int  # of its session
    session: Session
    turn: int
    engine_id: str
    delivery: Delivery


class _Driver:
    """Keeps which requests are due when, and which are in flight."""

    def __init__(
        self,
        engine: Any,
        plan: Plan,
        parameters: Callable[[Request], Any],
        now: Callable[[], int],
        answers: AnswerLog | None,
        deliveries: list[Delivery] | None,
    ) -> None:
        self._engine, self._plan, self._parameters, self._now, self._answers = engine, plan, parameters, now, answers
        self._keeps_parts = plan.sampling.stream and answers is not None and answers.kept.keep is not None
        self._parts: dict[str, Tokens] = {}  # id -> what was streamed of its answer, if that is kept
        self.started_ns = now()
        self.due: list[tuple[int, int, int]] = []  # a heap of (when, session, turn)
        self.in_flight: dict[str, _InFlight] = {}  # by id
        self.deadlines: deque[tuple[int, str]] = deque()  # (when, id); all are equally long, so they are in order
        self.finished_ns = array("q")  # of answers, in order
        self._deliveries, self._lateness_ns = deliveries, array("q")
        self._ended: Counter[AnswerOutcome] = Counter()  # measured requests, by how they ended
        self._further = self._answered_tokens = self._not_asked = 0
        self._history: dict[int, list[int]] = {}  # session -> its tokens so far, if it has further turns
        self._asked_ns: dict[int, int] = {}  # session -> when its user asked, if users keep a pace
        self._levels: list[UserLevel] = []
        self._unanswered_in_level = self._next_session = 0  # the next session waits for a free user
        self._arrives = plan.loop is None and not plan.steps  # whether sessions come by the clock
        if plan.steps:
            self._begin_level(self.started_ns)
        elif plan.loop is not None:
            self._begin_loop(plan.loop)
        else:
            self._await_next()
        self._measured = plan.num_measured
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
            if self._arrives and not turn:
                self._await_next()
            session = self._plan.sessions[number]
            request = session.requests[turn]
            prompt = self._prompt(number, turn, session)
            delivery = Delivery(request.id, planned_ns, self._now())
            given = self._engine.add_request(request.id, {"prompt_token_ids": prompt}, self._parameters(request))
            engine_id = given if isinstance(given, str) else request.id  # older versions of vLLM return nothing
            if self._keeps_parts:
                self._parts[request.id] = Tokens()
            self.in_flight[request.id] = _InFlight(number, session, turn, engine_id, delivery)
            self._lateness_ns.append(delivery.lateness_ns)
            self._further += request.id.startswith(FURTHER)
            if self._deliveries is not None:
                self._deliveries.append(delivery)
            if self._plan.deadline_ns is not None:
                self.deadlines.append((delivery.handed_ns + self._plan.deadline_ns, request.id))
            if self._answers is not None:
                self._answers.handed(request, engine_id, prompt)
            if turn == 0 and self._plan.loop is not None and self._plan.loop.pace_ns:
                self._asked_ns[number] = planned_ns

    def _prompt(self, number: int, turn: int, session: Session) -> list[int]:
        new = session.requests[turn].prompt_token_ids
        if len(session.requests) == 1 or session.requests[turn].whole:
            return new
        history = self._history.setdefault(number, [])
        if history and session.requests[turn].question_id is not None and history[-1] == new[0]:
            history.pop()  # the answer ended itself with the token by which the chat template ends it
        history += new
        return list(history)

    def take(self, outputs: list[Any]) -> None:
        """Take a step's outputs: whole answers, or the new tokens of each if they are streamed."""
        if self._keeps_parts:  # hundreds in each step
            parts = self._parts
            for output in outputs:
                new = output.outputs[0]
                parts[output.request_id].token_ids += new.token_ids
                if new.logprobs is not None:
                    parts[output.request_id].add_logprobs(new.logprobs)
        if self._history:
            for output in outputs:
                number = self.in_flight[output.request_id].number
                if number in self._history:
                    self._history[number] += output.outputs[0].token_ids
        finished = [output for output in outputs if output.finished]
        if finished:
            now_ns = self._now()
            for output in finished:
                self._finished(output, now_ns)

    def _finished(self, output: Any, now_ns: int) -> None:
        """End a request whose last tokens came."""
        whole, request = output.outputs[0], self.in_flight[output.request_id]
        if whole.finish_reason in ANSWERED:
            request.delivery.finished_ns = now_ns
            self.finished_ns.append(now_ns)
            self._answered_tokens += request.session.requests[request.turn].output_len
            outcome = AnswerOutcome.ANSWERED
        else:
            outcome = AnswerOutcome.FAILED
        self._end(request, outcome, None if self._plan.sampling.stream else Tokens.of(whole))
        self._go_on(request, now_ns)

    def _end(self, request: _InFlight, outcome: AnswerOutcome, tokens: Tokens | None) -> None:
        request_id = request.delivery.request_id
        del self.in_flight[request_id]
        request.delivery.outcome = outcome
        if not request_id.startswith(FURTHER):
            self._ended[outcome] += 1
        if self._answers is not None:
            self._answers.ended(request_id, outcome, self._parts.pop(request_id, tokens))

    def _go_on(self, request: _InFlight, now_ns: int) -> None:
        """Plan what follows a request: the next turn, which only an answer has, or in a closed loop another session."""
        number, session = request.number, request.session
        left = len(session.requests) - request.turn - 1
        if left and request.delivery.outcome is AnswerOutcome.ANSWERED:
            pause_ns = self._plan.turn_pause_ns + session.requests[request.turn + 1].pause_ns
            heappush(self.due, (now_ns + pause_ns, number, request.turn + 1))
            return
        self._history.pop(number, None)
        if number < self._measured:
            self.unanswered -= 1
            self._not_asked += left
        if self._plan.steps:
            self._go_on_in_level(now_ns)
        elif self._plan.loop is not None and self._next_session < len(self._plan.sessions):
            paced_ns = self._asked_ns.pop(number, 0) + self._plan.loop.pace_ns
            heappush(self.due, (max(now_ns + session.rest_ns, paced_ns), self._next_session, 0))
            self._next_session += 1

    def _begin_loop(self, loop: Loop) -> None:
        """Let each user ask for the first time."""
        self._next_session = min(loop.users, len(self._plan.sessions))
        for user in range(self._next_session):
            heappush(self.due, (self.started_ns + loop.spread_ns * user // loop.users, user, 0))

    def _await_next(self) -> None:
        """Make the next session due when it arrives; those behind it arrive no earlier."""
        if self._next_session < len(self._plan.sessions):
            arrival_ns = self._plan.sessions[self._next_session].arrival_ns or 0
            heappush(self.due, (self.started_ns + arrival_ns, self._next_session, 0))
            self._next_session += 1

    def _begin_level(self, when_ns: int) -> None:
        step = self._plan.steps[len(self._levels)]
        self._levels.append(UserLevel(step.users, when_ns))
        self._unanswered_in_level = step.sessions
        for number in range(self._next_session, self._next_session + step.users):
            heappush(self.due, (when_ns, number, 0))
        self._next_session += step.users

    def _go_on_in_level(self, now_ns: int) -> None:
        """Let the user whose request ended ask again; once all of a level have ended, begin the next after a pause."""
        self._unanswered_in_level -= 1
        done, steps = len(self._levels), self._plan.steps
        if self._next_session < sum(step.sessions for step in steps[:done]):
            heappush(self.due, (now_ns, self._next_session, 0))
            self._next_session += 1
        elif not self._unanswered_in_level:
            self._levels[-1].ended_ns = now_ns
            if done < len(steps):
                self._begin_level(now_ns + steps[done - 1].pause_ns)

    def abort_late(self) -> None:
        """Abort the requests whose deadlines have passed; an answer that is whole by now is none of them."""
        now_ns, late = self._now(), list[_InFlight]()
        while self.deadlines and self.deadlines[0][0] <= now_ns:
            request = self.in_flight.get(self.deadlines.popleft()[1])
            if request is not None:
                late.append(request)
        self.abort(late, AnswerOutcome.DEADLINE)
        for request in late:
            self._go_on(request, now_ns)

    def abort(self, requests: list[_InFlight], outcome: AnswerOutcome) -> None:
        """Abort requests, and keep what they got so far."""
        if not requests:
            return
        answers = None if self._plan.sampling.stream else self._answers
        so_far = [answers.so_far(request.engine_id) if answers else None for request in requests]
        self._engine.abort_request([request.delivery.request_id for request in requests])
        for request, tokens in zip(requests, so_far, strict=True):
            self._end(request, outcome, tokens)

    def outcome(self, why: StopReason, steps: int) -> PlanOutcome:
        never_handed = self._plan.num_requests - len(self._lateness_ns) + self._further - self._not_asked
        return PlanOutcome(
            started_ns=self.started_ns,
            ended_ns=self._now(),
            never_handed=never_handed,
            measured=self._ended,
            further=self._further,
            answered_tokens=self._answered_tokens,
            lateness_ns=self._lateness_ns,
            why=why,
            steps=steps,
            not_asked=self._not_asked,
            levels=self._levels,
        )


def step_cores(engine: Any, due: list[tuple[int, int, int]]) -> list[Any]:
    """Step an engine of several cores, no further than to the next request: a core may be free for it."""
    outputs: list[Any] = engine.step_until(due[0][0] if due else None)
    return outputs


def drive(
    engine: Any,
    plan: Plan,
    parameters: Callable[[Request], Any],
    stop: Stop = NO_STOP,
    is_steady: SteadyCheck | None = None,
    answers: AnswerLog | None = None,
    now: Callable[[], int] | None = None,
    sleep: Callable[[float], None] | None = None,
    deliveries: list[Delivery] | None = None,
) -> PlanOutcome:
    """Step the engine until all measured requests have ended or a stop condition is met.

    Before each step, requests that are due are handed over, and those whose deadline has passed are aborted. `engine`
    is vLLM's `LLMEngine` in this process; `parameters` returns a request's `SamplingParams`; `deliveries` gets what
    becomes of each request, in the order in which the engine gets them. Whatever ends this early, Ctrl-C too, aborts
    the requests in flight.
    """
    now, sleep = now or time.monotonic_ns, sleep or time.sleep  # at the call: a process may read a virtual clock
    driver = _Driver(engine, plan, parameters, now, answers, deliveries)
    due, in_flight, finished_ns, deadlines = driver.due, driver.in_flight, driver.finished_ns, driver.deadlines
    step = partial(step_cores, engine, due) if hasattr(engine, "step_until") else engine.step  # looked up once
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
            if deadlines and deadlines[0][0] <= now():
                driver.abort_late()
            if due and due[0][0] <= now():
                driver.hand_over_due()
            if in_flight:
                steps += 1
                if outputs := step():
                    driver.take(outputs)
            elif due:
                until_ns = due[0][0] if end_ns is None else min(due[0][0], end_ns)
                sleep(max(0, until_ns - now()) / SECOND_NS)
    finally:
        driver.abort(list(driver.in_flight.values()), AnswerOutcome.STOPPED)
    return driver.outcome(why, steps)
