"""vLLM's scheduler without its work for requests of which a step changes nothing but counters.

A running request that computes its next token, and does not end soon, is counted: two numbers of all such requests
stand for their counters. When its next token begins or fills a KV block, it is brought up to date, and vLLM's own
block manager and pool give it that block. All other requests (arriving, computing prompts, ending, aborted) go through
vLLM's own `schedule()` and `update_from_output()`, with the limits lowered by what the counted ones take. Where the
free blocks might not suffice for a step, nothing is counted, and vLLM decides who is preempted.

`docs/results/twin/faithfulness.md` compares every decision with a real engine's.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from vllm.v1.core.kv_cache_coordinator import KVCacheCoordinatorNoPrefixCache, UnitaryKVCacheCoordinator
from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.core.single_type_kv_cache_manager import FullAttentionManager
from vllm.v1.engine import EngineCoreOutput, EngineCoreOutputs
from vllm.v1.engine.output_processor import OutputProcessorOutput
from vllm.v1.outputs import ModelRunnerOutput
from vllm.v1.request import Request

from engine_probe.engine.twin.counting.counted_requests import CountedRequests, is_whole

FEWEST = 4  # so few requests are not worth counting


class CountedOutput(SchedulerOutput):  # type: ignore[misc]  # vLLM is optional, so mypy sees Any
    """A step with counted requests; `rest` is what vLLM's own `schedule()` returned for the others, if any."""

    counted: dict[str, int]
    context = 0  # tokens that the tokens of counted requests attend to, themselves included
    rest: SchedulerOutput | None = None


class CountedOutputs(list[EngineCoreOutput]):
    """All outputs of a step; `read` are those that anybody reads: of ends, of streams, and of what is not counted."""

    read: list[EngineCoreOutput]


class Flight(NamedTuple):
    """A step that was scheduled and is not updated yet."""

    scheduled: dict[str, int]  # request -> tokens, in vLLM's order
    counted: dict[str, int]  # of them, those that were counted


class CountingScheduler(Scheduler):  # type: ignore[misc]  # as above
    """Goes in front of the class of a scheduler that exists."""

    # Of vLLM's scheduler:
    running: list[Request]
    max_num_scheduled_tokens: int
    max_num_active_reqs: int

    deliver: Callable[[str, list[int]], None]  # takes tokens of a request that is answered as a whole
    is_counting = True  # false: vLLM computes every step
    counted_steps = 0  # so far, with counted requests

    def start_counting(self, token: Callable[[str, int], int], deliver: Callable[[str, list[int]], None]) -> None:
        is_asynchronous = isinstance(self, AsyncScheduler)
        self.token, self.deliver = token, deliver
        self._counted = CountedRequests(self.block_size, self.max_model_len, is_asynchronous, token)
        self._counted_tokens: dict[str, int] = {}  # replaced, never changed, when a request joins or leaves
        self._flights: deque[Flight] = deque()  # the oldest first
        self._empty = vars(SchedulerOutput.make_empty())
        (self._manager,) = self.kv_cache_manager.coordinator.single_type_managers

    def schedule(self, throttle_prefills: bool = False) -> SchedulerOutput:
        counted = self._counted
        self._leave(counted.ending())
        self._let_join()
        others = [each for each in self.running if each.request_id not in counted.requests] if self._differs else []
        if not counted.requests or throttle_prefills or self._pause_state.value or not self._is_room(others):
            self.catch_up()
            output = super().schedule(throttle_prefills)
            self._flights.append(Flight(output.num_scheduled_tokens, {}))
            return output
        for request in counted.due():
            self._bring_up_to_date(request)
            self._give_slot(request)
        rest = self._schedule_others(others) if others or self._may_admit() else None
        if rest is None:
            self.current_step += 1
        output = self._merged(rest)
        counted.scheduled += 1
        self.counted_steps += 1
        self._flights.append(Flight(output.num_scheduled_tokens, self._counted_tokens))
        return output

    @property
    def _differs(self) -> bool:
        return len(self.running) != len(self._counted)

    def _let_join(self) -> None:
        """Count the running requests that only count from now on."""
        if not self._differs or not self.is_counting or (not self._counted.requests and len(self.running) < FEWEST):
            return
        counted, depth = self._counted, len(self._flights)
        joining = [
            each for each in self.running if each.request_id not in counted.requests and counted.may_join(each, depth)
        ]
        if joining and len(joining) + len(counted) >= FEWEST:
            for request in joining:
                counted.join(request)
            self._note_members()

    def _note_members(self) -> None:
        counted = self._counted
        self._counted_tokens = {each.request_id: 1 for each in self.running if each.request_id in counted.requests}

    def _leave(self, requests: Iterable[Request]) -> None:
        left = [(request, self._counted.leave(request)) for request in requests]
        for request, tokens in left:
            self._delivered(request, tokens)
        if left:
            self._counted_tokens = {name: 1 for name in self._counted_tokens if name in self._counted.requests}

    def _is_room(self, others: list[Request]) -> bool:
        """Return whether free blocks and tokens suffice for all that run: nobody is preempted, or goes without."""
        blocks, tokens = len(self._counted.due()), len(self._counted)
        for request in others:
            wanted = request.num_tokens + request.num_output_placeholders - request.num_computed_tokens
            blocks, tokens = blocks + wanted // self.block_size + 1, tokens + wanted
        if blocks > self.kv_cache_manager.block_pool.get_num_free_blocks():
            return False
        return tokens <= self.max_num_scheduled_tokens or self._are_counted_first()

    def _are_counted_first(self) -> bool:
        """Return whether counted requests get their tokens before all others, and leave some."""
        number = len(self._counted)
        return number < self.max_num_scheduled_tokens and all(
            each.request_id in self._counted.requests for each in self.running[:number]
        )

    def _may_admit(self) -> bool:
        """Return whether vLLM's own `schedule()` has anything to do beside running requests."""
        if self.finished_req_ids or self.kv_holding_waiting:
            return True
        return bool(self.waiting) and len(self.running) < self.max_num_active_reqs

    def _schedule_others(self, others: list[Request]) -> SchedulerOutput:
        running, number = self.running, len(others)
        with self._lowered(len(self._counted)):
            self.running = others
            output = super().schedule()
        assert not output.preempted_req_ids
        running.extend(others[number:])  # admitted
        self.running = running
        return output

    @contextmanager
    def _lowered(self, by: int) -> Iterator[None]:
        """Lower the limits of tokens and requests in the block by what counted requests take, a token each."""
        config = self.scheduler_config
        before = self.max_num_scheduled_tokens, config.max_num_batched_tokens, self.max_num_active_reqs
        self.max_num_scheduled_tokens, self.max_num_active_reqs = before[0] - by, before[2] - by
        config.max_num_batched_tokens = before[1] - by
        try:
            yield
        finally:
            self.max_num_scheduled_tokens, config.max_num_batched_tokens, self.max_num_active_reqs = before

    def _merged(self, rest: SchedulerOutput | None) -> CountedOutput:
        own, scheduled = vars(rest) if rest else self._empty, self._counted_tokens
        if rest and rest.num_scheduled_tokens:
            every = {**rest.num_scheduled_tokens, **scheduled}
            scheduled = {name: every[name] for each in self.running if (name := each.request_id) in every}
        output = CountedOutput.__new__(CountedOutput)  # the constructor would set each of 25 fields, in every step
        output.__dict__.update(
            own,
            num_scheduled_tokens=scheduled,
            total_num_scheduled_tokens=own["total_num_scheduled_tokens"] + len(self._counted),
            counted=self._counted_tokens,
            context=self._counted.context,
            rest=rest,
        )
        return output

    def update_from_output(self, scheduler_output: SchedulerOutput, model_runner_output: Any) -> dict[int, Any]:
        flight, counted = self._flights.popleft(), self._counted
        counted.updated += 1
        if flight.scheduled is self._counted_tokens and not self.grammar_compile_error_reqs:
            return {0: EngineCoreOutputs(outputs=self._outputs({}))}
        others = [name for name in flight.scheduled if name not in counted.requests]
        part, sampled = self._part(flight, others, scheduler_output, model_runner_output)
        found: dict[int, Any] = super().update_from_output(part, sampled)
        if counted.requests:
            found.setdefault(0, EngineCoreOutputs()).outputs = self._outputs(found)
        return found

    def _part(
        self, flight: Flight, names: list[str], scheduler_output: SchedulerOutput, model_output: Any
    ) -> tuple[SchedulerOutput, Any]:
        """Return what vLLM's own update is to see: requests that are not counted, some of which were, or will be."""
        if not flight.counted and len(names) == len(flight.scheduled):
            return scheduler_output, model_output
        part = SchedulerOutput.make_empty()
        part.num_scheduled_tokens = {name: flight.scheduled[name] for name in names}
        part.total_num_scheduled_tokens = sum(part.num_scheduled_tokens.values())
        known, places, tokens = self.requests, model_output.req_id_to_index, list[list[int]]()
        for name in names:
            if name in flight.counted:
                tokens.append([self.token(name, known[name].num_output_tokens)] if name in known else [])
            else:
                tokens.append(model_output.sampled_token_ids[places[name]])
        index = {name: number for number, name in enumerate(names)}
        return part, ModelRunnerOutput(req_ids=names, req_id_to_index=index, sampled_token_ids=tokens)

    def _outputs(self, found: dict[int, Any]) -> CountedOutputs:
        constant = self._counted.constant_outputs()
        read = [*self._counted.streamed_outputs(), *(found[0].outputs if 0 in found else ())]
        outputs = CountedOutputs([*constant, *read])
        outputs.read = read
        return outputs

    def _give_slot(self, request: Request) -> None:
        """Do what vLLM's `allocate_slots(request, 1)` does where a block is free and nothing is skipped or shared."""
        manager, name, tokens = self._manager, request.request_id, request.num_computed_tokens + 1
        manager.allocate_new_blocks(name, tokens, tokens)
        full = min(tokens, request.num_tokens) // manager.block_size
        if manager.enable_caching and full > (cached := manager.num_cached_block.get(name, 0)):
            blocks, group = manager.req_to_blocks[name], manager.kv_cache_group_id
            manager.block_pool.cache_full_blocks(request, blocks, cached, full, manager.block_size, group)
            manager.num_cached_block[name] = full

    def _bring_up_to_date(self, request: Request) -> None:
        self._delivered(request, self._counted.bring_up_to_date(request))

    def _delivered(self, request: Request, tokens: list[int]) -> None:
        if tokens and is_whole(request):
            self.deliver(request.request_id, tokens)

    def catch_up(self) -> None:
        """Bring all requests up to date and count none, so that vLLM's own code finds what it would have left."""
        if self._counted.requests:
            self._leave(list(self._counted.requests.values()))

    def finish_requests(self, request_ids: str | Iterable[str] | None, finished_status: Any) -> list[Request]:
        names = [request_ids] if isinstance(request_ids, str) else request_ids
        names = list(self._counted.requests) if names is None else list(names)
        self._leave([self._counted.requests[name] for name in names if name in self._counted.requests])
        found: list[Request] = super().finish_requests(None if request_ids is None else names, finished_status)
        return found

    def reset_prefix_cache(self, *args: Any, **kwargs: Any) -> Any:
        self.catch_up()
        return super().reset_prefix_cache(*args, **kwargs)


def count_requests(engine: Any) -> bool:
    """Let the scheduler of an in-process `LLMEngine` on a twin's executor count. False where its kind is not known."""
    core = engine.engine_core.engine_core
    scheduler, processor = core.scheduler, engine.output_processor
    if not is_known(scheduler):
        return False
    process = processor.process_outputs

    def deliver(name: str, tokens: list[int]) -> None:
        if (state := processor.request_states.get(name)) is not None:
            state.detokenizer.update(tokens, False)

    def process_outputs(outputs: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(outputs, CountedOutputs):
            return process(outputs, *args, **kwargs)
        return process(outputs.read, *args, **kwargs) if outputs.read else OutputProcessorOutput([], [])

    base = type(scheduler)
    bases = (CountingScheduler,) if base is Scheduler else (CountingScheduler, base)
    scheduler.__class__ = type(f"Counting{base.__name__}", bases, {"__module__": __name__})
    scheduler.start_counting(core.model_executor.token, deliver)
    processor.process_outputs = process_outputs
    return True


def is_known(scheduler: Any) -> bool:
    """Return whether a step changes no more of this scheduler's requests than is counted here."""
    manager, config = scheduler.kv_cache_manager, scheduler.vllm_config
    coordinator = manager.coordinator
    return bool(
        hasattr(scheduler, "kv_holding_waiting")  # since 0.31
        and isinstance(coordinator, UnitaryKVCacheCoordinator | KVCacheCoordinatorNoPrefixCache)
        and [type(each) for each in coordinator.single_type_managers] == [FullAttentionManager]
        and scheduler.connector is None
        and scheduler.ec_connector is None
        and scheduler.aux_output_connector is None
        and not scheduler.num_spec_tokens
        and not scheduler.num_lookahead_tokens
        and not scheduler.lora_config
        and not scheduler.log_stats
        and not scheduler.enable_kv_cache_events
        and not scheduler.is_encoder_decoder
        and not manager.watermark_blocks
        and not scheduler.scheduler_config.long_prefill_token_threshold
        and getattr(scheduler, "local_prefill_interval", 1) == 1  # since 0.33; it counts executed steps
        and config.parallel_config.pipeline_parallel_size == 1
    )
