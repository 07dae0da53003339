"""The twin's executor: it computes nothing, and moves the virtual clock by what each step would take."""

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, NamedTuple
from zlib import crc32

from vllm.v1.outputs import DraftTokenIds, ModelRunnerOutput

from engine_probe.engine.null_executor import ANSWER_TOKEN, SubstituteExecutor
from engine_probe.engine.twin.counting.counting_scheduler import CountedOutput
from engine_probe.engine.twin.drafts.acceptance import Acceptance
from engine_probe.engine.twin.drafts.drafting import Drafts
from engine_probe.engine.twin.step_times import DeviceAndHost
from engine_probe.engine.twin.step_work import StepWork, step_work
from engine_probe.engine.twin.virtual_clock import VirtualClock

StepTime = Callable[[StepWork], DeviceAndHost]

# Tokens of sampled answers: apart from ANSWER_TOKEN and from what small vocabularies keep for beginnings and ends.
FIRST_SAMPLED, SAMPLED_TOKENS = ANSWER_TOKEN + 1, 240


NOTHING_SAMPLED = ModelRunnerOutput(req_ids=[], req_id_to_index={})
COMPUTED: Future[None] = Future()
COMPUTED.set_result(None)


class DeviceResult(NamedTuple):
    """A result that is there once the device has computed it: asking for it moves the clock to that moment.

    vLLM asks for no more of a `Future`, which would make a lock in every step.
    """

    clock: VirtualClock
    value: Any
    end_ns: int

    def result(self) -> Any:
        self.clock.advance_to(self.end_ns)
        return self.value


class TwinExecutor(SubstituteExecutor):
    """A device that works through steps one after another, as they are given to it.

    The host's part of a step moves the clock before the device gets the step. With asynchronous scheduling vLLM gives
    it a step while it works on the one before, so that the longer of the two parts sets the pace. Without, vLLM asks
    for a step's tokens before it schedules the next, and the two parts add up; so they do on a device that does not
    work beside its host.

    Equal prompts have equal greedy answers, and different ones where tokens are sampled, as on a real engine: the
    prefix cache finds what one request wrote for another.
    """

    clock: VirtualClock
    step_time: StepTime
    overlaps: bool
    acceptance: Acceptance | None = None  # of drafts; None: the engine has none

    def _init_executor(self) -> None:
        super()._init_executor()
        self._drafts = self._make_drafts(self.acceptance) if self.acceptance else None
        self._free_ns = 0  # when the device has done all that it was given
        self._drawn: set[str] = set()  # requests whose tokens are sampled

    def execute_model(self, scheduler_output: Any, non_block: bool = False) -> Any:
        for request_id in scheduler_output.finished_req_ids:
            self._drawn.discard(request_id)
        if self._drafts is not None:
            self._drafts.forget(scheduler_output.finished_req_ids)
            for data in scheduler_output.scheduled_new_reqs:
                self._drafts.note(data.req_id, data.prompt_token_ids)
            cached = scheduler_output.scheduled_cached_reqs
            if cached.resumed_req_ids:
                self._drafts.resume(
                    cached.resumed_req_ids, dict(zip(cached.req_ids, cached.num_output_tokens, strict=True))
                )
        for data in scheduler_output.scheduled_new_reqs:
            if data.sampling_params is not None and data.sampling_params.temperature > 0:
                self._drawn.add(data.req_id)
        if not scheduler_output.total_num_scheduled_tokens:
            return super().execute_model(scheduler_output, non_block)
        device_ns, host_ns = type(self).step_time(self._work(scheduler_output))
        if type(self).overlaps:
            self.clock.advance_to(self.clock.now_ns() + host_ns)
        else:
            device_ns += host_ns
        self._free_ns = max(self._free_ns, self.clock.now_ns()) + device_ns
        self._to_sample.append(scheduler_output)
        return COMPUTED if non_block else None

    def _work(self, output: Any) -> StepWork:
        if type(output) is not CountedOutput:
            return step_work(output, self._prompt_tokens)
        number = len(output.counted)
        if output.rest is None:
            return StepWork(number, 0, number, 0, output.context)
        work = step_work(output.rest, self._prompt_tokens)
        return work._replace(
            requests=work.requests + number,
            answer_tokens=work.answer_tokens + number,
            answer_context=work.answer_context + output.context,
        )

    def sample_tokens(self, grammar_output: Any, non_block: bool = False) -> Any:
        asked = self._to_sample.popleft()
        if type(asked) is CountedOutput:  # which asks for the tokens of counted requests later
            output = NOTHING_SAMPLED if asked.rest is None else self._sample(asked.rest)
        else:
            output = self._sample(asked)
        if non_block:
            return DeviceResult(self.clock, output, self._free_ns)
        self.clock.advance_to(self._free_ns)
        return output

    def _make_drafts(self, acceptance: Acceptance) -> Drafts:
        config = self.vllm_config
        number = config.speculative_config.num_speculative_tokens
        return Drafts(acceptance, number, config.scheduler_config.async_scheduling)

    def _tokens(
        self, ids: list[str], partial: set[str], places: dict[str, int], drafts: dict[str, list[int]]
    ) -> list[list[int]]:
        if self._drafts is None:
            return super()._tokens(ids, partial, places, drafts)
        given = self._drafts.places(ids, partial, drafts)
        return [[self.token(each, place) for place in found] for each, found in zip(ids, given, strict=True)]

    def take_draft_token_ids(self) -> DraftTokenIds | None:
        if self._drafts is None:
            return None
        drafts = self._drafts.take()
        return DraftTokenIds(list(drafts), list(drafts.values()))

    def token(self, request_id: str, place: int) -> int:
        if request_id not in self._drawn:
            return ANSWER_TOKEN
        return FIRST_SAMPLED + crc32(f"{request_id}/{place}".encode()) % SAMPLED_TOKENS


def twin_executor(
    clock: VirtualClock, step_time: StepTime, overlaps: bool = False, acceptance: Acceptance | None = None
) -> type[TwinExecutor]:
    """Return a class, which vLLM instantiates, for one clock and one model of step times."""
    members = {"clock": clock, "step_time": staticmethod(step_time), "overlaps": overlaps, "acceptance": acceptance}
    return type("TwinExecutor", (TwinExecutor,), members)
