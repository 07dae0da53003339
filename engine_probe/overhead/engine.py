"""A real LLMEngine whose executor computes nothing, so that its steps are as short as steps can be."""

import os
from typing import Any

from engine_probe.engine.build import llm_arguments
from engine_probe.engine.engine_spec import EngineSpec


def build_engine(max_running: int, max_model_len: int, log_stats: bool = False, **arguments: Any) -> Any:
    """Build an engine in this process with KV blocks for `max_running` requests of full length."""
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    from vllm import EngineArgs
    from vllm.v1.engine.llm_engine import LLMEngine

    from engine_probe.engine.null_executor import SubstituteExecutor

    spec = EngineSpec(
        "tiny",
        {
            "skip_tokenizer_init": True,
            "max_model_len": max_model_len,
            "block_size": 16,
            "num_gpu_blocks_override": 1 + max_running * max_model_len // 16,
            "max_num_seqs": max_running,
            "enable_prefix_caching": False,
            "enforce_eager": True,
            **arguments,
        },
    )
    resolved = {**llm_arguments(spec), "distributed_executor_backend": SubstituteExecutor}
    resolved.pop("kv_cache_memory_bytes", None)  # no memory stands behind these blocks
    return LLMEngine(EngineArgs(**resolved).create_engine_config(), SubstituteExecutor, log_stats=log_stats)
