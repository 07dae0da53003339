"""Every kind of model runs in the real vLLM: embedded, with text or token ids alone, and dummy geometries."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from engine_probe.engine.build import llm_arguments
from engine_probe.engine.models import smollm2, tiny
from engine_probe.engine.models.catalogue import catalogue_config, catalogue_folder
from engine_probe.engine.models.embedded import place_of
from engine_probe.engine.models.geometry import geometry
from engine_probe.engine.spec import EngineSpec

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


class TestTiny:
    def test_it_answers_text_with_text(self, tiny_llm: Any) -> None:
        from vllm import SamplingParams

        greedy = SamplingParams(temperature=0, max_tokens=24, ignore_eos=True)
        outputs = tiny_llm.generate(["The capital of France is", "Hello"], greedy, use_tqdm=False)
        assert [len(output.outputs[0].token_ids) for output in outputs] == [24, 24]
        assert all(output.outputs[0].text for output in outputs)
        assert outputs[0].outputs[0].token_ids != outputs[1].outputs[0].token_ids

    def test_it_takes_a_chat(self, tiny_llm: Any) -> None:
        from vllm import SamplingParams

        chat = [{"role": "user", "content": "hi"}]
        (output,) = tiny_llm.chat(chat, SamplingParams(max_tokens=2), use_tqdm=False)
        assert output.prompt_token_ids[0] == tiny.VOCABULARY - 3  # <|im_start|>

    def test_it_takes_token_ids_and_answers_the_same_alone_each_time(self, tiny_llm: Any) -> None:
        from vllm import SamplingParams

        greedy = SamplingParams(temperature=0, max_tokens=48, ignore_eos=True, detokenize=False)
        prompts = [{"prompt_token_ids": [7, 8, 9]}]
        one, other = (tiny_llm.generate(prompts, greedy, use_tqdm=False)[0].outputs[0] for _ in range(2))
        assert one.token_ids == other.token_ids
        assert len(set(one.token_ids)) > 16

    def test_the_pool_is_what_was_asked_for(self, tiny_llm: Any) -> None:
        core = tiny_llm.llm_engine.engine_core.engine_core
        assert core.scheduler.kv_cache_manager.block_pool.num_gpu_blocks == 64
        tensors = core.scheduler.kv_cache_config.kv_cache_tensors
        assert sum(tensor.size for tensor in tensors) == 64 * 32 * geometry(tiny.CONFIG).kv_bytes_per_token()


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


def test_vllm_reads_the_stretched_context_of_yarn() -> None:
    """Of the publisher's file alone it would read 32768."""
    from vllm.engine.arg_utils import EngineArgs

    arguments = llm_arguments(EngineSpec("mistral-7b-128k"))
    assert EngineArgs(**arguments).create_model_config().max_model_len == 131072
    del arguments["hf_overrides"]
    assert EngineArgs(**arguments).create_model_config().max_model_len == 32768


def test_vllm_reads_the_fp8_llama_as_quantized() -> None:
    """Its kernels need a GPU; what can be proved here is that vLLM takes the configuration for what it is."""
    from vllm.engine.arg_utils import EngineArgs

    folder = str(catalogue_folder("llama-3.1-70b-fp8"))
    arguments = EngineArgs(model=folder, load_format="dummy", skip_tokenizer_init=True)
    config = arguments.create_model_config()
    assert config.quantization == "compressed-tensors"
    assert config.max_model_len == geometry(catalogue_config("llama-3.1-70b-fp8")).max_context
