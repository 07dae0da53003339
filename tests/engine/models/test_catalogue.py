"""The catalogue's numbers agree with transformers, with their publishers and with what an H100 measured."""

import pytest

from engine_probe.engine.models.catalogue import (
    GEOMETRIES,
    catalogue_config,
    catalogue_folder,
    catalogue_names,
    sources,
)
from engine_probe.engine.models.geometry import GIB, geometry

ASKED_FOR = {
    "gpt2-xl",
    "deepseek-llm-7b-chat",
    "qwen1.5-14b-chat",
    "falcon-40b",
    "llama-2-13b",
    "llama-3-8b",
    "llama-3-70b",
    "llama-3.1-8b",
    "llama-3.1-70b",
    "llama-3.1-70b-fp8",
    "mistral-7b",
    "mistral-7b-128k",
    "qwen3-8b",
}

# "Scaling LLM Inference on a modern GPU Cluster" (Comillas ICAI, 2025), H100 NVL, 93.6 GiB usable: weights in
# GiB and KV capacity in tokens as vLLM reported them.
MEASURED = {
    "gpt2-xl": (2.9676, 268_208),
    "deepseek-llm-7b-chat": (12.8726, 141_808),
    "qwen1.5-14b-chat": (26.4278, 64_912),
    "falcon-40b": (76.9338, 18_688),
}


def test_every_model_has_a_folder_a_source_and_a_word_on_how_it_was_checked() -> None:
    assert set(catalogue_names()) == ASKED_FOR
    assert {folder.name for folder in GEOMETRIES.iterdir() if folder.is_dir()} == ASKED_FOR
    assert all(entry["publisher"].count("/") == 1 and entry["checked"] for entry in sources().values())


@pytest.mark.parametrize("name", sorted(ASKED_FOR))
def test_a_configuration_names_no_code_to_download(name: str) -> None:
    assert "auto_map" not in catalogue_config(name)


@pytest.mark.lengthy
@pytest.mark.parametrize("name", sorted(ASKED_FOR))
def test_transformers_builds_exactly_as_many_parameters(name: str) -> None:
    """On the meta device: every layer exists, none takes memory."""
    pytest.importorskip("transformers")
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(catalogue_folder(name))
    if hasattr(config, "quantization_config"):
        del config.quantization_config  # quantizing needs the weights; it does not change their number
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    assert sum(parameter.numel() for parameter in model.parameters()) == geometry(catalogue_config(name)).parameters


@pytest.mark.parametrize("name", sorted(set(ASKED_FOR) - {"llama-3.1-70b-fp8"}))
def test_the_known_total_is_met(name: str) -> None:
    total = f"total {geometry(catalogue_config(name)).parameters}"
    assert total in sources()[name]["checked"].split("; ")


@pytest.mark.parametrize("name", sorted(MEASURED))
def test_weights_agree_with_what_was_measured(name: str) -> None:
    """vLLM reports device memory taken while loading: the weights, plus rotary tables and allocator rounding.

    So the weights alone are never more, and a little less: DeepSeek by 1 MiB, the size of its rotary table,
    Falcon by 0.4, Qwen by 40 and GPT-2 by 68 MiB. Why the last two are that much more is not known.
    """
    weights = geometry(catalogue_config(name)).weights_bytes()
    measured = MEASURED[name][0] * GIB
    assert 0 <= measured - weights <= 72 << 20
    if name != "gpt2-xl":
        assert weights == pytest.approx(measured, rel=2e-3)


@pytest.mark.parametrize("name", sorted(MEASURED))
def test_kv_bytes_per_token_explain_the_measured_capacity(name: str) -> None:
    """Weights and KV pool share 90 % of the GPU with activations, which need between 4 and 8.5 GiB there."""
    weights_gib, capacity_tokens = MEASURED[name]
    pool_gib = capacity_tokens * geometry(catalogue_config(name)).kv_bytes_per_token() / GIB
    assert 4 < 0.9 * 93.6 - weights_gib - pool_gib < 8.5


def test_published_memory_of_the_fp8_llama_is_met() -> None:
    """Layers at one byte, embeddings and head at two; the same model takes 131.4 GiB in bfloat16."""
    assert geometry(catalogue_config("llama-3.1-70b-fp8")).weights_bytes() / GIB == pytest.approx(67.67, abs=0.01)
    assert geometry(catalogue_config("llama-3.1-70b")).weights_bytes() / GIB == pytest.approx(131.42, abs=0.01)
