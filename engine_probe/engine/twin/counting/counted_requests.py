"""Requests of which a step changes nothing but counters, and what brings them up to date."""

from collections import defaultdict
from collections.abc import Callable

from vllm.sampling_params import RequestOutputKind
from vllm.v1.engine import EngineCoreOutput
from vllm.v1.request import Request, RequestStatus

LEAST_STEPS = 4  # a request that ends sooner costs more than it saves
BEFORE_THE_END = 2  # steps before its last one in which a request leaves, so that vLLM ends it itself

Token = Callable[[str, int], int]  # (request, place in its answer) -> the token that is sampled there


class CountedRequests:
    """Holds the requests that get one token in every step, and how many steps were scheduled and updated."""

    def __init__(self, block_size: int, longest: int, is_asynchronous: bool, token: Token) -> None:
        self.requests: dict[str, Request] = {}
        self.scheduled = self.updated = 0
        self._block_size, self._longest = block_size, longest
        self._is_asynchronous, self._token = is_asynchronous, token
        self._counted: dict[str, tuple[int, int]] = {}  # steps scheduled and updated when it was last up to date
        self._due: list[list[Request]] = [[] for _ in range(block_size)]  # by the step's number modulo the block size
        self._numbers: dict[str, set[int]] = {}
        self._ends: defaultdict[int, list[Request]] = defaultdict(list)  # step -> requests that leave before it
        self._context = 0  # of step 0 in which all of them would have had their tokens
        self._constant: list[EngineCoreOutput] | None = None

    def __len__(self) -> int:
        return len(self.requests)

    @property
    def context(self) -> int:
        """Return the tokens that those of the next step attend to, themselves included."""
        return self._context + self.scheduled * len(self.requests)

    def due(self) -> list[Request]:
        """Return the requests whose token of the next step begins or fills a block."""
        return self._due[self.scheduled % self._block_size]

    def ending(self) -> list[Request]:
        """Return the requests that vLLM has to look at from the next step on, because they end soon."""
        return self._ends.pop(self.scheduled, [])

    def may_join(self, request: Request, depth: int) -> bool:
        """Return whether a running request only counts from the next step on; `depth` steps are not updated yet."""
        return only_counts(request, depth if self._is_asynchronous else 0, depth) and (
            self._left(request) >= LEAST_STEPS
        )

    def _left(self, request: Request) -> int:
        last = min(request.num_prompt_tokens + request.max_tokens, self._longest)
        return int(last - request.num_tokens - request.num_in_flight_tokens - BEFORE_THE_END)

    def join(self, request: Request) -> None:
        name = request.request_id
        self.requests[name], self._counted[name] = request, (self.scheduled, self.updated)
        self._numbers[name] = self._numbers_of(request)
        for number in self._numbers[name]:
            self._due[number].append(request)
        self._ends[self.scheduled + self._left(request)].append(request)
        self._context += request.num_computed_tokens + 1 - self.scheduled
        self._constant = None

    def _numbers_of(self, request: Request) -> set[int]:
        """Return the steps, modulo the block size, whose token begins or fills a block of an up-to-date request."""
        begins = (self.scheduled - request.num_computed_tokens) % self._block_size
        fills = begins if self._is_asynchronous and request.num_output_placeholders else (begins - 1) % self._block_size
        return {begins, fills}

    def leave(self, request: Request) -> list[int]:
        """Bring a request up to date, and count it no longer; return its tokens since it was last up to date."""
        tokens, name = self.bring_up_to_date(request), request.request_id
        for number in self._numbers.pop(name):
            self._due[number].remove(request)
        if request in (ends := self._ends.get(self.scheduled + self._left(request), [])):
            ends.remove(request)
        self._context -= request.num_computed_tokens + 1 - self.scheduled
        del self.requests[name], self._counted[name]
        self._constant = None
        return tokens

    def bring_up_to_date(self, request: Request) -> list[int]:
        """Set the counters of a request and append its tokens to it; return them."""
        name = request.request_id
        scheduled, updated = self._counted[name]
        self._counted[name] = self.scheduled, self.updated
        request.num_computed_tokens += self.scheduled - scheduled
        flying = (self.scheduled - scheduled) - (self.updated - updated)
        request.num_in_flight_tokens += flying
        if self._is_asynchronous:
            request.num_output_placeholders += flying
        place = request.num_output_tokens
        tokens = [self._token(name, number) for number in range(place, place + self.updated - updated)]
        if tokens:
            request.append_output_token_ids(tokens)
        return tokens

    def constant_outputs(self) -> list[EngineCoreOutput]:
        """Return an output for each request that is answered as a whole: nobody reads it."""
        if self._constant is None:
            self._constant = [EngineCoreOutput(name, [0]) for name, each in self.requests.items() if is_whole(each)]
            self._streamed = [each for each in self.requests.values() if not is_whole(each)]
        return self._constant

    def streamed_outputs(self) -> list[EngineCoreOutput]:
        """Return this step's tokens of all other requests. To be called after `constant_outputs`."""
        found = []
        for request in self._streamed:
            name = request.request_id
            place = request.num_output_tokens + self.updated - 1 - self._counted[name][1]
            found.append(EngineCoreOutput(name, [self._token(name, place)]))
        return found


def is_whole(request: Request) -> bool:
    """Return whether a request gets its answer as a whole, with its last token."""
    return bool(request.sampling_params.output_kind is RequestOutputKind.FINAL_ONLY)


def only_counts(request: Request, placeholders: int, depth: int) -> bool:
    """Return whether a request computes its next token, with no check of it that could end the request early."""
    parameters = request.sampling_params
    return bool(
        request.num_output_placeholders == placeholders
        and request.num_in_flight_tokens == depth
        and request.num_tokens + placeholders - request.num_computed_tokens == 1
        and request.prefill_stats is None
        and request.status == RequestStatus.RUNNING
        and not request.num_stale_output_tokens
        and parameters is not None
        and parameters.eos_token_id is None
        and not parameters.stop_token_ids
        and not parameters.stop
        and parameters.repetition_detection is None
        and request.structured_output_request is None
        and request.lora_request is None
        and not request.mm_features
        and request.streaming_queue is None
    )
