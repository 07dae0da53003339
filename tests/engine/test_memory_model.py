"""The memory of a GPU is divided as four published engines divided it; what cannot start is told with its figures."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from engine_probe.engine.memory_model import (
    BYTES_PER_LOGIT,
    FIXED_WORKSPACE,
    RankMemory,
    batch_limits,
    check_experts,
    memory_of_rank,
    window_of_all,
)
from engine_probe.engine.models.attention_kinds import UnknownLayersError
from engine_probe.engine.models.catalogue import catalogue_config
from engine_probe.engine.models.geometry import GIB, geometry
from engine_probe.errors import InputError

SERVER = {
    "gpu_memory_utilization": 0.9,
    "max_num_batched_tokens": 8192,
    "max_num_seqs": 1024,
    "dtype": "float16",
}
PUBLISHED = {  # of one H100 NVL of 93.6 GiB: weights in GiB, tokens of the pool
    "gpt2-xl": (2.9676, 268_208),
    "deepseek-llm-7b-chat": (12.8726, 141_808),
    "qwen1.5-14b-chat": (26.4278, 64_912),
    "falcon-40b": (76.9338, 18_688),
}


def memory(model: str = "llama-3.1-70b-fp8", gib: float = 93.6, least: int = 1, **arguments: Any) -> RankMemory:
    found = memory_of_rank(catalogue_config(model), {**SERVER, **arguments}, "a GPU", gib * GIB, least)
    assert found is not None
    return found


def test_the_workspace_is_the_line_through_the_published_pools() -> None:
    rows = []
    for model, (weights, tokens) in PUBLISHED.items():
        config = catalogue_config(model)
        pool = tokens * geometry(config).kv_bytes_per_token("float16")
        rows.append((1024 * config["vocab_size"], (0.9 * 93.6 - weights) * GIB - pool))
    logits, workspace = np.array(rows).T
    slope, start = np.polyfit(logits, workspace, 1)
    assert slope == pytest.approx(BYTES_PER_LOGIT, abs=0.05)
    assert start == pytest.approx(FIXED_WORKSPACE, abs=0.005 * GIB)
    assert np.abs(np.polyval([slope, start], logits) - workspace).max() < 0.06 * GIB


@pytest.mark.parametrize(("model", "tokens"), [(model, tokens) for model, (_, tokens) in PUBLISHED.items()])
def test_the_published_pools_are_predicted(model: str, tokens: int) -> None:
    found = memory(model)
    assert found.pool_tokens == pytest.approx(tokens, rel=0.03)
    assert found.pool_tokens % 16 == 0


def test_what_80_gb_cannot_hold_is_refused_and_two_gpus_hold_it() -> None:
    alone = memory(gib=79.1, max_model_len=2048)
    assert alone.left / GIB == pytest.approx(3.5, abs=0.05)
    assert alone.pool_tokens == 0
    assert alone.refusal is not None
    assert "leave 3.5 of 71.2 GiB (0.9 of 79.1, a GPU), and vLLM needs about 7.4 of workspace and 0." in alone.refusal
    assert memory(gib=79.1, max_model_len=2048, tensor_parallel_size=2).refusal is None
    assert memory(gib=79.1, max_model_len=2048, max_num_seqs=64, max_num_batched_tokens=2048).refusal is None


def test_vllm_promises_room_for_one_request_of_the_longest_length() -> None:
    """131,072 tokens of 160 KiB are 20 GiB: more than one H100 NVL has left beside 67.7 GiB of weights."""
    long = memory(kv_cache_dtype="fp8", max_model_len=131_072)
    assert long.kv.size == 20 * GIB
    assert long.refusal is not None
    assert long.refusal.endswith("lower max_model_len, or raise tensor_parallel_size")
    assert memory(kv_cache_dtype="fp8").longest == 131_072  # without max_model_len the model's own context
    fitted = memory(kv_cache_dtype="fp8", max_model_len=-1, least=1128)
    assert (fitted.longest, fitted.refusal) == (1128, None)
    assert fitted.pool_tokens == pytest.approx(2 * memory(max_model_len=-1).pool_tokens, abs=32)


@pytest.mark.parametrize(
    ("ranks", "share"),
    [
        ({}, 1.0),
        ({"tensor_parallel_size": 2}, 1 / 2),
        ({"tensor_parallel_size": 16}, 1 / 8),  # eight KV heads: each on two ranks
        ({"pipeline_parallel_size": 4}, 1 / 4),
        ({"data_parallel_size": 2}, 1.0),
    ],
)
def test_ranks_share_keys_and_values_by_heads_and_layers(ranks: dict[str, int], share: float) -> None:
    assert memory(max_model_len=2048, **ranks).layout.bytes_per_token == 320 * 1024 * share


def test_a_request_holds_a_window_and_what_is_in_flight() -> None:
    """Two steps of 2,048 tokens are in flight: 4,095 + 4,096 tokens are 512 blocks, and vLLM provides one more."""
    config = {**catalogue_config("mistral-7b"), "sliding_window": 4096}
    arguments = {**SERVER, "max_num_batched_tokens": 2048, "max_model_len": 32_768}
    found = memory_of_rank(config, arguments, "a GPU", 80 * GIB)
    full = memory_of_rank(config, {**arguments, "disable_sliding_window": True}, "a GPU", 80 * GIB)
    assert found is not None
    assert full is not None
    assert found.pool_tokens == full.pool_tokens
    assert full.kv.size == 32_768 * 128 * 1024
    assert found.kv.size == 513 * 16 * 128 * 1024
    assert "a window of 4,096 and 4,096 of steps in flight" in found.kv.derivation
    assert [found.blocks_of(tokens) for tokens in (17, 4096, 32_768)] == [2, 256, 513]
    assert [full.blocks_of(tokens) for tokens in (17, 4096, 32_768)] == [2, 256, 2048]
    alone = memory_of_rank(config, {**arguments, "async_scheduling": False}, "a GPU", 80 * GIB)
    assert alone is not None
    assert alone.blocks_of(32_768) == -(-(4095 + 2048) // 16) + 1


def test_windows_in_some_layers_are_left_to_vllms_code() -> None:
    config = {**catalogue_config("llama-3.1-8b"), "sliding_window": 512}
    config["layer_types"] = ["sliding_attention", "full_attention"] * 16
    with pytest.raises(UnknownLayersError, match=r"16 of its 32 layers have a sliding window of 512 tokens"):
        window_of_all(config, {})
    assert memory_of_rank(config, {}, "a GPU", 80 * GIB) is None


EXPERTS = {  # the shape of DeepSeek-V2-Lite
    "model_type": "deepseek_v2",
    "hidden_size": 2048,
    "num_attention_heads": 16,
    "num_hidden_layers": 27,
    "intermediate_size": 10_944,
    "vocab_size": 102_400,
    "max_position_embeddings": 8192,
    "q_lora_rank": None,
    "kv_lora_rank": 512,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "n_routed_experts": 64,
    "n_shared_experts": 2,
    "num_experts_per_tok": 6,
    "moe_intermediate_size": 1408,
    "first_k_dense_replace": 1,
    "torch_dtype": "bfloat16",
}


def test_every_rank_keeps_the_whole_latent_vector() -> None:
    one, two = (
        memory_of_rank(EXPERTS, {**SERVER, "tensor_parallel_size": ranks}, "a GPU", 80 * GIB) for ranks in (1, 2)
    )
    assert one is not None
    assert two is not None
    assert one.layout.bytes_per_token == two.layout.bytes_per_token == 27 * (512 + 64) * 2
    copied = 27 * 2048 * (512 + 64) * 2
    assert two.weights.size == pytest.approx(((one.weights.size or 0) - copied) / 2 + copied)
    assert "of which each holds 0.03185 billion whole" in two.weights.derivation
    assert one.activations_and_workspace.derivation.endswith("what experts and latent attention take is not known")


@pytest.mark.parametrize("name", ["data_parallel_size", "pipeline_parallel_size"])
def test_experts_on_ranks_that_divide_them_otherwise_are_refused(name: str) -> None:
    with pytest.raises(InputError, match=f"{name} = 2: "):
        check_experts(geometry(EXPERTS), {name: 2})
    assert memory_of_rank(EXPERTS, {name: 2}, "a GPU", 80 * GIB) is None


def test_weights_alone_may_be_too_much() -> None:
    refusal = memory(gib=24, max_model_len=2048).refusal
    assert refusal is not None
    assert refusal.startswith("the weights take 67.7 GiB of each GPU and vLLM gets 21.6 GiB (0.9 of 24.0, a GPU)")


def test_fewer_tokens_in_a_step_leave_a_part_unknown() -> None:
    term = memory(max_model_len=2048, max_num_batched_tokens=2048, max_num_seqs=256).activations_and_workspace
    assert term.size == pytest.approx(BYTES_PER_LOGIT * 256 * 128_256)
    assert "not known" in term.derivation
    assert memory(max_model_len=2048).graphs.size is None


@pytest.mark.parametrize(
    ("arguments", "limits"),
    [
        ({}, (8192, 256)),
        ({"max_num_batched_tokens": 64}, (64, 64)),
        ({"max_num_seqs": 4, "max_model_len": 512}, (2048, 4)),
        ({"max_num_seqs": 4, "max_model_len": 512, "max_num_batched_tokens": 4096}, (4096, 4)),
    ],
)
def test_a_limit_that_is_not_given_is_no_larger_than_the_other_allows(
    arguments: dict[str, Any], limits: tuple[int, int]
) -> None:
    assert batch_limits(arguments, "L4", 22 * GIB) == limits


@pytest.mark.parametrize(
    ("gib", "name", "size"), [(93.6, "H100 NVL", 7.42), (79.2, "NVIDIA A100", 3.91), (44.4, "L40S", 3.91)]
)
def test_without_limits_those_of_vllm_on_such_a_gpu_count(gib: float, name: str, size: float) -> None:
    found = memory_of_rank(catalogue_config("llama-3.1-70b-fp8"), {"max_model_len": 2048}, name, gib * GIB)
    assert found is not None
    assert found.activations_and_workspace.size == pytest.approx(size * GIB, rel=0.01)
    assert found.share == 0.92


@pytest.mark.parametrize(
    ("config", "arguments"),
    [
        ({"model_type": "mamba"}, {}),
        ({"model_type": "llama"}, {}),
        (catalogue_config("llama-3.1-8b"), {"quantization": "fp8"}),
        (catalogue_config("llama-3.1-8b"), {"dtype": "float8"}),
        (catalogue_config("llama-3.1-8b"), {"kv_cache_dtype": "turbo"}),
    ],
)
def test_what_is_not_known_is_not_guessed(config: dict[str, Any], arguments: dict[str, Any]) -> None:
    assert memory_of_rank(config, arguments, "a GPU", 80 * GIB) is None
