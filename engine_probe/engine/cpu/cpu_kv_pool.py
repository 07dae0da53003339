"""The size of an engine's KV pool on a CPU.

vLLM's CPU build reserves 92 % of the machine's memory unless it gets the pool's size in bytes. If the user sets no
size, the pool is as large as the workload can use, but at most half of the memory that is free beside the weights.
"""

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from engine_probe.engine.cpu.cpu_binding import cpu_build
from engine_probe.engine.cpu.host_memory import MemoryNode, available_bytes
from engine_probe.engine.models.geometry import BYTES, GIB, Geometry, geometry
from engine_probe.engine.parallelism import parallel_size, rank_count, weight_shards
from engine_probe.errors import InputError, UnavailableError

CPU_BLOCK_SIZE = 128  # the CPU platform's default
SHARE_OF_FREE_MEMORY = 0.5
SHARE_IN_WORDS = "half of the memory that is free beside the weights"
SPACE_VARIABLE = "VLLM_CPU_KVCACHE_SPACE"
SHARE_ARGUMENT = "gpu_memory_utilization"
SIZE_ARGUMENTS = ("kv_cache_memory_bytes", SHARE_ARGUMENT)
AUTO_FIT = -1  # of max_model_len: as much as the pool holds


class KvNeed(msgspec.Struct, frozen=True):
    """Holds the most KV cache that a workload can use."""

    requests: int  # in flight
    tokens: int  # of the longest request, at its end
    shared_tokens: int = 0  # prefixes worth keeping while none of their requests is in flight

    def __str__(self) -> str:
        requests = "a request" if self.requests == 1 else f"{self.requests:,} requests"
        return f"{requests} of up to {self.tokens:,} tokens"


@dataclass(frozen=True)
class Blocks:
    """Describes a block of one rank's pool."""

    tokens: int
    bytes: int

    def holding(self, need: KvNeed) -> int:
        """Return how many blocks hold the need, with one more for each request, and vLLM's null block."""
        per_request = math.ceil(need.tokens / self.tokens) + 1
        return need.requests * per_request + math.ceil(need.shared_tokens / self.tokens) + 1

    def size(self, count: int) -> str:
        return f"{memory(count * self.bytes)}, {(count - 1) * self.tokens:,} tokens"


def pool_of_blocks(folder: Path, arguments: Mapping[str, object]) -> dict[str, object]:
    """Return `kv_cache_memory_bytes` for the given number of blocks; empty if none is given or it does not apply."""
    blocks = arguments.get("num_gpu_blocks_override")
    if not isinstance(blocks, int) or _has_size(arguments) or not cpu_build():
        return {}
    shape = _shape(folder, arguments)
    # If the geometry is unknown here, vLLM decides.
    return {"kv_cache_memory_bytes": blocks * _blocks(shape, arguments).bytes} if shape else {}


def chosen_pool(
    folder: Path, arguments: Mapping[str, object], need: KvNeed | None, engines_here: int = 1
) -> tuple[dict[str, object], str]:
    """Return `kv_cache_memory_bytes` as an argument, and a sentence about it; both are empty if the user chose a size.

    `need` is None if the need of the workload is not known before.
    """
    if "num_gpu_blocks_override" in arguments or _has_size(arguments) or not cpu_build():
        return {}, ""
    free = available_bytes(rank_count(arguments) * engines_here)
    pool_bytes, sentence = choose_pool(_shape(folder, arguments), arguments, need, free)
    return {"kv_cache_memory_bytes": pool_bytes}, sentence


@dataclass(frozen=True)
class CpuPool:
    """Holds one rank's pool as it is known before the start, with its reason in words."""

    bytes: int
    tokens: int
    reason: str
    at_most: bool = False  # vLLM subtracts what the process takes, which is more than its weights


def foreseen_pool(
    config: Mapping[str, Any], arguments: Mapping[str, object], need: KvNeed | None, free_bytes: int
) -> CpuPool | None:
    """Return the pool that an engine on a CPU will have: the configured one, or else what `choose_pool` chooses.

    None for an unknown geometry, and for a share of the memory (`pool_of_share`).
    """
    shape = _shape_of(config, arguments)
    if shape is None:
        return None
    blocks, count, space = _blocks(shape, arguments), arguments.get("num_gpu_blocks_override"), _space_bytes()
    size = space or arguments.get("kv_cache_memory_bytes")
    if isinstance(count, int):
        return CpuPool(count * blocks.bytes, (count - 1) * blocks.tokens, f"num_gpu_blocks_override = {count:,}")
    if isinstance(size, int):
        name = f"{SPACE_VARIABLE} = {size // GIB}" if space else f"kv_cache_memory_bytes = {size:,}"
        return CpuPool(size, max(0, size // blocks.bytes - 1) * blocks.tokens, name)
    if SHARE_ARGUMENT in arguments:
        return None
    size, sentence = choose_pool(shape, arguments, need, free_bytes)
    return CpuPool(size, (size // blocks.bytes - 1) * blocks.tokens, sentence.removeprefix("KV pool: "))


def pool_of_share(
    config: Mapping[str, Any], arguments: Mapping[str, object], weights_bytes: float, nodes: Sequence[MemoryNode]
) -> CpuPool | None:
    """Return the most that `gpu_memory_utilization` leaves for the pool of a rank, on the largest memory node.

    vLLM reserves that share of the node's memory, less what its process takes. It does not start where less is free.
    None for an unknown geometry, or without the argument.
    """
    shape, share = _shape_of(config, arguments), arguments.get(SHARE_ARGUMENT)
    if shape is None or not isinstance(share, int | float):
        return None
    asked = {node: math.ceil(node.total_bytes * share) for node in nodes}
    largest = max(nodes)
    counted = f"the {memory(largest.total_bytes)} that vLLM counts"
    of_node = f"{SHARE_ARGUMENT} = {share:g} is {memory(asked[largest])} of {counted}"
    if all(asked[node] > node.available_bytes for node in nodes):
        free = memory(max(node.available_bytes for node in nodes))
        raise UnavailableError(
            f"{of_node}, and {free} is free now, so that vLLM does not start: lower it, or end other processes"
        )
    blocks, size = _blocks(shape, arguments), int(asked[largest] - weights_bytes)
    tokens = max(0, size // blocks.bytes - 1) * blocks.tokens
    if size <= 0:
        raise UnavailableError(f"{of_node}, and the weights take {memory(int(weights_bytes))}: raise it")
    return CpuPool(size, tokens, f"at most {memory(size)}: {of_node}, less the weights and what else vLLM takes", True)


def _space_bytes() -> int:
    """Return the size of the pool by vLLM's variable, in whole GiB, which wins over an argument. 0 if it is not set."""
    asked = os.environ.get(SPACE_VARIABLE, "")
    return int(asked) * GIB if asked.isdecimal() else 0


def choose_pool(
    shape: Geometry | None, arguments: Mapping[str, object], need: KvNeed | None, free_bytes: int
) -> tuple[int, str]:
    """Return the bytes of each rank's pool, and a sentence with the reason."""
    weights = int(shape.weights_bytes(_dtype(arguments))) // weight_shards(arguments) if shape else 0
    room = int((free_bytes - weights) * SHARE_OF_FREE_MEMORY)
    if shape is None:
        if room <= 0:
            raise UnavailableError("no memory is free for a KV pool: end other processes that use it")
        return room, f"KV pool: {memory(room)}, half of the {memory(free_bytes)} of memory that is free"
    blocks = _blocks(shape, arguments)
    most, longest = room // blocks.bytes, _longest(shape, arguments)
    least = math.ceil(longest / blocks.tokens) + 1
    if least > most:
        raise UnavailableError(_too_little(blocks, longest, room, free_bytes))
    free = f"{memory(free_bytes)} of memory is free"
    if need is None:
        return most * blocks.bytes, f"KV pool: {blocks.size(most)}: {SHARE_IN_WORDS}; {free}"
    count = blocks.holding(need)
    if count > most:
        shortage = f"{need} would fill {memory(count * blocks.bytes)}, so that some may wait or be preempted"
        return most * blocks.bytes, f"KV pool: {blocks.size(most)}: {SHARE_IN_WORDS}; {free}; {shortage}"
    if count < least:
        reason = f"what vLLM demands for one sequence of max_model_len, and more than {need} can use"
        return least * blocks.bytes, f"KV pool: {blocks.size(least)}: {reason}; {free}"
    return count * blocks.bytes, f"KV pool: {blocks.size(count)}: the most that {need} can use; {free}"


def _too_little(blocks: Blocks, longest: int, room: int, free_bytes: int) -> str:
    """Say how far max_model_len has to be lowered."""
    tokens = (room // blocks.bytes - 1) * blocks.tokens
    needed = memory((math.ceil(longest / blocks.tokens) + 1) * blocks.bytes)
    way_out = f"lower max_model_len to {tokens:,}, or " if tokens > 0 else ""
    return (
        f"one sequence of max_model_len = {longest:,} tokens needs a KV pool of {needed}, and {SHARE_IN_WORDS} is "
        f"{memory(max(0, room))} ({memory(free_bytes)} is free in all): {way_out}end other processes that use memory"
    )


def memory(number: int) -> str:
    """Format a number of bytes with a unit."""
    for unit, name in ((GIB, "GiB"), (1 << 20, "MiB")):
        if number >= unit:
            return f"{number / unit:.1f} {name}"
    return f"{number / 1024:.0f} KiB"


def _has_size(arguments: Mapping[str, object]) -> bool:
    """Return whether the user, or this module before, has set the size of the pool."""
    return bool(os.environ.get(SPACE_VARIABLE)) or any(name in arguments for name in SIZE_ARGUMENTS)


def _shape(folder: Path, arguments: Mapping[str, object]) -> Geometry | None:
    """Return the model's geometry; None if its configuration is not on this machine or of an unknown kind."""
    try:
        return _shape_of(json.loads((folder / "config.json").read_text(encoding="utf-8")), arguments)
    except (OSError, ValueError):
        return None


def _shape_of(config: Mapping[str, Any], arguments: Mapping[str, object]) -> Geometry | None:
    overrides = arguments.get("hf_overrides")
    try:
        shape = geometry({**config, **overrides} if isinstance(overrides, Mapping) else config)
        _blocks(shape, arguments)
        shape.weights_bytes(_dtype(arguments))
    except (InputError, KeyError, TypeError, ValueError):
        return None
    return shape


def _blocks(shape: Geometry, arguments: Mapping[str, object]) -> Blocks:
    block_size, kv_dtype = arguments.get("block_size"), str(arguments.get("kv_cache_dtype", "auto"))
    tokens = block_size if isinstance(block_size, int) else CPU_BLOCK_SIZE
    token_bytes = shape.kv_bytes_per_token(_dtype(arguments) if kv_dtype == "auto" else kv_dtype)
    # Ranks share KV heads and layers; if these do not divide evenly, the fullest rank counts.
    heads = math.ceil(shape.kv_heads / parallel_size(arguments, "tensor_parallel_size"))
    layers = math.ceil(shape.layers / parallel_size(arguments, "pipeline_parallel_size"))
    return Blocks(tokens, tokens * (token_bytes // (shape.kv_heads * shape.layers)) * heads * layers)


def _longest(shape: Geometry, arguments: Mapping[str, object]) -> int:
    """Return the length of the longest sequence, which vLLM's pool must be able to hold."""
    given = arguments.get("max_model_len")
    if given == AUTO_FIT:
        return 1
    return given if isinstance(given, int) else shape.max_context


def _dtype(arguments: Mapping[str, object]) -> str:
    dtype = str(arguments.get("dtype", "auto"))
    return dtype if dtype in BYTES else "auto"
