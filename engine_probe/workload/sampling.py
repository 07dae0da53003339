"""vLLM's sampling parameters for the requests of a plan."""

from collections.abc import Callable
from functools import cache
from typing import Any
from zlib import crc32

from engine_probe.workload.request_plan import Plan, Request

UNSEEDED = (
    "answers are sampled without a seed for each request: vLLM's CPU build stops when a seeded request's prompt is "
    "computed in chunks; enable_chunked_prefill = false would allow seeds"
)


def sampling_parameters(plan: Plan, seeded: bool = True) -> Callable[[Request], Any]:
    """Return a function from a request to its parameters, with a seed for each request if tokens are sampled.

    Requests with equal parameters share one object, which the engine copies.
    """
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
    """Return whether this engine can take requests with seeds: on a CPU only without chunked prefill.

    After each chunk of a prompt but the last, vLLM resets the torch generator of a seeded request, which a CPU
    generator does not support: it raises, and the engine ends. Any prompt may be computed in chunks, because the
    step's token budget cuts it anywhere, also after a preemption.
    """
    config = engine.vllm_config
    return config.device_config.device_type != "cpu" or not config.scheduler_config.enable_chunked_prefill
