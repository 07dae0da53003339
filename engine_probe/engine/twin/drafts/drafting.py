"""The drafts of a twin's requests: what a step gives a request that had one, and what is drafted for the next step.

Only vLLM's scheduler knows what a rejected token leaves behind; here it is decided how many are rejected.
"""

from array import array
from collections.abc import Iterable, Mapping
from typing import Any
from zlib import crc32

from engine_probe.engine.twin.drafts.acceptance import Acceptance

DRAFT_TOKEN = 8  # nobody reads it: an accepted one is replaced by the token that the answer has there


class Drafts:
    """Knows how many tokens each request in flight got."""

    def __init__(self, acceptance: Acceptance, most: int, are_asynchronous: bool = False) -> None:
        self.acceptance, self._most, self._are_asynchronous = acceptance, most, are_asynchronous
        self._got: dict[str, int] = {}
        self._key: dict[str, int] = {}  # its name and prompt: not vLLM's own id, which is random
        self._drafts: dict[str, list[int]] = {}  # made in the last step

    def forget(self, request_ids: Any) -> None:
        for request_id in request_ids:
            self._got.pop(request_id, None)
            self._key.pop(request_id, None)

    def note(self, request_id: str, prompt: list[int]) -> None:
        """Note a request that is scheduled for the first time."""
        name = request_id.rpartition("-")[0]
        self._got[request_id] = 0
        self._key[request_id] = crc32(name.encode(), crc32(array("q", prompt).tobytes()))

    def resume(self, request_ids: Iterable[str], got: Mapping[str, int]) -> None:
        """Take up preempted requests: vLLM may have dropped tokens of the step that was under way."""
        for request_id in request_ids:
            self._got[request_id] = got[request_id]

    def places(self, request_ids: list[str], partial: set[str], scheduled: Mapping[str, list[int]]) -> list[range]:
        """Return the places in its answer whose tokens each request gets in this step, and draft what follows.

        One token is the model's own; the others are accepted ones. A draft of -1 only fills the batch, but with
        asynchronous scheduling it holds the place of one that the device made after the step before.
        """
        found, before, self._drafts = [], self._drafts, dict[str, list[int]]()
        for request_id in request_ids:
            if request_id in partial:
                found.append(range(0))
                self._drafts[request_id] = []
                continue
            got, draft = self._got[request_id], scheduled.get(request_id, ())
            if self._are_asynchronous:
                real = min(len(draft), len(before.get(request_id, ())))
            else:
                real = 0 if draft and draft[0] < 0 else len(draft)
            end = got + 1 + (self.accepted(request_id, got, real) if real else 0)
            found.append(range(got, end))
            self._got[request_id] = end
            self._drafts[request_id] = [DRAFT_TOKEN] * self.drafted(request_id, end)
        return found

    def accepted(self, request_id: str, place: int, drafted: int) -> int:
        return self.acceptance.tokens(drafted, self._key[request_id], place)

    def drafted(self, request_id: str, place: int) -> int:
        return self.acceptance.length(self._most, self._key[request_id], place)

    def take(self) -> dict[str, list[int]]:
        """Return the drafts that follow the last step."""
        return self._drafts
