from __future__ import annotations

from typing import Any

import pytest

from engine_probe.engine.models.attention_kinds import UnknownLayersError, attention_kinds
from engine_probe.engine.models.catalogue import catalogue_config, catalogue_names
from engine_probe.errors import InputError

SIX: dict[str, Any] = {"num_hidden_layers": 6}
ALTERNATING = ["sliding_attention", "full_attention"] * 3


@pytest.mark.parametrize("name", catalogue_names())
def test_every_layer_of_the_catalogue_keeps_its_whole_context(name: str) -> None:
    found = attention_kinds(catalogue_config(name))
    assert set(found.windows) == ({131_072} if name == "mistral-7b-128k" else {None})
    assert found.latent_size is None


@pytest.mark.parametrize(
    ("config", "windows"),
    [
        ({"model_type": "mistral", "sliding_window": 64}, [64] * 6),
        ({"model_type": "mistral", "sliding_window": None}, [None] * 6),
        ({"model_type": "mistral"}, [4096] * 6),  # as transformers completes it
        ({"model_type": "phi3", "sliding_window": 2047}, [2047] * 6),
        ({"model_type": "phi3", "sliding_window": 0}, [None] * 6),
        ({"model_type": "gemma2", "sliding_window": 64}, [64, None] * 3),
        ({"model_type": "gemma3_text", "sliding_window": 64}, [64] * 5 + [None]),
        ({"model_type": "gemma3_text", "sliding_window": 64, "sliding_window_pattern": 3}, [64, 64, None] * 2),
        ({"model_type": "gemma3_text", "sliding_window": 64, "layer_types": ALTERNATING}, [64, None] * 3),
        ({"model_type": "gpt_oss", "sliding_window": 128}, [128, None] * 3),
        ({"model_type": "llama", "sliding_window": 64, "layer_types": ALTERNATING}, [64, None] * 3),
        ({"model_type": "llama", "layer_types": ALTERNATING}, [None] * 6),  # no window is given
        ({"model_type": "qwen2", "sliding_window": 64}, [None] * 6),
        ({"model_type": "qwen2", "sliding_window": 64, "use_sliding_window": False}, [None] * 6),
        ({"model_type": "qwen2", "sliding_window": 64, "use_sliding_window": True}, [None] * 6),  # begins at layer 28
        (
            {"model_type": "qwen3", "sliding_window": 64, "use_sliding_window": True, "max_window_layers": 0},
            [64] * 6,
        ),
        ({"model_type": "granitemoehybrid", "mamba_d_state": 8, "layer_types": ["attention"] * 6}, [None] * 6),
    ],
)
def test_windows_are_those_of_the_model_code(config: dict[str, Any], windows: list[int | None]) -> None:
    found = attention_kinds({**SIX, **config})
    assert list(found.windows) == windows
    assert found.same_window is (len(set(windows)) == 1)
    assert set(attention_kinds({**SIX, **config}, {"disable_sliding_window": True}).windows) == {None}


def test_the_language_model_of_several_counts_and_overrides_count() -> None:
    inner = {**SIX, "model_type": "gemma3_text", "sliding_window": 64}
    assert attention_kinds({"model_type": "gemma3", "text_config": inner}).windows == (64,) * 5 + (None,)
    plain = {**SIX, "model_type": "mistral", "sliding_window": None}
    assert attention_kinds(plain, {"hf_overrides": {"sliding_window": 32}}).windows == (32,) * 6


@pytest.mark.parametrize(
    ("kind", "lora", "rope", "layers", "bytes_per_token"),
    [
        ("deepseek_v2", 512, 64, 60, 69_120),  # DeepSeek-V2
        ("deepseek_v2", 512, 64, 27, 31_104),  # DeepSeek-V2-Lite
        ("deepseek_v3", 512, 64, 61, 70_272),  # published as 70.272 KB a token of DeepSeek-V3
    ],
)
def test_mla_keeps_one_latent_vector_in_each_layer(
    kind: str, lora: int, rope: int, layers: int, bytes_per_token: int
) -> None:
    config = {"model_type": kind, "num_hidden_layers": layers, "kv_lora_rank": lora, "qk_rope_head_dim": rope}
    found = attention_kinds(config)
    assert found.latent_size is not None
    assert len(found.windows) * found.latent_size * 2 == bytes_per_token


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"model_type": "mamba", "state_size": 16}, "recurrent"),
        ({"model_type": "jamba", "attn_layer_period": 8}, "recurrent"),
        ({"model_type": "nemotron_h", "hybrid_override_pattern": "M-M*"}, "recurrent"),
        ({"model_type": "unknown", "mamba_d_state": 128}, "mamba_d_state"),
        ({"model_type": "granitemoehybrid", "layer_types": ["mamba", "attention"] * 3}, "mamba"),
        ({"model_type": "qwen3_next", "layer_types": ["linear_attention", "full_attention"] * 3}, "linear_attention"),
        ({"model_type": "llama4", "text_config": {**SIX, "model_type": "llama4_text"}}, "within chunks"),
        ({"model_type": "unknown", "attention_chunk_size": 8192}, "8192"),
        ({"model_type": "unknown", "layer_types": ["chunked_attention"] * 6}, "within chunks"),
        ({"model_type": "gemma3n_text", "num_kv_shared_layers": 15}, "share"),
        ({"model_type": "gemma4_text", "global_head_dim": 512}, "unequal heads"),
        ({"model_type": "minicpm3", "kv_lora_rank": 256}, "kv_lora_rank"),
        ({"model_type": "cohere2", "sliding_window": 64, "layer_types": ALTERNATING}, "in some of its layers"),
        ({"model_type": "cohere2", "sliding_window": 64, "sliding_window_pattern": 4}, "which of its layers"),
        (
            {"model_type": "qwen2", "sliding_window": 64, "use_sliding_window": True, "max_window_layers": 3},
            "in some of its layers",
        ),
    ],
)
def test_what_only_vllms_own_code_knows_is_left_to_it(config: dict[str, Any], why: str) -> None:
    with pytest.raises(UnknownLayersError, match=why):
        attention_kinds({**SIX, **config})


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"model_type": "bart", "is_encoder_decoder": True}, "encoder-decoder"),
        ({"model_type": "deepseek_v32", "kv_lora_rank": 512, "index_topk": 2048}, "sparse"),
        ({"model_type": "gemma3_text", "use_bidirectional_attention": True}, "later tokens"),
    ],
)
def test_what_no_twin_can_have_is_refused(config: dict[str, Any], why: str) -> None:
    with pytest.raises(InputError, match=why) as refused:
        attention_kinds({**SIX, **config})
    assert not isinstance(refused.value, UnknownLayersError)
    assert "choose a model whose layers" in str(refused.value)


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"model_type": "llama", "sliding_window": 64, "layer_types": ALTERNATING[:5]}, "names 5 layers of 6"),
        ({"model_type": "mistral", "sliding_window": "64"}, "'64': give a whole number or null"),
        ({"model_type": "llama", "num_hidden_layers": None}, "num_hidden_layers"),
    ],
)
def test_windows_that_cannot_be_derived_are_refused(config: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        attention_kinds({**SIX, **config})
