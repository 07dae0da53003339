"""Print what vLLM's code builds of a model as JSON: `python -m ...describe FOLDER ARGUMENTS RANKS...`."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

os.environ["VLLM_LOGGING_LEVEL"] = "ERROR"

import msgspec
import torch
from vllm.engine.arg_utils import EngineArgs
from vllm.model_executor.layers.fused_moe.routed_experts import RoutedExperts
from vllm.model_executor.layers.linear import LinearBase, ReplicatedLinear
from vllm.model_executor.layers.vocab_parallel_embedding import VocabParallelEmbedding
from vllm.v1.attention.backends.utils import resolve_kv_cache_layout
from vllm.v1.core.kv_cache_utils import get_kv_cache_config_from_groups, get_kv_cache_groups
from vllm.v1.kv_cache_interface import (
    AttentionSpec,
    ChunkedLocalAttentionSpec,
    KVCacheSpec,
    MambaSpec,
    SlidingWindowSpec,
    UniformTypeKVCacheSpecs,
)
from vllm.v1.kv_cache_layout import KVCacheLayout

from engine_probe.engine.failures import startup_error
from engine_probe.engine.models.built_model import BuiltModel
from engine_probe.engine.models.geometry import Experts, Geometry
from engine_probe.engine.models.kv_layout import KvGroup, KvLayout
from engine_probe.engine.twin.build import as_on_a_gpu
from engine_probe.engine.twin.kv_cache.model_code import built_model
from engine_probe.errors import InputError

POOL = 1 << 40  # bytes, of which only whole blocks count


def configured(folder: str, arguments: dict[str, Any], ranks: int) -> Any:
    """Return vLLM's configuration of one of so many ranks, as on a GPU."""
    with as_on_a_gpu():
        given = {"load_format": "dummy", "skip_tokenizer_init": True, "enforce_eager": True, **arguments}
        config = EngineArgs(model=folder, **given).create_engine_config()
    heads = config.model_config.get_num_attention_heads(config.parallel_config)
    if heads % ranks:
        raise InputError(f"it does not divide {heads} attention heads")
    config.parallel_config.tensor_parallel_size = ranks
    return config


def layout_of(config: Any, specs: dict[str, KVCacheSpec]) -> KvLayout:
    """Divide a pool among the layers as vLLM does."""
    resolve_kv_cache_layout(config, [[each.name for each in KVCacheLayout]], specs.values())
    groups = get_kv_cache_groups(config, specs)
    pool = get_kv_cache_config_from_groups(config, groups, POOL)
    found = tuple(group_of(config, group.layer_names, group.kv_cache_spec) for group in groups)
    return KvLayout(found, pool.kv_cache_tensors[0].size // pool.num_blocks)


def group_of(config: Any, names: Sequence[str], spec: KVCacheSpec) -> KvGroup:
    each = list(spec.kv_cache_specs.values()) if isinstance(spec, UniformTypeKVCacheSpecs) else [spec] * len(names)
    first, layers = each[0], len(each)
    if isinstance(first, MambaSpec):
        blocks = first.max_memory_usage_bytes(config) // first.page_size_bytes
        size = sum(one.real_page_size_bytes for one in each) / layers
        return KvGroup(layers, first.block_size, state_bytes=size, state_blocks=blocks)
    if not isinstance(first, AttentionSpec):
        raise InputError(f"what {type(first).__name__} keeps of a request is not known here")
    size = sum(one.real_page_size_bytes / one.block_size for one in each) / layers
    window = first.sliding_window if isinstance(first, SlidingWindowSpec) else None
    chunk = first.attention_chunk_size if isinstance(first, ChunkedLocalAttentionSpec) else None
    return KvGroup(layers, first.block_size, size, window, chunk=chunk)


def geometry_of(config: Any, model: torch.nn.Module) -> Geometry:
    """Count the parameters of a model that is not divided."""
    shape, parallel = config.model_config, config.parallel_config
    counted, sizes = Counter[str](), Counter[str]()
    passed = 0.0  # parameters of experts that one token passes
    for kind, module, parameter in parameters_of(model):
        counted[kind] += parameter.numel()
        sizes[kind] += parameter.numel() * parameter.element_size()
        if kind == "experts":
            passed += parameter.numel() * module.top_k / module.global_num_experts
    matrices = counted["matrices"] + counted["copied"] + counted["experts"]
    size = sizes["matrices"] + sizes["copied"] + sizes["experts"]
    experts = Experts(counted["experts"], round(passed)) if counted["experts"] else None
    return Geometry(
        layers=shape.get_total_num_hidden_layers(),
        heads=shape.get_num_attention_heads(parallel),
        kv_heads=max(1, shape.get_total_num_kv_heads()),
        head_size=shape.get_head_size(),
        max_context=shape.max_model_len,
        linear_parameters=matrices,
        other_parameters=counted["other"],
        outside=counted["outside"],
        dtype=str(shape.dtype).removeprefix("torch."),
        linear_bytes=size / matrices,
        copied_parameters=counted["copied"],
        experts=experts,
    )


def parameters_of(model: torch.nn.Module) -> Iterator[tuple[str, torch.nn.Module, torch.nn.Parameter]]:
    """Yield each parameter once with its module and its kind."""
    seen = set[int]()
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            if id(parameter) in seen:
                continue
            seen.add(id(parameter))
            kind = "other"
            if isinstance(module, VocabParallelEmbedding):
                kind = "outside"
            elif isinstance(module, RoutedExperts):
                kind = "experts"
            elif isinstance(module, LinearBase) and parameter.dim() > 1:
                kind = "copied" if isinstance(module, ReplicatedLinear) else "matrices"
            yield kind, module, parameter


def described(folder: str, arguments: dict[str, Any], ranks: Sequence[int]) -> BuiltModel:
    """Build a model whole, and one rank of each other number."""
    config = configured(folder, arguments, 1)
    model, specs = built_model(config)
    shape = config.model_config
    geometry, layouts = geometry_of(config, model), dict[int, KvLayout | str]({1: layout_of(config, specs)})
    for number in ranks:
        if number == 1:
            continue
        try:
            part = configured(folder, arguments, number)
            layouts[number] = layout_of(part, built_model(part)[1])
        except Exception as error:  # the boundary: what vLLM's code refuses to divide has no common error
            layouts[number] = f"vLLM's code does not divide the model so: {error}"
    return BuiltModel(geometry, shape.get_hidden_size(), shape.get_vocab_size(), layouts)


def main() -> None:
    folder, arguments, *ranks = sys.argv[1:]
    try:
        found = described(folder, json.loads(arguments), list(map(int, ranks)))
    except Exception as error:  # the boundary: vLLM, torch, pydantic and the hub have no common error
        reason = error if isinstance(error, InputError) else startup_error(folder, error)
        sys.exit(" ".join(str(reason).split()))
    print(msgspec.json.encode(found).decode(), flush=True)


if __name__ == "__main__":
    main()
