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


def test_an_unknown_kv_type_is_refused() -> None:
    with pytest.raises(InputError, match="kv_cache_dtype 'int3' is none of"):
        geometry(TOY).kv_bytes_per_token("int3")
