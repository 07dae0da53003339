"""vLLM's own parameters for the requests of a plan."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any
from zlib import crc32

from engine_probe.workload.plan import Plan, Request


def sampling_parameters(plan: Plan) -> Callable[[Request], Any]:
    """Greedy answers of a length share one object, for the engine copies it; others have a seed of their own."""
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

    if not sampling.temperature:
        return lambda request: parameters(request.output_len, None)
    return lambda request: parameters(request.output_len, crc32(f"{plan.seed}/{request.id}".encode()))
