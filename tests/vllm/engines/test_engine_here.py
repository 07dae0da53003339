"""The embedded tiny in the process of the test, and what vLLM reads of published configurations without an engine."""

from typing import Any

from engine_probe.engine.build import llm_arguments
from engine_probe.engine.engine_spec import EngineSpec
from engine_probe.engine.models import tiny
from engine_probe.engine.models.catalogue import catalogue_config, catalogue_folder
from engine_probe.engine.models.geometry import geometry


def test_tiny_answers_text_with_text(tiny_llm: Any) -> None:
    from vllm import SamplingParams

    greedy = SamplingParams(temperature=0, max_tokens=24, ignore_eos=True)
    outputs = tiny_llm.generate(["The capital of France is", "Hello"], greedy, use_tqdm=False)
    assert [len(output.outputs[0].token_ids) for output in outputs] == [24, 24]
    assert all(output.outputs[0].text for output in outputs)
    assert outputs[0].outputs[0].token_ids != outputs[1].outputs[0].token_ids


def test_tiny_takes_a_chat(tiny_llm: Any) -> None:
    from vllm import SamplingParams

    chat = [{"role": "user", "content": "hi"}]
    (output,) = tiny_llm.chat(chat, SamplingParams(max_tokens=2), use_tqdm=False)
    assert output.prompt_token_ids[0] == tiny.VOCABULARY - 3  # <|im_start|>


def test_tiny_takes_token_ids_and_answers_the_same_alone_each_time(tiny_llm: Any) -> None:
    from vllm import SamplingParams

    greedy = SamplingParams(temperature=0, max_tokens=48, ignore_eos=True, detokenize=False)
    prompts = [{"prompt_token_ids": [7, 8, 9]}]
    one, other = (tiny_llm.generate(prompts, greedy, use_tqdm=False)[0].outputs[0] for _ in range(2))
    assert one.token_ids == other.token_ids
    assert len(set(one.token_ids)) > 16


def test_the_pool_is_what_was_asked_for(tiny_llm: Any) -> None:
    core = tiny_llm.llm_engine.engine_core.engine_core
    assert core.scheduler.kv_cache_manager.block_pool.num_gpu_blocks == 64
    tensors = core.scheduler.kv_cache_config.kv_cache_tensors
    assert sum(tensor.size for tensor in tensors) == 64 * 32 * geometry(tiny.CONFIG).kv_bytes_per_token()


def test_vllm_reads_the_stretched_context_of_yarn(vllm_here: None) -> None:
    """Of the publisher's file alone it would read 32768."""
    from vllm.engine.arg_utils import EngineArgs

    arguments = llm_arguments(EngineSpec("mistral-7b-128k"))
    assert EngineArgs(**arguments).create_model_config().max_model_len == 131072
    del arguments["hf_overrides"]
    assert EngineArgs(**arguments).create_model_config().max_model_len == 32768


def test_vllm_reads_the_fp8_llama_as_quantized(vllm_here: None) -> None:
    """Its kernels need a GPU; what can be proved here is that vLLM takes the configuration for what it is."""
    from vllm.engine.arg_utils import EngineArgs

    folder = str(catalogue_folder("llama-3.1-70b-fp8"))
    arguments = EngineArgs(model=folder, load_format="dummy", skip_tokenizer_init=True)
    config = arguments.create_model_config()
    assert config.quantization == "compressed-tensors"
    assert config.max_model_len == geometry(catalogue_config("llama-3.1-70b-fp8")).max_context
