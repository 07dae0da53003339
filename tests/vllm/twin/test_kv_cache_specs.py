"""The KV cache that a twin asks of vLLM is, layer by layer, what vLLM's own model code asks for on the CPU."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine_probe.engine.models import tiny
from engine_probe.engine.models.geometry import geometry

InOwnProcess = Callable[..., Any]


def no_wide_vectors() -> bool:
    cpus = Path("/proc/cpuinfo")
    return not (cpus.is_file() and {"avx512f", "amx_tile"} & set(cpus.read_text().split()))


SHORT = {"block_size": 32, "num_gpu_blocks_override": 32, "enforce_eager": True, "max_model_len": 128}
NO_WEIGHTS = {"load_format": "dummy", "skip_tokenizer_init": True, "gpu_memory_utilization": 0.2}
# The alignment of blocks is the CPU backend's own: its MLA kernel takes blocks of 16 tokens alone.
BOTH = """
from dataclasses import replace

from engine_probe.engine.twin.kv_cache.specs import kv_cache_specs

engine = llm.llm_engine
(real,) = engine.engine_core.engine_core.model_executor.get_kv_cache_specs()
both = real, kv_cache_specs(engine.vllm_config)
both = [[replace(each, block_stride_alignment=None) for each in found.values()] for found in both]
answer = [[[type(each).__name__, repr(each)] for each in found] for found in both]
"""
ALTERNATING = ["sliding_attention", "full_attention"] * 2
SMALL = {**tiny.CONFIG, "num_hidden_layers": 4}
LATENT = {  # DeepSeek-V2-Lite's attention, without experts
    "architectures": ["DeepseekV2ForCausalLM"],
    "model_type": "deepseek_v2",
    "num_key_value_heads": 4,
    "kv_lora_rank": 512,
    "q_lora_rank": None,
    "head_dim": 64,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "first_k_dense_replace": 4,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "n_shared_experts": 1,
    "moe_intermediate_size": 64,
    "topk_method": "greedy",
    "n_group": 1,
    "topk_group": 1,
}
EXPERTS = {  # DeepSeek V3's layers: one without experts, then three with four of which a token passes two
    **LATENT,
    "architectures": ["DeepseekV3ForCausalLM"],
    "model_type": "deepseek_v3",
    "q_lora_rank": 96,
    "first_k_dense_replace": 1,
    "topk_method": "noaux_tc",
    "scoring_func": "sigmoid",
    "n_group": 2,
    "topk_group": 1,
    "routed_scaling_factor": 2.5,
}
GEMMA = {"query_pre_attn_scalar": 32, "tie_word_embeddings": True, "hidden_activation": "gelu_pytorch_tanh"}
KINDS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "mistral": (
        {"architectures": ["MistralForCausalLM"], "model_type": "mistral", "sliding_window": 64},
        ["SlidingWindowSpec"] * 4,
    ),
    "qwen2": (
        {
            "architectures": ["Qwen2ForCausalLM"],
            "model_type": "qwen2",
            "sliding_window": 64,
            "use_sliding_window": True,
            "max_window_layers": 0,
        },
        ["SlidingWindowSpec"] * 4,
    ),
    "llama": ({"sliding_window": 64, "layer_types": ALTERNATING}, ["SlidingWindowSpec", "FullAttentionSpec"] * 2),
    "gemma2": (
        {"architectures": ["Gemma2ForCausalLM"], "model_type": "gemma2", "sliding_window": 64, **GEMMA},
        ["SlidingWindowSpec", "FullAttentionSpec"] * 2,
    ),
    "gemma3_text": (
        {
            "architectures": ["Gemma3ForCausalLM"],
            "model_type": "gemma3_text",
            "sliding_window": 64,
            "sliding_window_pattern": 3,
            **GEMMA,
        },
        ["SlidingWindowSpec", "SlidingWindowSpec", "FullAttentionSpec", "SlidingWindowSpec"],
    ),
    "deepseek_v2": (LATENT, ["MLAAttentionSpec"] * 4),
}


def folder_of(folder: Path, config: dict[str, Any]) -> str:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({**SMALL, **config}))
    return str(folder)


@pytest.mark.parametrize("kind", KINDS)
def test_the_twin_asks_for_what_the_model_code_asks_for(
    kind: str, in_own_process: InOwnProcess, tmp_path: Path
) -> None:
    config, expected = KINDS[kind]
    real, derived = in_own_process(folder_of(tmp_path / kind, config), {**SHORT, **NO_WEIGHTS}, BOTH)
    assert [name for name, _ in derived] == expected
    assert derived == real


@pytest.mark.skipif(no_wide_vectors(), reason="vLLM keeps 8-bit numbers in a CPU's KV cache with AVX-512 or AMX alone")
def test_numbers_of_eight_bits_take_half_of_a_block(in_own_process: InOwnProcess) -> None:
    real, derived = in_own_process("tiny", {**SHORT, "kv_cache_dtype": "fp8"}, BOTH)
    assert derived == real
    assert "float8" in derived[0][1] or "uint8" in derived[0][1]


# On the meta device: every layer exists, none takes memory. Experts need a group that the engine's model has none of.
COUNTED = """
import torch
from vllm.config import set_current_vllm_config
from vllm.distributed.parallel_state import destroy_model_parallel, ensure_model_parallel_initialized
from vllm.engine.arg_utils import EngineArgs
from vllm.model_executor.layers.attention_layer_base import AttentionLayerBase
from vllm.model_executor.model_loader.utils import initialize_model

answer = []
for model in {models!r}:
    config = EngineArgs(model=model, dtype="bfloat16", **{arguments!r}).create_engine_config()
    with set_current_vllm_config(config):
        destroy_model_parallel()
        ensure_model_parallel_initialized(1, 1)
        with torch.device("meta"):
            parameters = sum(each.numel() for each in initialize_model(config).parameters())
    layers = config.compilation_config.static_forward_context.values()
    specs = [layer.get_kv_cache_spec(config) for layer in layers if isinstance(layer, AttentionLayerBase)]
    answer.append([parameters, sum(each.page_size_bytes / each.block_size for each in specs)])
"""


def test_parameters_and_bytes_of_a_token_are_those_of_the_model_code(
    in_own_process: InOwnProcess, tmp_path: Path
) -> None:
    """One with a single matrix for queries and no experts, and one with a latent vector for queries, and experts."""
    configs = [LATENT, EXPERTS]
    models = [folder_of(tmp_path / str(number), config) for number, config in enumerate(configs)]
    found = in_own_process("tiny", SHORT, COUNTED.format(models=models, arguments={**SHORT, **NO_WEIGHTS}))
    shapes = [geometry({**SMALL, **config, "torch_dtype": "bfloat16"}) for config in configs]
    assert found == [[shape.parameters, shape.kv_bytes_per_token()] for shape in shapes]


TWIN = """
from engine_probe.engine.engine_spec import EngineSpec
from engine_probe.engine.twin.build import build_twin
from engine_probe.engine.twin.settings import Twin
from engine_probe.engine.twin.step_times import Price, StepTimes
from engine_probe.engine.twin.virtual_clock import VirtualClock

spec = EngineSpec({model!r}, {arguments!r})
twin = build_twin(spec, Twin("a test", StepTimes({{"step": Price(1e6)}})), VirtualClock(), print)
short = SamplingParams(max_tokens=4, ignore_eos=True, detokenize=False)
(output,) = twin.generate([{{"prompt_token_ids": [1] * 100}}], short, use_tqdm=False)
config, core = twin.llm_engine.vllm_config, twin.llm_engine.engine_core.engine_core
(group,) = core.scheduler.kv_cache_config.kv_cache_groups
answer = {{
    "block": config.cache_config.block_size,
    "prefix caching": config.cache_config.enable_prefix_caching,
    "chunked prefill": config.scheduler_config.enable_chunked_prefill,
    "tokens of a step": config.scheduler_config.max_num_batched_tokens,
    "layers": len(group.layer_names),
    "bytes of a layer's block": group.kv_cache_spec.page_size_bytes,
    "answered": len(output.outputs[0].token_ids),
}}
"""


def test_a_twin_with_mla_has_a_gpus_blocks_and_schedule(in_own_process: InOwnProcess, tmp_path: Path) -> None:
    """On the CPU vLLM would take blocks of 16 tokens, without prefix caching and chunked prefill."""
    arguments = {**SHORT, **NO_WEIGHTS, "block_size": 64, "max_num_batched_tokens": 48, "max_num_seqs": 4}
    lines = TWIN.format(model=folder_of(tmp_path / "model", LATENT), arguments=arguments)
    assert in_own_process(None, {}, lines) == {
        "block": 64,
        "prefix caching": True,
        "chunked prefill": True,
        "tokens of a step": 48,
        "layers": 4,
        "bytes of a layer's block": 64 * (512 + 64) * 2,
        "answered": 4,
    }


# Layers that keep different things, as small as the shapes of vLLM's code allow.
MIXED: dict[str, dict[str, Any]] = {
    "gemma3_text": {**KINDS["gemma3_text"][0], "torch_dtype": "bfloat16"},
    "gpt_oss": {
        "architectures": ["GptOssForCausalLM"],
        "model_type": "gpt_oss",
        "sliding_window": 64,
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        "layer_types": ALTERNATING,
    },
    "qwen3_next": {
        "architectures": ["Qwen3NextForCausalLM"],
        "model_type": "qwen3_next",
        "layer_types": ["linear_attention", "linear_attention", "linear_attention", "full_attention"],
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
        "linear_key_head_dim": 32,
        "linear_value_head_dim": 32,
        "linear_conv_kernel_dim": 4,
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 64,
        "shared_expert_intermediate_size": 64,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
    },
    "jamba": {
        "architectures": ["JambaForCausalLM"],
        "model_type": "jamba",
        "attn_layer_period": 4,
        "attn_layer_offset": 2,
        "expert_layer_period": 2,
        "expert_layer_offset": 1,
        "num_experts": 4,
        "num_experts_per_tok": 2,
    },
    "granitemoehybrid": {
        "architectures": ["GraniteMoeHybridForCausalLM"],
        "model_type": "granitemoehybrid",
        "layer_types": ["mamba", "mamba", "attention", "mamba"],
        "num_local_experts": 0,
        "shared_intermediate_size": 64,
        "mamba_n_heads": 8,
        "mamba_d_head": 32,
        "mamba_n_groups": 1,
        "mamba_d_state": 16,
        "mamba_expand": 2,
    },
    "zamba2": {
        "architectures": ["Zamba2ForCausalLM"],
        "model_type": "zamba2",
        "hidden_act": "gelu",
        "layers_block_type": ["mamba", "mamba", "hybrid", "mamba"],
        "hybrid_layer_ids": [2],
        "mamba_d_state": 16,
        "mamba_d_conv": 4,
        "mamba_expand": 2,
        "n_mamba_heads": 8,
        "mamba_headdim": 32,
        "mamba_ngroups": 1,
        "num_mem_blocks": 1,
        "use_shared_attention_adapter": False,
        "adapter_rank": 16,
        "use_mem_rope": True,
        "attention_hidden_size": 256,
        "attention_head_dim": 64,
        "num_key_value_heads": 4,
    },
    "llama4": {
        "architectures": ["Llama4ForCausalLM"],
        "model_type": "llama4_text",
        "head_dim": 32,
        "attention_chunk_size": 64,
        "no_rope_layers": [1, 1, 1, 0],
        "num_local_experts": 4,
        "num_experts_per_tok": 1,
        "interleave_moe_layer_step": 1,
        "intermediate_size_mlp": 256,
    },
}
LAYERS = {"zamba2": 5}  # a hybrid layer is two: a state, and attention beside it
DESCRIBED = """
import json
from vllm.v1.core.kv_cache_utils import get_kv_cache_groups, get_max_concurrency_for_kv_cache_config
from vllm.v1.core.kv_cache_utils import get_kv_cache_config_from_groups
from engine_probe.engine.twin.kv_cache import describe
from engine_probe.engine.twin.kv_cache.model_code import built_model

answer = {{}}
for kind, model in {models!r}.items():
    given = {{"max_model_len": 4096, "max_num_batched_tokens": 1024, "max_num_seqs": 64}}
    ours, theirs = [], []
    for ranks in (1, 2):
        config = describe.configured(model, given, ranks)
        _, specs = built_model(config)
        layout = describe.layout_of(config, specs)
        pool = get_kv_cache_config_from_groups(config, get_kv_cache_groups(config, specs), 1 << 33)
        in_flight = config.max_in_flight_tokens
        ours.append([int((1 << 33) // layout.bytes_per_block), (layout.blocks_of(4096, in_flight))])
        concurrency = get_max_concurrency_for_kv_cache_config(config, pool)
        theirs.append([pool.num_blocks, round(pool.num_blocks / concurrency)])
    described = describe.described(model, {{}}, [1, 2])
    answer[kind] = [ours, theirs, described.layouts[1].words, described.geometry.parameters]
"""


def test_a_pool_is_divided_among_layers_as_vllm_divides_it(in_own_process: InOwnProcess, tmp_path: Path) -> None:
    """By what vLLM itself computes for the same engine: its blocks, and those that a request of 4,096 tokens needs."""
    models = {kind: folder_of(tmp_path / kind, config) for kind, config in MIXED.items()}
    found = in_own_process(None, {}, DESCRIBED.format(models=models))
    assert {kind: ours for kind, (ours, _, _, _) in found.items()} == {
        kind: theirs for kind, (_, theirs, _, _) in found.items()
    }
    assert {kind: words for kind, (_, _, words, _) in found.items()} == {
        "gemma3_text": "3 layers keep a window of 64, 1 layers keep every token",
        "gpt_oss": "2 layers keep a window of 64, 2 layers keep every token",
        "qwen3_next": "3 layers keep a state, 1 layers keep every token",
        "jamba": "3 layers keep a state, 1 layers keep every token",
        "granitemoehybrid": "3 layers keep a state, 1 layers keep every token",
        "zamba2": "1 layers keep every token, 4 layers keep a state",
        "llama4": "3 layers keep chunks of 64, 1 layers keep every token",
    }


HYBRID_TWIN = """
from engine_probe.engine.engine_spec import EngineSpec
from engine_probe.engine.twin.build import build_twin
from engine_probe.engine.twin.settings import Twin
from engine_probe.engine.twin.step_times import Price, StepTimes
from engine_probe.engine.twin.virtual_clock import VirtualClock

spec = EngineSpec({model!r}, {arguments!r})
twin = build_twin(spec, Twin("a test", StepTimes({{"step": Price(1e6)}})), VirtualClock(), print)
short = SamplingParams(max_tokens=40, ignore_eos=True, detokenize=False)
outputs = twin.generate([{{"prompt_token_ids": [1 + number] * 300}} for number in range(6)], short, use_tqdm=False)
config, core = twin.llm_engine.vllm_config, twin.llm_engine.engine_core.engine_core
groups = core.scheduler.kv_cache_config.kv_cache_groups
managers = core.scheduler.kv_cache_manager.coordinator.single_type_managers
answer = {{
    "managers": sorted({{type(each).__name__ for each in managers}}),
    "layers": sum(len(group.layer_names) for group in groups),
    "answered": [len(output.outputs[0].token_ids) for output in outputs],
}}
"""


@pytest.mark.parametrize(
    ("kind", "manager"),
    [
        ("qwen3_next", "MambaManager"),
        ("granitemoehybrid", "MambaManager"),
        ("zamba2", "MambaManager"),
        ("gpt_oss", "SlidingWindowManager"),
        ("llama4", "ChunkedLocalAttentionManager"),
    ],
)
def test_a_twin_has_layers_that_keep_different_things(
    kind: str, manager: str, in_own_process: InOwnProcess, tmp_path: Path
) -> None:
    arguments = {**NO_WEIGHTS, "block_size": 16, "num_gpu_blocks_override": 192, "max_model_len": 512}
    lines = HYBRID_TWIN.format(model=folder_of(tmp_path / kind, MIXED[kind]), arguments=arguments)
    found = in_own_process(None, {}, lines)
    assert found == {
        "managers": sorted(["FullAttentionManager", manager]),
        "layers": LAYERS.get(kind, 4),
        "answered": [40] * 6,
    }
