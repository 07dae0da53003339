"""The number of ranks of an engine, among which GPUs, cores, memory and weights are divided.

vLLM starts one process per rank: data x pipeline x tensor x prefill-context parallel. Each rank has its own GPU, or its
own cores on the CPU build. Tensor and pipeline parallelism split the weights; the other two copy them.
"""

import math
from collections.abc import Mapping
from typing import Any

from engine_probe.errors import InputError

SPLIT_WEIGHTS = ("tensor_parallel_size", "pipeline_parallel_size")
CONTEXT, DATA = "prefill_context_parallel_size", "data_parallel_size"
SIZES = (*SPLIT_WEIGHTS, CONTEXT, DATA)


def rank_count(arguments: Mapping[str, object]) -> int:
    """Return the number of ranks of all replicas, which is the number of GPUs that are needed."""
    return math.prod(parallel_size(arguments, name) for name in SIZES)


def weight_shards(arguments: Mapping[str, object]) -> int:
    """Return the number of ranks among which one copy of the weights is split."""
    return math.prod(parallel_size(arguments, name) for name in SPLIT_WEIGHTS)


def parallel_size(arguments: Mapping[str, object], name: str) -> int:
    """Return one of the sizes; an engine without it has 1."""
    size = arguments.get(name, 1)
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise InputError(f"engine.arguments.{name} is {size!r}: give a whole number from 1 on")
    return size


def recorded_rank_count(facts: Mapping[str, Any]) -> int | None:
    """Return the number of ranks of a recorded engine; None if its `run.json` does not tell."""
    parallel = facts["engine"]["arguments"].get("parallel_config") or {}
    sizes = [parallel.get(name) for name in (*SPLIT_WEIGHTS, DATA)]
    sizes.append(parallel.get(CONTEXT, 1))  # older versions of vLLM do not have it
    valid = [size for size in sizes if isinstance(size, int) and size > 0]
    return math.prod(valid) if len(valid) == len(sizes) else None


def size_words(arguments: Mapping[str, object]) -> str:
    """Name the sizes that are given, for a sentence."""
    return ", ".join(f"{name} {arguments[name]}" for name in SIZES if name in arguments) or "one rank"
