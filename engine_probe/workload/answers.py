"""What is kept of the answers: a row of the table `answers` for each request, made when it ends.

A checksum is always kept. Tokens cost the engine's thread a few nanoseconds each beyond that, because the checksum
already packs them into an array.
"""

from array import array
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, Self
from zlib import crc32

import msgspec
import numpy as np
import numpy.typing as npt

from engine_probe.files.key_meaning import about
from engine_probe.record.schema import AnswerOutcome
from engine_probe.workload.lengths import DescriptionError
from engine_probe.workload.request_plan import Request

Reals = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int32]
Append = Callable[[tuple[Any, ...]], None]
ENTRIES = 3  # vLLM gives the chosen token and then the two most probable, of which it may be one


class KeepAnswers(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is kept of each answer, in the table `answers` of the recording. Without this section, a checksum."""

    keep: Annotated[
        Literal["tokens", "text"] | None,
        about("tokens keeps the token ids of each answer; text keeps its text, too.", "tokens"),
    ] = None
    logprobs: Annotated[
        bool, about("Also keep the log-probabilities of each token and of the best other one.", True)
    ] = False

    def __post_init__(self) -> None:
        if self.logprobs and self.keep is None:
            raise DescriptionError('logprobs = true needs the tokens that they belong to: add keep = "tokens"')


class Tokens:
    """Holds an answer as far as vLLM has given it, with its log-probabilities if they were asked for."""

    def __init__(self) -> None:
        self.token_ids: list[int] = []
        self.likely_ids: list[int] = []  # ENTRIES for each token, as in `likely_logprobs`
        self.likely_logprobs: list[float] = []

    @classmethod
    def of(cls, answer: Any) -> Self:
        """Return what a `CompletionOutput` of vLLM holds, or another object with its names."""
        tokens = cls()
        tokens.token_ids, flat = answer.token_ids, answer.logprobs
        if flat is not None:
            tokens.likely_ids, tokens.likely_logprobs = flat.token_ids, flat.logprobs
        return tokens

    def add_logprobs(self, flat: Any) -> None:
        """Add those of tokens that were streamed in a step."""
        self.likely_ids += flat.token_ids
        self.likely_logprobs += flat.logprobs


SoFar = Callable[[str], Tokens | None]  # the answer so far of a request in flight, by the engine's own id


class AnswerLog:
    """Makes the rows, and hands them to `append`."""

    def __init__(
        self, append: Append, kept: KeepAnswers, so_far: SoFar, decode: Callable[[Sequence[int]], str] | None = None
    ) -> None:
        self._append, self.kept, self.so_far, self._decode = append, kept, so_far, decode
        self._asked: dict[str, tuple[Any, ...]] = {}  # of each request in flight, what is known when it is handed over

    def handed(self, request: Request, engine_id: str, prompt: Sequence[int]) -> None:
        """Note a request as the engine takes it, with the id that the engine gave it."""
        self._asked[request.id] = engine_id, request.id, request.question_id, checksum(prompt)

    def ended(self, prompt_id: str, outcome: AnswerOutcome, answer: Tokens | None) -> None:
        """Make the row of a request that ended. No `answer`: its tokens were streamed and not kept."""
        asked = self._asked.pop(prompt_id)
        if answer is None:
            self._append((*asked, outcome, None, None, None, None, None, None))
            return
        packed = array("q", answer.token_ids)
        token_ids = text = None
        probabilities: tuple[Any, ...] = (None, None, None)
        if self.kept.keep is not None:
            token_ids = np.frombuffer(packed, dtype=np.int64).astype(np.int32)
            text = None if self._decode is None else self._decode(answer.token_ids)
            probabilities = best_two(answer)
        self._append((*asked, outcome, crc32(packed), token_ids, text, *probabilities))


def checksum(token_ids: Sequence[int]) -> int:
    """Return the CRC-32 of the tokens: equal answers have the same, different ones by chance once in 2^32."""
    return crc32(array("q", token_ids))


def best_two(answer: Tokens) -> tuple[Reals, Integers, Reals] | tuple[None, None, None]:
    """Return the log-probability of each token of an answer, and the best other token with its own.

    Nulls if they were not asked for, or if vLLM did not give them for each token.
    """
    places = len(answer.token_ids)
    if not answer.likely_ids or len(answer.likely_ids) != places * ENTRIES:
        return None, None, None
    token_ids = np.array(answer.likely_ids, dtype=np.int32).reshape(places, ENTRIES)
    logprobs = np.array(answer.likely_logprobs, dtype=np.float32).reshape(places, ENTRIES)
    rows, second = np.arange(places), np.where(token_ids[:, 1] == token_ids[:, 0], 2, 1)
    return logprobs[:, 0].copy(), token_ids[rows, second], logprobs[rows, second]
