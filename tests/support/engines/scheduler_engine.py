"""A real `LLMEngine` with vLLM's real scheduler and block manager over an executor that computes nothing.

It starts in a second and takes a millisecond per step, so that a test can drive it hundreds of times. Unlike the
substitute executor of the package, this one has a worker, in the same process, for the probe to attach to.
"""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING, Any

from engine_probe.engine.build import llm_arguments
from engine_probe.engine.engine_spec import EngineSpec

if TYPE_CHECKING:  # vLLM is imported with the first engine: pytest reads the tests in processes that start none
    from vllm.v1.engine.llm_engine import LLMEngine

# 23 usable blocks of 16 tokens: half of the requests of `generate` are preempted.
ARGUMENTS = {
    "skip_tokenizer_init": True,
    "max_model_len": 256,
    "block_size": 16,
    "num_gpu_blocks_override": 24,
    "max_num_seqs": 16,
    "max_num_batched_tokens": 512,
    "enforce_eager": True,
}


@cache
def executor_with_worker() -> type:
    """Import vLLM, and return an executor that has a worker."""
    os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    from engine_probe.engine.null_executor import SubstituteExecutor

    class Worker:
        rank = 0

        def __init__(self, executor: ExecutorWithWorker) -> None:
            self._executor = executor

        def execute_model(self, scheduler_output: Any, non_block: bool = False) -> Any:
            return SubstituteExecutor.execute_model(self._executor, scheduler_output, non_block)

        def sample_tokens(self, grammar_output: Any, non_block: bool = False) -> Any:
            return SubstituteExecutor.sample_tokens(self._executor, grammar_output, non_block)

    class ExecutorWithWorker(SubstituteExecutor):
        def _init_executor(self) -> None:
            super()._init_executor()
            self.worker = Worker(self)

        def collective_rpc(self, method: Any, timeout: float | None = None, args: Any = (), **more: Any) -> Any:
            if callable(method):
                return [method(self.worker, *args)]
            return super().collective_rpc(method, timeout, args, **more)

        def execute_model(self, scheduler_output: Any, non_block: bool = False) -> Any:
            return self.worker.execute_model(scheduler_output, non_block=non_block)

        def sample_tokens(self, grammar_output: Any, non_block: bool = False) -> Any:
            return self.worker.sample_tokens(grammar_output, non_block=non_block)

    return ExecutorWithWorker


KEPT: list[LLMEngine] = []  # vLLM ends the process's groups, which other engines need, when an engine is collected


def scheduler_engine(**arguments: Any) -> LLMEngine:
    executor = executor_with_worker()
    from vllm import EngineArgs
    from vllm.v1.engine.llm_engine import LLMEngine

    spec = EngineSpec("tiny", {**ARGUMENTS, **arguments})
    known = {**llm_arguments(spec), "distributed_executor_backend": executor}
    known.pop("kv_cache_memory_bytes", None)  # there is no memory behind these blocks
    engine = LLMEngine(EngineArgs(**known).create_engine_config(), executor, log_stats=False)
    KEPT.append(engine)
    return engine


def generate(engine: LLMEngine, count: int = 12, tokens: int = 40) -> dict[str, list[int]]:
    """Requests that share prefixes by fours, more than the pool holds; what each of them was answered."""
    from vllm import SamplingParams

    parameters = SamplingParams(max_tokens=tokens, ignore_eos=True, detokenize=False)
    for index in range(count):
        prompt = [10 + index // 4] * 32 + [50 + index] * (8 + index)
        engine.add_request(f"request {index}", {"prompt_token_ids": prompt}, parameters)
    answers: dict[str, list[int]] = {}
    for _ in range(2_000):  # an engine that was broken never ends
        if not engine.has_unfinished_requests():
            return answers
        for output in engine.step():
            answers[output.request_id] = list(output.outputs[0].token_ids)
    raise AssertionError("the engine does not end")


def core_of(engine: LLMEngine) -> Any:
    return engine.engine_core.engine_core


def held(engine: LLMEngine) -> list[set[str]]:
    """What scheduler, block pool, worker and executor hold: with no probe on them, the same as before it."""
    core = core_of(engine)
    pool = core.scheduler.kv_cache_manager.block_pool
    return [set(vars(one)) for one in (core.scheduler, pool, core.model_executor.worker, core.model_executor)]
