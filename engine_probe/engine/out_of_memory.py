"""Recognising that memory ran out, in the words of torch, vLLM, C++ or the kernel, and what to do about it."""

import re
from collections.abc import Iterator
from pathlib import Path

WORDS = re.compile(
    r"out of memory|OutOfMemory|can(?:'t|not) allocate memory|bad_alloc|\bMemoryError\b|Unable to allocate",
    re.IGNORECASE,
)
# vLLM's words when it refuses to start: the pool is larger than the free memory, or too small for one request.
REFUSED = re.compile(
    r"less than requested memory|No available memory for the cache|Free memory on device|available KV cache memory"
)
POOL = "gpu_memory_utilization, kv_cache_memory_bytes or num_gpu_blocks_override"
LESS_IN_A_STEP = f"lower max_num_batched_tokens or max_num_seqs (what a step takes), or the KV pool ({POOL})"
LESS_AT_THE_START = f"mind the KV pool ({POOL}), lower max_model_len, or take a smaller model or dtype"
VMSTAT = Path("/proc/vmstat")


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error, or one of its causes, says that memory ran out."""
    return any(isinstance(link, MemoryError) or WORDS.search(named(link)) for link in chain(error))


def named(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and its causes."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def kernel_kills() -> int | None:
    """Return how many processes the kernel has killed since boot because memory ran out. None if it does not count."""
    try:
        match = re.search(r"^oom_kill (\d+)$", VMSTAT.read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(match[1]) if match else None
