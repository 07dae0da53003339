"""Faults planted in a running engine, each in a known request at a known token, and undone at the end.

    with planted_faults(llm, [WrongBlock("3", token=5, donor="4"), LostToken("7", token=9)]) as planted:
        ...  # requests "3", "4" and "7" are answered
    assert planted.victims == {"3", "7"}

All act behind the scheduler's update, that is between two steps, on an engine whose worker is in this process.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from engine_probe.hook.patches import Patches


class Fault(Protocol):
    """A fault, with the requests that it hit so far."""

    hit: set[str]

    def between_steps(self, engine: EngineParts, outputs: list[Any]) -> None:
        """Damage the engine, or what the last step gave out."""

    def undo(self, engine: EngineParts) -> None: ...


class EngineParts:
    """Finds requests by the ids under which they were handed over."""

    def __init__(self, llm: Any) -> None:
        core = llm.llm_engine.engine_core.engine_core
        self.scheduler = core.scheduler
        self.batch = core.model_executor.driver_worker.worker.model_runner.input_batch
        self.given_out = Counter[str]()  # tokens of each request, by vLLM's internal id

    def internal_id(self, name: str) -> str | None:
        """Return vLLM's id of a request that has not ended. None if there is none."""
        return next((each for each in self.scheduler.requests if name in (each, handed_id(each))), None)

    def row(self, name: str) -> int | None:
        """Return the request's place in the worker's batch. None if it is not in it."""
        return self.batch.req_id_to_index.get(self.internal_id(name))

    def block_table(self) -> Any:
        """Return the worker's table: the KV blocks of each row of its batch."""
        return self.batch.block_table[0].block_table.np


def handed_id(internal: str) -> str:
    return internal.rpartition("-")[0]


class WrongBlock:
    """Lets a request read another request's KV block in place of one of its own, from a token on.

    The worker's block table is changed and no block is overwritten, so that no other request is damaged. It is what a
    scheduler would do that gave a block away too early. A preemption ends it, because the table is filled anew.
    """

    def __init__(self, victim: str, token: int, donor: str, block: int = 0) -> None:
        self.victim, self.token, self.donor, self.block = victim, token, donor, block
        self.hit = set[str]()
        self._own: int | None = None

    def between_steps(self, engine: EngineParts, outputs: list[Any]) -> None:
        victim, donor = engine.row(self.victim), engine.row(self.donor)
        if self.hit or victim is None or donor is None or given_out(engine, self.victim) < self.token:
            return
        table = engine.block_table()
        self._own = int(table[victim, self.block])
        table[victim, self.block] = table[donor, self.block]
        self.hit.add(self.victim)

    def undo(self, engine: EngineParts) -> None:
        row = engine.row(self.victim)
        if self._own is not None and row is not None:
            engine.block_table()[row, self.block] = self._own


class LostToken:
    """Loses a token on its way out of the engine; the request goes on from it, so that the next one does not follow.

    Lost before the scheduler's update it would stop the request for ever: its token counts as computed, and nothing
    is left to schedule.
    """

    def __init__(self, victim: str, token: int) -> None:
        self.victim, self.token, self.hit = victim, token, set[str]()

    def between_steps(self, engine: EngineParts, outputs: list[Any]) -> None:
        for output in outputs:
            last = engine.given_out[output.request_id] - 1
            if handed_id(output.request_id) == self.victim and last == self.token and not output.finished:
                outputs.remove(output)
                self.hit.add(self.victim)
                return

    def undo(self, engine: EngineParts) -> None: ...


class SwappedAnswers:
    """Gives out each of two requests' tokens as the other's, from the first step after which both are known."""

    def __init__(self, first: str, second: str) -> None:
        self.names, self.hit = (first, second), set[str]()
        self._other: dict[str, str] = {}

    def between_steps(self, engine: EngineParts, outputs: list[Any]) -> None:
        if not self._other:
            first, second = map(engine.internal_id, self.names)
            if first is None or second is None:
                return
            self._other = {first: second, second: first}
        for output in outputs:
            if (other := self._other.get(output.request_id)) is not None:
                output.request_id = other
                self.hit.add(handed_id(other))

    def undo(self, engine: EngineParts) -> None: ...


class CutAnswer:
    """Ends an answer after so many tokens, as if that were its longest length."""

    def __init__(self, victim: str, tokens: int) -> None:
        self.victim, self.tokens, self.hit = victim, tokens, set[str]()
        self._limit = 0

    def between_steps(self, engine: EngineParts, outputs: list[Any]) -> None:
        request = engine.scheduler.requests.get(engine.internal_id(self.victim))
        if request is not None and not self.hit:
            self._limit, request.max_tokens = request.max_tokens, self.tokens
            self.hit.add(self.victim)

    def undo(self, engine: EngineParts) -> None:
        request = engine.scheduler.requests.get(engine.internal_id(self.victim))
        if request is not None and self.hit:
            request.max_tokens = self._limit


class OtherText:
    """Gives out these tokens in place of an answer, as a leaked prompt or a text in another language would look."""

    def __init__(self, victim: str, token_ids: Sequence[int]) -> None:
        self.token_ids, self.hit = token_ids, set[str]()
        self._end = CutAnswer(victim, len(token_ids))

    def between_steps(self, engine: EngineParts, outputs: list[Any]) -> None:
        self._end.between_steps(engine, outputs)
        for output in outputs:
            last = engine.given_out[output.request_id] - 1
            if handed_id(output.request_id) == self._end.victim and last < len(self.token_ids):
                output.new_token_ids = [self.token_ids[last]]
                self.hit.add(self._end.victim)

    def undo(self, engine: EngineParts) -> None:
        self._end.undo(engine)


def given_out(engine: EngineParts, name: str) -> int:
    internal = engine.internal_id(name)
    return engine.given_out[internal] if internal else 0


class Planted:
    """Holds the faults of a running engine."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = faults

    @property
    def victims(self) -> set[str]:
        """Return the requests that were hit."""
        return set[str]().union(*(fault.hit for fault in self.faults))


@contextmanager
def planted_faults(llm: Any, faults: Sequence[Fault]) -> Iterator[Planted]:
    """Damage this `vllm.LLM` inside the block, one request at a time."""
    engine, patches, planted = EngineParts(llm), Patches(), Planted(faults)

    def update_from_output(*args: Any, **kwargs: Any) -> Any:
        by_client = update(*args, **kwargs)
        for given in by_client.values():
            for output in given.outputs:
                engine.given_out[output.request_id] += len(output.new_token_ids)
            for fault in faults:
                fault.between_steps(engine, given.outputs)
        return by_client

    update = patches.replace(engine.scheduler, "update_from_output", update_from_output)
    try:
        yield planted
    finally:
        patches.undo()
        for fault in faults:
            fault.undo(engine)
