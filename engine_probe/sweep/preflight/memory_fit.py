"""Whether memory holds the points of a sweep, computed from the models' geometries without starting an engine."""

import math
from collections.abc import Sequence
from typing import Any

from engine_probe.engine.cpu.cpu_binding import check_cores
from engine_probe.engine.cpu.pipeline_stages import check_stages
from engine_probe.engine.models.geometry import GIB
from engine_probe.engine.parallelism import SIZES, rank_count, weight_shards
from engine_probe.errors import InputError
from engine_probe.sweep.definition.sweep_file import Point, apart
from engine_probe.sweep.preflight.duration_estimate import kv_bytes_per_token, weights_bytes
from engine_probe.sweep.replicas.machine_shares import shares_here
from engine_probe.workload.prompts import Conversations, SharedPrefix

NULL_EXECUTOR = "engine_probe.engine.null_executor.SubstituteExecutor"  # loads no weights


def tokens_each(point: Point) -> int | None:
    """Return the KV tokens of one request at its end, in whole blocks if the block size is set. None if drawn."""
    each, block = point.workload.tokens_at_end, point.engine.arguments.get("block_size")
    return math.ceil(each / block) * block if each is not None and isinstance(block, int) else each


def tokens_in_flight(point: Point, requests: int) -> int | None:
    """Return the KV tokens of this many requests at their end. None if they share a part of them."""
    each, prompts = tokens_each(point), point.workload.prompts
    shared = isinstance(prompts, SharedPrefix) or (isinstance(prompts, Conversations) and prompts.system_len)
    return None if each is None or shared else each * requests


def pool_tokens(point: Point) -> int | None:
    """Return the pool's size if the sweep's engine arguments determine it."""
    arguments = point.engine.arguments
    blocks, block, given = (
        arguments.get(n) for n in ("num_gpu_blocks_override", "block_size", "kv_cache_memory_bytes")
    )
    if isinstance(blocks, int) and isinstance(block, int):
        return (blocks - 1) * block  # one of them is vLLM's null block
    per_token = kv_bytes_per_token(point)
    if isinstance(given, int) and per_token is not None:
        return int(given * weight_shards(arguments) // per_token)
    return None


def check_fit(found: Sequence[Point]) -> None:
    """Refuse a point whose pool cannot hold a single request."""
    for point in found:
        pool, each = pool_tokens(point), tokens_each(point)
        if pool is not None and each is not None and each > pool:
            raise InputError(
                f"{point.label}: one request needs {each:,} KV tokens and the pool holds {pool:,}: raise "
                "num_gpu_blocks_override, or ask for less"
            )


def check_gpus(found: Sequence[Point], gpus: Sequence[dict[str, Any]]) -> None:
    """Refuse points that need more GPUs than this machine has; without GPUs, more cores."""
    alone = apart(found)
    if not gpus:
        for spec in {point.engine.spec for point in alone}:
            check_cores(spec.arguments)
            check_stages(spec.arguments)
        return
    for point in {point.engine.spec: point for point in alone}.values():
        needed = rank_count(point.engine.arguments)
        if needed > len(gpus):
            raise InputError(
                f"{point.label}: {needed} ranks need as many GPUs, and there are {len(gpus)}: lower "
                f"{' or '.join(SIZES)}"
            )


def check_host(found: Sequence[Point], memory_bytes: int) -> None:
    """Refuse weights larger than the memory of a machine without GPUs, where loading them would end in a kill."""
    for point in found:
        check_host_together(point, memory_bytes)
    for point in apart(found):
        if exceeds_host(point, memory_bytes):
            raise InputError(
                f"{point.label}: the weights of {point.engine.model} take {(weights_bytes(point) or 0) / GIB:.1f} GiB, "
                f"and this machine has no GPU and {memory_bytes / GIB:.1f} GiB of memory: use a smaller model or type, "
                "or a machine with GPUs"
            )


def check_host_together(point: Point, memory_bytes: int) -> None:
    """Refuse engines whose weights do not fit into this machine's memory together."""
    weights = [weights_bytes(one) or 0.0 for one in point.each_engine]
    if len(weights) > 1 and max(weights) <= memory_bytes < sum(weights):
        raise InputError(
            f"{point.label}: the weights of {len(weights)} engines take {sum(weights) / GIB:.1f} GiB, and this machine "
            f"has {memory_bytes / GIB:.1f} GiB of memory: lower replicas, or measure on a fleet (--ray)"
        )


def check_shares(found: Sequence[Point], num_gpus: int) -> None:
    """Refuse points whose engines need more GPUs, or without GPUs more cores, than this machine has."""
    for point in {point.engines: point for point in found}.values():
        try:
            shares_here(point.engines, num_gpus)
        except InputError as error:
            raise InputError(f"{point.label}: {error}") from error


def exceeds_host(point: Point, memory_bytes: int) -> bool:
    if point.engine.arguments.get("distributed_executor_backend") == NULL_EXECUTOR:
        return False
    weights = weights_bytes(point)
    return weights is not None and weights > memory_bytes
