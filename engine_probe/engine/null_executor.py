"""An executor that computes nothing, under a real vLLM engine, scheduler and block manager.

It is given to vLLM as `distributed_executor_backend=SubstituteExecutor`, a public parameter. It has no weights and no
KV memory, so a step costs only what the scheduler costs: the scheduler and the probe can be measured alone, and
asynchronous scheduling runs on a machine without a GPU. Every finished prefill or decode step returns one token.
"""

from collections import deque
from concurrent.futures import Future
from typing import Any

from vllm.v1.executor.abstract import Executor
from vllm.v1.outputs import DraftTokenIds, ModelRunnerOutput

from engine_probe.engine.twin.kv_cache.specs import kv_cache_specs

ANSWER_TOKEN = 7


class LazyFuture(Future[Any]):
    """Becomes done only when its result is asked for, like a batch that is still on the device."""

    def __init__(self, value: Any) -> None:
        super().__init__()
        self._value = value

    def result(self, timeout: float | None = None) -> Any:
        if not self.done():
            self.set_result(self._value)
        return super().result(timeout)


class SubstituteExecutor(Executor):  # type: ignore[misc]  # vLLM is optional, so mypy sees Any
    """Finishes every step immediately."""

    uses_ray = False
    supports_pp = True

    def _init_executor(self) -> None:
        self._prompt_tokens: dict[str, int] = {}
        self._to_sample: deque[Any] = deque()

    def collective_rpc(
        self, method: Any, timeout: float | None = None, args: Any = (), kwargs: Any = None, **_: Any
    ) -> Any:
        if not isinstance(method, str):
            raise TypeError("a substitute executor has no workers to call into")
        answer = getattr(self, f"_answer_{method}", None)
        return [answer() if answer else None]

    def _answer_get_kv_cache_spec(self) -> dict[str, Any]:
        return kv_cache_specs(self.vllm_config)

    def _answer_determine_available_memory(self) -> int:
        cache = self.vllm_config.cache_config
        return cache.kv_cache_memory_bytes or 1 << 40  # users of this executor set num_gpu_blocks_override

    def _answer_get_supported_kv_cache_layouts(self) -> list[str]:
        from vllm.v1.kv_cache_layout import KVCacheLayout

        return [layout.name for layout in KVCacheLayout]

    def _answer_get_supported_tasks(self) -> tuple[str, ...]:
        return ("generate",)

    def compile_or_warm_up_model(self) -> None:
        return None

    def execute_model(self, scheduler_output: Any, non_block: bool = False) -> Any:
        sampled = scheduler_output.total_num_scheduled_tokens > 0
        if sampled:
            self._to_sample.append(scheduler_output)
        value = None if sampled else ModelRunnerOutput(req_ids=[], req_id_to_index={})
        return LazyFuture(value) if non_block else value

    def sample_tokens(self, grammar_output: Any, non_block: bool = False) -> Any:
        output = self._sample(self._to_sample.popleft())
        return LazyFuture(output) if non_block else output

    def _sample(self, scheduler_output: Any) -> ModelRunnerOutput:
        for request_id in scheduler_output.finished_req_ids:
            self._prompt_tokens.pop(request_id, None)
        partial, places = set[str](), dict[str, int]()  # place of the token that each request gets in its answer
        drafts = scheduler_output.scheduled_spec_decode_tokens
        for data in scheduler_output.scheduled_new_reqs:
            prefill = getattr(data, "prefill_token_ids", None) or data.prompt_token_ids
            self._prompt_tokens[data.req_id] = len(data.prompt_token_ids)
            end = data.num_computed_tokens + scheduler_output.num_scheduled_tokens[data.req_id]
            end -= len(drafts.get(data.req_id, ()))
            places[data.req_id] = end - len(data.prompt_token_ids)
            if end < len(prefill):
                partial.add(data.req_id)
        cached = scheduler_output.scheduled_cached_reqs
        for request_id, computed, answered in zip(
            cached.req_ids, cached.num_computed_tokens, cached.num_output_tokens, strict=True
        ):
            end = computed + scheduler_output.num_scheduled_tokens[request_id] - len(drafts.get(request_id, ()))
            places[request_id] = end - self._prompt_tokens[request_id]
            if end < self._prompt_tokens[request_id] + answered:
                partial.add(request_id)
        ids = list(scheduler_output.num_scheduled_tokens)
        return ModelRunnerOutput(
            req_ids=ids,
            req_id_to_index={request_id: index for index, request_id in enumerate(ids)},
            sampled_token_ids=self._tokens(ids, partial, places, drafts),
        )

    def _tokens(
        self, ids: list[str], partial: set[str], places: dict[str, int], drafts: dict[str, list[int]]
    ) -> list[list[int]]:
        """Return the tokens of each request; no draft is accepted."""
        return [[] if each in partial else [self.token(each, places[each])] for each in ids]

    def token(self, request_id: str, place: int) -> int:
        return ANSWER_TOKEN

    def take_draft_token_ids(self) -> DraftTokenIds | None:
        return None

    def check_health(self) -> None:
        return None

    @classmethod
    def supports_async_scheduling(cls) -> bool:
        return True
