"""vLLM's own parameters for the requests of a plan."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any
from zlib import crc32

from engine_probe.workload.request_plan import Plan, Request

UNSEEDED = (
    "answers are drawn without a seed for each: this vLLM runs on a CPU, where a seeded request whose prompt comes in "
    "chunks stops the engine; enable_chunked_prefill = false would allow seeds"
)


def sampling_parameters(plan: Plan, seeded: bool = True) -> Callable[[Request], Any]:
    """Equal parameters share one object, for the engine copies it; where chance decides each has a seed of its own."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    sampling = plan.sampling
    kind = RequestOutputKind.DELTA if sampling.stream else RequestOutputKind.FINAL_ONLY

    @cache
    def parameters(output_len: int, seed: int | None) -> Any:
        return SamplingParams(
            max_tokens=output_len,
            ignore_eos=sampling.ignore_eos,
            temperature=sampling.temperature,
            seed=seed,
            detokenize=False,
            output_kind=kind,
        )

    if not sampling.temperature or not seeded:
        return lambda request: parameters(request.output_len, None)
    return lambda request: parameters(request.output_len, crc32(f"{plan.seed}/{request.id}".encode()))


def can_seed(engine: Any) -> bool:
    """Whether vLLM can give requests seeds of their own here.

    After each chunk of a prompt but the last, it takes back what a seeded request drew, by moving its torch
    generator; a generator on a CPU cannot be moved and raises, which ends the engine. Prompts are cut wherever the
    step's token budget runs out, and again after a preemption, so without whole prompts it cannot be excluded.
    """
    config = engine.vllm_config
    return config.device_config.device_type != "cpu" or not config.scheduler_config.enable_chunked_prefill
