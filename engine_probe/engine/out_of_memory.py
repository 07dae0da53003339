"""Memory that ran out, by whatever name torch, vLLM, C++ or the kernel calls it, and what to do about it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

WORDS = re.compile(
    r"out of memory|OutOfMemory|can(?:'t|not) allocate memory|bad_alloc|\bMemoryError\b|Unable to allocate",
    re.IGNORECASE,
)
# vLLM's own words where it refuses to start: a pool that is larger than what is free, or too small for one request.
REFUSED = re.compile(
    r"less than requested memory|No available memory for the cache|Free memory on device|available KV cache memory"
)
POOL = "gpu_memory_utilization, kv_cache_memory_bytes or num_gpu_blocks_override"
LESS_IN_A_STEP = f"lower max_num_batched_tokens or max_num_seqs (what a step takes), or the KV pool ({POOL})"
LESS_AT_THE_START = f"mind the KV pool ({POOL}), lower max_model_len, or take a smaller model or dtype"
VMSTAT = Path("/proc/vmstat")


def is_out_of_memory(error: BaseException) -> bool:
    """Itself or what it came of."""
    return any(isinstance(link, MemoryError) or WORDS.search(named(link)) for link in chain(error))


def named(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and those that it came of."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def kernel_kills() -> int | None:
    """Processes of this machine that the kernel killed for want of memory, ever; None where it does not say."""
    try:
        found = re.search(r"^oom_kill (\d+)$", VMSTAT.read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) if found else None
