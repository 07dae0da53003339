"""A world in which time passes only when somebody works or sleeps, and an engine that answers as it is told."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import msgspec

from engine_probe.workload.answers import AnswerLog, Tokens
from engine_probe.workload.driver import NO_STOP, Delivery, PlanOutcome, SteadyCheck, drive
from engine_probe.workload.request_plan import Plan
from engine_probe.workload.stop import Stop

MS = 1_000_000
START_NS = 5_000 * MS
ANSWER = 7


class Followed(PlanOutcome, frozen=True, kw_only=True):
    """With what became of each request, in the order in which the engine got them."""

    deliveries: list[Delivery]


class World:
    """One token per step for each request in flight; a step takes 10 ms, handing over nothing."""

    def __init__(self, step_ms: int = 10, stream: bool = False) -> None:
        self.now_ns = START_NS
        self.step_ns = step_ms * MS
        self.stream = stream
        self.left: dict[str, int] = {}
        self.asked: dict[str, list[int]] = {}  # id -> prompt, in the order of handing over
        self.most = 0
        self.slept_ms: list[float] = []
        self.aborted: list[str] = []
        self.breaks_at_step: int | None = None
        self.steps = 0
        self.reasons: dict[str, str] = {}  # id -> why it ends, where not for its length

    def clock(self) -> int:
        return self.now_ns

    def sleep(self, seconds: float) -> None:
        assert not self.left, "the engine has work and the driver sleeps"
        self.slept_ms.append(seconds * 1000)
        self.now_ns += round(seconds * 1e9)

    def add_request(self, name: str, prompt: dict[str, list[int]], parameters: int) -> str:
        assert name not in self.left
        self.left[name] = parameters
        self.asked[name] = prompt["prompt_token_ids"]
        self.most = max(self.most, len(self.left))
        return f"{name}-internal"

    def step(self) -> list[SimpleNamespace]:
        self.steps += 1
        if self.steps == self.breaks_at_step:
            raise KeyboardInterrupt
        assert self.left, "a step with nothing to do"
        self.now_ns += self.step_ns
        self.left = {name: steps - 1 for name, steps in self.left.items()}
        outputs = [self._output(name) for name, left in self.left.items() if self.stream or not left]
        self.left = {name: left for name, left in self.left.items() if left}
        return outputs

    def _output(self, name: str) -> Any:
        tokens = [ANSWER] * (1 if self.stream else self.tokens_of[name])
        return SimpleNamespace(request_id=name, finished=not self.left[name], outputs=[self._completion(name, tokens)])

    def _completion(self, name: str, tokens: list[int]) -> SimpleNamespace:
        reason = None if self.left[name] else self.reasons.get(name, "length")
        return SimpleNamespace(token_ids=tokens, finish_reason=reason, logprobs=None)

    def so_far(self, engine_id: str) -> Tokens:
        name = engine_id.removesuffix("-internal")
        return Tokens.of(SimpleNamespace(token_ids=[ANSWER] * (self.tokens_of[name] - self.left[name]), logprobs=None))

    def abort_request(self, names: list[str]) -> None:
        self.aborted += names
        for name in names:
            del self.left[name]

    def drive(
        self,
        plan: Plan,
        stop: Stop = NO_STOP,
        is_steady: SteadyCheck | None = None,
        answers: AnswerLog | None = None,
    ) -> Followed:
        """The engine is told by its parameters how many tokens to answer."""
        self.tokens_of = {one.id: one.output_len for session in plan.sessions for one in session.requests}
        found: list[Delivery] = []
        parameters = operator.attrgetter("output_len")
        outcome = drive(self, plan, parameters, stop, is_steady, answers, self.clock, self.sleep, found)
        return Followed(**msgspec.structs.asdict(outcome), deliveries=found)

    @contextmanager
    def interrupted_at(self, step: int) -> Iterator[None]:
        self.breaks_at_step = step
        yield
        self.breaks_at_step = None


def after_ms(moment_ns: int | None) -> float | None:
    return None if moment_ns is None else (moment_ns - START_NS) / MS
