"""The CPU build reserves a share of the machine's memory even where the number of KV blocks is given.

It then refuses to start beside any other large process. Told the same pool in bytes, it reserves just that.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from engine_probe.engine.geometry import geometry
from engine_probe.errors import InputError

CPU_BLOCK_SIZE = 128  # the CPU platform's default
TOLD_OTHERWISE = ("kv_cache_memory_bytes", "gpu_memory_utilization")


def pool_in_bytes(folder: Path, arguments: Mapping[str, object]) -> dict[str, object]:
    """`kv_cache_memory_bytes` for a given number of blocks; nothing where it does not apply."""
    blocks = arguments.get("num_gpu_blocks_override")
    told = os.environ.get("VLLM_CPU_KVCACHE_SPACE") or any(name in arguments for name in TOLD_OTHERWISE)
    if not isinstance(blocks, int) or told or not cpu_build():
        return {}
    try:
        shape = geometry(_config(folder, arguments))
        token_bytes = shape.kv_bytes_per_token(str(arguments.get("kv_cache_dtype", "auto")))
    except (InputError, KeyError, OSError, TypeError, ValueError):
        return {}  # a geometry unknown here is vLLM's to know
    block_size = arguments.get("block_size")
    tokens = blocks * (block_size if isinstance(block_size, int) else CPU_BLOCK_SIZE)
    return {"kv_cache_memory_bytes": tokens * token_bytes}


def _config(folder: Path, arguments: Mapping[str, object]) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    overrides = arguments.get("hf_overrides")
    return {**config, **overrides} if isinstance(overrides, dict) else config


def cpu_build() -> bool:
    try:
        version("vllm-cpu")
    except PackageNotFoundError:
        return False
    return True
