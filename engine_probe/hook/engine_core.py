"""The engine core inside an `LLM`, and its description for `run.json`."""

import os
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from engine_probe.errors import InputError
from engine_probe.hook.vllm_versions import installed_vllm
from engine_probe.hook.workers.device_memory import read_all_workers

# Variables that set how an engine computes: vLLM's own, and those of the libraries below it.
VARIABLE_PREFIXES = ("VLLM_", "NCCL_", "OMP_", "TORCH", "CUBLAS_")
PRIVATE_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSWORD")  # in a name: its value goes into no file
# Addresses and folders, which are each machine's own and change nothing that is computed.
PLACES = frozenset({"VLLM_HOST_IP", "VLLM_PORT", "VLLM_RPC_BASE_PATH", "VLLM_CACHE_ROOT", "VLLM_CONFIG_ROOT"})
# Names that vLLM draws for each process.
DRAWN = frozenset({"VLLM_DIST_IDENT", "VLLM_OBJECT_STORAGE_SHM_BUFFER_NAME"})
OUR_VARIABLES = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "the engine is recorded in its own process",
    "VLLM_CPU_OMP_THREADS_BIND": "cores are divided among the ranks of all engines",
}


def find_core(engine: Any) -> Any:
    """Return the in-process `EngineCore` of an `LLM`, an `LLMEngine` or an `EngineCore`."""
    llm_engine = getattr(engine, "llm_engine", engine)
    client = getattr(llm_engine, "engine_core", llm_engine)
    core = getattr(client, "engine_core", client)
    if hasattr(core, "scheduler") and hasattr(core, "model_executor"):
        return core
    if hasattr(client, "resources") or type(client).__name__.endswith("MPClient"):
        raise InputError(_in_another_process("Async" in type(client).__name__))
    raise InputError(
        f"a {type(engine).__name__} is not a vLLM engine: give the Probe a vllm.LLM, an LLMEngine or an EngineCore"
    )


def _in_another_process(asynchronous: bool) -> str:
    plugin = 'set os.environ["ENGINE_PROBE_RECORD"] = "<folder>" before it is built, which records it without a Probe'
    if asynchronous:
        return f"an AsyncLLM runs its engine in another process, where a Probe cannot reach it: {plugin}"
    return (
        "this engine runs in another process (vLLM's default), where a Probe cannot reach it: set "
        'os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0" before vllm is imported, in a fresh process or notebook '
        f"kernel; or leave it there and {plugin}"
    )


class AnswerSoFar(NamedTuple):
    """Holds the names of vLLM's `CompletionOutput` that tell an answer's tokens."""

    token_ids: list[int]
    logprobs: Any


def answer_so_far(llm_engine: Any, request_id: str) -> AnswerSoFar | None:
    """Return what an unfinished request has got, by vLLM's internal id. None if it is unknown.

    vLLM returns nothing of a request that is aborted unless its tokens are streamed, which costs time in every step.
    """
    try:
        scheduler = llm_engine.engine_core.engine_core.scheduler
        if hasattr(scheduler, "catch_up"):  # a twin's, which brings answers up to date when something happens
            scheduler.catch_up()
        state = llm_engine.output_processor.request_states[request_id]
        return AnswerSoFar(list(state.detokenizer.output_token_ids), state.logprobs_processor.logprobs)
    except (AttributeError, KeyError):
        return None


def describe(core: Any) -> dict[str, Any]:
    """Return what `run.json` holds about the engine, as vLLM resolved it."""
    scheduler, config = core.scheduler, core.vllm_config
    cache = scheduler.kv_cache_config
    model = config.model_config
    distribution, version = installed_vllm() or (None, None)
    return {
        "versions": {"vllm": version, "distribution": distribution},
        "engine": {
            "arguments": {
                name: _plain_fields(getattr(config, name)) for name in _CONFIG_SECTIONS if hasattr(config, name)
            },
            "environment": engine_settings(os.environ),
            "executor": type(core.model_executor).__name__,
            "scheduler": type(scheduler).__name__,
            "asynchronous": core.batch_queue is not None,
        },
        "model": {
            "name": model.model,
            "architecture": (model.architectures or [None])[0],
            "dtype": str(model.dtype).removeprefix("torch."),
            "max_model_len": model.max_model_len,
            "num_layers": model.get_num_layers(config.parallel_config),
            "num_kv_heads": model.get_total_num_kv_heads(),
            "head_size": model.get_head_size(),
        },
        "kv": {
            "blocks": scheduler.kv_cache_manager.block_pool.num_gpu_blocks - 1,
            "block_size_tokens": scheduler.block_size,
            "bytes": sum(tensor.size for tensor in cache.kv_cache_tensors),
            "bytes_per_block": sum(tensor.size for tensor in cache.kv_cache_tensors) // cache.num_blocks,
            "groups": len(cache.kv_cache_groups),
            "prefix_caching": bool(scheduler.cache_config.enable_prefix_caching),
        },
        "limits": {
            "max_num_seqs": scheduler.max_num_running_reqs,
            "max_num_batched_tokens": scheduler.max_num_scheduled_tokens,
            "policy": scheduler.policy.value,
        },
        "compilation": _compilation(config.compilation_config),
        **read_all_workers(core.model_executor),
    }


def engine_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of an environment that set how its engine computes, without secrets."""
    left_out = PLACES | DRAWN | OUR_VARIABLES.keys()
    return {
        name: environment[name]
        for name in sorted(environment)
        if name.startswith(VARIABLE_PREFIXES) and name not in left_out and not PRIVATE_NAME.search(name)
    }


def rank_gpus(description: dict[str, Any]) -> list[str]:
    """Return the UUIDs of the GPUs that the ranks run on, as far as the workers know them."""
    return [row["device"] for row in description["memory"] if row["device"] not in ("cpu", "GPU-unknown")]


_CONFIG_SECTIONS = (
    "model_config",
    "cache_config",
    "parallel_config",
    "scheduler_config",
    "load_config",
    "speculative_config",
    "kv_transfer_config",
)


def _compilation(config: Any) -> dict[str, Any]:
    return {
        "mode": _enum_name(config.mode),
        "backend": config.backend or None,
        "graph_mode": _enum_name(config.cudagraph_mode),
        "capture_sizes": sorted(config.cudagraph_capture_sizes or ()),
        "max_capture_size": config.max_cudagraph_capture_size,
        "splitting_ops": config.splitting_ops,
        "custom_ops": list(config.custom_ops),
    }


def _enum_name(value: Any) -> str | None:
    return None if value is None else value.name


def _plain_fields(section: Any) -> dict[str, Any] | None:
    """Return the fields of a configuration that JSON can hold."""
    if section is None:
        return None
    return {
        name: value
        for name, value in sorted(vars(section).items())
        if not name.startswith("_") and (value is None or isinstance(value, bool | int | float | str))
    }
