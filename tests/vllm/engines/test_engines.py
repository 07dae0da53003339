"""Every kind of model runs in the real vLLM: embedded, with text or token ids alone, and dummy geometries."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from engine_probe.engine.models import smollm2
from engine_probe.engine.models.catalogue import catalogue_config
from engine_probe.engine.models.embedded import place_of
from engine_probe.engine.models.geometry import geometry

InOwnProcess = Callable[..., Any]

GREEDY = "SamplingParams(temperature=0, max_tokens={}, ignore_eos=True, detokenize={})"

SHORT = {"block_size": 32, "num_gpu_blocks_override": 16, "enforce_eager": True, "max_model_len": 256}

SMALLER = {  # by the names that these give to what other geometries call num_hidden_layers and intermediate_size
    "gpt2-xl": {"n_layer": 2, "n_inner": 1024},
    "falcon-40b": {"num_hidden_layers": 2, "ffn_hidden_size": 1024},
}

ANSWER_TO_IDS = f"""
prompts = [{{"prompt_token_ids": [1, 2, 3]}}, {{"prompt_token_ids": [5, 6]}}]
outputs = llm.generate(prompts, {GREEDY.format(4, False)}, use_tqdm=False)
config = llm.llm_engine.vllm_config
answer = {{
    "lengths": [len(output.outputs[0].token_ids) for output in outputs],
    "load_format": str(config.load_config.load_format),
    "kv_heads": config.model_config.get_total_num_kv_heads(),
    "head_size": config.model_config.get_head_size(),
    "architecture": config.model_config.architectures[0],
    "longest": config.model_config.get_and_verify_max_len(-1),
}}
"""


def test_tiny_needs_no_tokenizer(in_own_process: InOwnProcess) -> None:
    found = in_own_process("tiny", {**SHORT, "skip_tokenizer_init": True}, ANSWER_TO_IDS)
    assert found["lengths"] == [4, 4]


def test_smollm2_knows_the_capital_of_france(in_own_process: InOwnProcess) -> None:
    lines = f"""
(output,) = llm.generate(["The capital of France is"], {GREEDY.format(12, True)}, use_tqdm=False)
answer = output.outputs[0].text
"""
    assert "Paris" in in_own_process("smollm2", {**SHORT, "dtype": "bfloat16"}, lines)
    written = json.loads((place_of("smollm2") / "config.json").read_text())
    assert geometry(written) == geometry(smollm2.CONFIG)


def check_geometry(in_own_process: InOwnProcess, name: str) -> None:
    """Two layers, a small vocabulary and a small MLP, which load fast: the architecture's attention is proved here."""
    small = SMALLER.get(name, {"num_hidden_layers": 2, "intermediate_size": 1024}) | {"vocab_size": 1024}
    found = in_own_process(name, {**SHORT, "hf_overrides": small}, ANSWER_TO_IDS)
    config = catalogue_config(name)
    shape = geometry(config)
    assert found == {
        "lengths": [4, 4],
        "load_format": "dummy",
        "kv_heads": shape.kv_heads,
        "head_size": shape.head_size,
        "architecture": config["architectures"][0],
        "longest": shape.max_context,
    }


def test_a_geometry_runs_with_dummy_weights(in_own_process: InOwnProcess) -> None:
    check_geometry(in_own_process, "gpt2-xl")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "deepseek-llm-7b-chat",
        "qwen1.5-14b-chat",
        "falcon-40b",
        "llama-2-13b",
        "llama-3-8b",
        "llama-3-70b",
        "llama-3.1-8b",
        "llama-3.1-70b",
        "mistral-7b",
        "mistral-7b-128k",
        "qwen3-8b",
    ],
)
def test_every_geometry_runs_with_dummy_weights(in_own_process: InOwnProcess, name: str) -> None:
    check_geometry(in_own_process, name)
