"""What vLLM's own code builds of a model whose shape is not derived here: read from a process that has vLLM."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from functools import cache
from typing import Any

import msgspec

from engine_probe.engine.child_process import run_child
from engine_probe.engine.models.geometry import Geometry
from engine_probe.engine.models.kv_layout import KvLayout
from engine_probe.errors import InputError, UnavailableError

BUILDER = "engine_probe.engine.twin.kv_cache.describe"
RANKS = (1, 2, 4, 8)
# Engine arguments that change what is built; the others are those of a GPU or a load.
BUILDING = (
    *("block_size", "disable_hybrid_kv_cache_manager", "disable_sliding_window", "dtype", "enable_prefix_caching"),
    *("hf_overrides", "kv_cache_dtype", "mamba_block_size", "mamba_cache_dtype", "mamba_cache_mode"),
    *("mamba_ssm_cache_dtype", "quantization", "trust_remote_code"),
)


class BuiltModel(msgspec.Struct, frozen=True):
    """A model and, for each number of tensor-parallel ranks, how one divides its KV pool, or why it cannot be."""

    geometry: Geometry
    hidden: int
    vocabulary: int
    layouts: dict[int, KvLayout | str]

    def layout(self, ranks: int) -> KvLayout:
        found = self.layouts.get(ranks, f"it is built for {', '.join(map(str, self.layouts))} ranks alone")
        if isinstance(found, str):
            raise InputError(f"tensor_parallel_size = {ranks}: {found}")
        return found


def built_model(folder: str, arguments: Mapping[str, Any]) -> BuiltModel:
    """Let vLLM's code build a model without weights, in a process of its own; refuse what it cannot build."""
    given = {name: arguments[name] for name in BUILDING if name in arguments}
    return _built(folder, json.dumps(given, sort_keys=True))


@cache
def _built(folder: str, arguments: str) -> BuiltModel:
    print(f"vLLM's own code builds {folder} without weights, to count what it holds ...", file=sys.stderr, flush=True)
    # All that it needs is in the folder.
    done = run_child(BUILDER, folder, arguments, *map(str, RANKS), HF_HUB_OFFLINE="1")
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        last = (done.stderr.strip().splitlines() or ["it ended without a word"])[-1]
        if "No module named 'vllm'" in last:
            raise UnavailableError(
                f"{folder}: how its layers divide a KV pool is known to vLLM's own code alone, and no vLLM is "
                "installed here: install engine-probe[cuda] with a GPU, else engine-probe[cpu]"
            )
        raise InputError(f"{folder}: vLLM's own code cannot build it here: {last}")
    return msgspec.json.decode(lines[-1], type=BuiltModel)
