"""A model as vLLM's own code builds it on the meta device, where every layer exists and none takes memory.

Each of its layers says what it keeps in the KV cache, as in an engine. Blocks are as large as on a GPU with vLLM's
FlashAttention: the kernels of the CPU build take others.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from vllm.config import set_current_vllm_config
from vllm.distributed import parallel_state
from vllm.model_executor.layers.attention_layer_base import AttentionLayerBase
from vllm.model_executor.model_loader.utils import initialize_model
from vllm.platforms.interface import Platform
from vllm.utils.torch_utils import set_default_torch_dtype
from vllm.v1.attention.backends.flash_attn import FlashAttentionBackend
from vllm.v1.kv_cache_interface import KVCacheSpec, SlidingWindowSpec

GROUPS = ("_WORLD", "_TP", "_DCP", "_PCP", "_PP", "_DP", "_EP", "_EPLB")  # of ranks, in `parallel_state`
SPLIT = ("_WORLD", "_TP", "_EP")  # those that tensor parallelism makes larger


class Members:
    """Stands for torch's group of such ranks."""

    def __init__(self, number: int) -> None:
        self._number = number

    def size(self) -> int:
        return self._number

    def rank(self) -> int:
        return 0


class FirstOf:
    """Stands for vLLM's group of ranks of which this process would be the first; nothing is ever sent."""

    rank = rank_in_group = local_rank = 0
    is_first_rank = True
    device_communicator = None
    device = torch.device("meta")

    def __init__(self, size: int) -> None:
        self.world_size, self.ranks, self.is_last_rank = size, list(range(size)), size == 1
        self.device_group = self.cpu_group = Members(size)


class OnAGpu(Platform):  # type: ignore[misc]  # vLLM is optional, so mypy sees Any
    """Chooses the sizes of blocks as vLLM does on a GPU."""

    @classmethod
    def _find_non_ssm_backends(cls, vllm_config: Any) -> list[type]:
        return [FlashAttentionBackend]


@contextmanager
def as_first_rank(tensor: int) -> Iterator[None]:
    """Let model code that runs in the block build the first of so many tensor-parallel ranks."""
    before = {name: getattr(parallel_state, name) for name in GROUPS}
    try:
        for name in GROUPS:
            setattr(parallel_state, name, FirstOf(tensor if name in SPLIT else 1))
        yield
    finally:
        for name, group in before.items():
            setattr(parallel_state, name, group)


def built_model(config: Any) -> tuple[torch.nn.Module, dict[str, KVCacheSpec]]:
    """Return one rank's model, and what each of its layers asks of the KV cache."""
    layers = config.compilation_config.static_forward_context
    given, alone = dict(layers), config.parallel_config.tensor_parallel_size
    layers.clear()
    dtype = set_default_torch_dtype(config.model_config.dtype)
    try:
        with as_first_rank(alone), set_current_vllm_config(config), dtype, torch.device("meta"):
            model = initialize_model(config)
            OnAGpu.update_block_size_for_backend(config)
            specs = dict(_specs(config, layers))
    finally:
        layers.clear()
        layers.update(given)
    return model, specs


def _specs(config: Any, layers: dict[str, Any]) -> Iterator[tuple[str, KVCacheSpec]]:
    for name, layer in layers.items():
        if not isinstance(layer, AttentionLayerBase) or getattr(layer, "kv_sharing_target_layer_name", None):
            continue
        spec = layer.get_kv_cache_spec(config)
        if isinstance(spec, SlidingWindowSpec) and spec.page_size_padded is None:
            spec = replace(spec, block_size=config.cache_config.block_size)
        if spec is not None:
            yield name, spec
