"""A model's geometry, checked by hand."""

import pytest

from engine_probe.engine.models.geometry import geometry
from engine_probe.errors import InputError

TOY = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 8,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 16,
    "num_hidden_layers": 3,
    "vocab_size": 10,
    "max_position_embeddings": 64,
    "torch_dtype": "bfloat16",
}


def test_a_toy_llama() -> None:
    shape = geometry(TOY)
    matrices = 8 * 8 + 8 * 4 + 8 * 4 + 8 * 8 + 3 * 8 * 16  # q, k, v, o, feed-forward
    assert shape.parameters == 3 * (matrices + 2 * 8) + 2 * 10 * 8 + 8
    assert shape.attention == "GQA"
    assert shape.head_size == 2
    assert shape.kv_bytes_per_token() == 2 * 3 * 2 * 2 * 2  # key and value, layers, KV heads, head size, bytes
    assert shape.kv_bytes_per_token("fp8") == shape.kv_bytes_per_token() // 2
    assert shape.weights_bytes() == 2 * shape.parameters
    assert shape.weights_bytes("float32") == 4 * shape.parameters


LATENT = {
    "model_type": "deepseek_v3",
    "hidden_size": 8,
    "num_attention_heads": 4,
    "intermediate_size": 16,
    "num_hidden_layers": 3,
    "vocab_size": 10,
    "max_position_embeddings": 64,
    "kv_lora_rank": 6,
    "q_lora_rank": 5,
    "qk_nope_head_dim": 4,
    "qk_rope_head_dim": 2,
    "v_head_dim": 3,
    "n_routed_experts": 7,
    "n_shared_experts": 2,
    "num_experts_per_tok": 3,
    "moe_intermediate_size": 4,
    "first_k_dense_replace": 1,
    "topk_method": "noaux_tc",
    "torch_dtype": "bfloat16",
}


def test_latent_vectors_and_experts() -> None:
    shape = geometry(LATENT)
    to_latent, projected = 8 * (6 + 2 + 5), 6 * 4 * (4 + 3)
    attention = to_latent + 5 * 4 * (4 + 2) + projected + 4 * 3 * 8
    expert = 3 * 8 * 4
    matrices = 3 * attention + 3 * 8 * 16 + 2 * (7 + 2) * expert  # the first layer has none
    norms, chooser = 3 * (2 * 8 + 6 + 5), 2 * (8 * 7 + 7)
    assert shape.parameters == matrices + norms + chooser + 2 * 10 * 8 + 8
    assert shape.active_parameters == matrices - 2 * (7 - 3) * expert
    assert (shape.attention, shape.kv_heads, shape.head_size) == ("MLA", 1, 6 + 2)
    assert shape.kv_bytes_per_token() == 3 * (6 + 2) * 2
    assert shape.operations_of_a_pair == 2 * (4 + 2 + 3) * 4 * 3
    whole = 3 * to_latent * 2
    assert shape.weights_bytes_of_rank("auto", 2, 1) == (shape.weights_bytes() - whole) / 2 + whole
    eight = geometry({**LATENT, "quantization_config": {"quant_method": "fp8"}})
    assert eight.weights_bytes() == 2 * shape.parameters - matrices + 2 * 3 * projected  # which are there twice
    assert geometry({**LATENT, "n_routed_experts": None}).experts is None


@pytest.mark.parametrize(("kv_heads", "kind"), [(4, "MHA"), (2, "GQA"), (1, "MQA")])
def test_attention_is_named_by_how_many_share_a_kv_head(kv_heads: int, kind: str) -> None:
    assert geometry({**TOY, "num_key_value_heads": kv_heads}).attention == kind


def test_tied_embeddings_count_once() -> None:
    assert geometry(TOY).parameters - geometry({**TOY, "tie_word_embeddings": True}).parameters == 10 * 8


def test_quantization_shrinks_the_layers_matrices_alone() -> None:
    shape = geometry({**TOY, "quantization_config": {"quant_method": "fp8"}})
    assert shape.quantized
    assert shape.weights_bytes() == 2 * shape.parameters - shape.linear_parameters
    four_bits = {"quant_method": "compressed-tensors", "config_groups": {"g": {"weights": {"num_bits": 4}}}}
    assert geometry({**TOY, "quantization_config": four_bits}).linear_bytes == 0.5


@pytest.mark.parametrize(
    ("scaling", "context"),
    [
        ({"type": "linear", "factor": 4.0}, 256),
        ({"rope_type": "dynamic", "factor": 2.0}, 128),
        ({"type": "linear"}, 64),
    ],
)
def test_factors_of_linear_and_dynamic_scaling_stretch_the_context(scaling: dict[str, object], context: int) -> None:
    assert geometry({**TOY, "rope_scaling": scaling}).max_context == context


@pytest.mark.parametrize("key", ["rope_scaling", "rope_parameters"])
def test_yarn_stretches_the_context_under_both_names(key: str) -> None:
    scaling = {"type": "yarn", "factor": 16.0, "original_max_position_embeddings": 8192}
    assert geometry({**TOY, key: scaling}).max_context == 131_072
    assert geometry({**TOY, key: {"rope_type": "llama3", "factor": 8.0}}).max_context == 64


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"model_type": "mamba"}, "model_type 'mamba' has no known geometry; known are llama"),
        ({"model_type": "falcon"}, "only the new decoder architecture"),
        ({"quantization_config": {"quant_method": "awq"}}, "quantization 'awq' has no known weight size"),
    ],
)
def test_what_it_cannot_count_it_refuses(change: dict[str, object], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        geometry({**TOY, **change})


@pytest.mark.parametrize("dtype", ["int3", "fp8_per_token_head", "fp8_ds_mla"])
def test_a_kv_type_that_is_unknown_or_keeps_scales_is_refused(dtype: str) -> None:
    with pytest.raises(InputError, match=f"kv_cache_dtype '{dtype}' is none of"):
        geometry(TOY).kv_bytes_per_token(dtype)
