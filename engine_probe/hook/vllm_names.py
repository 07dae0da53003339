"""Every vLLM name that the hooks and `run.json` rely on, so that a version can be checked without running it.

Names are listed by file and class. Sources are only parsed, so a CUDA build can be checked on any machine.
"""

import ast
from collections.abc import Callable, Iterator

NAMES: dict[str, str] = {
    "vllm/v1/core/sched/scheduler.py Scheduler": (
        "schedule update_from_output add_request _preempt_request _free_request "
        "_update_requests_with_invalid_blocks running waiting requests "
        "kv_cache_manager kv_cache_config cache_config block_size num_spec_tokens policy "
        "max_num_running_reqs max_num_scheduled_tokens reset_prefix_cache vllm_config scheduler_config connector "
        "prefill_capacity_bound num_waiting_for_streaming_input _pause_state"
    ),
    "vllm/v1/core/kv_cache_manager.py KVCacheManager": "block_pool coordinator watermark_blocks allocate_slots",
    "vllm/v1/core/kv_cache_coordinator.py KVCacheCoordinator": "single_type_managers get_num_blocks_to_allocate",
    "vllm/v1/core/single_type_kv_cache_manager.py SingleTypeKVCacheManager": "req_to_blocks",
    "vllm/v1/core/block_pool.py BlockPool": (
        "num_gpu_blocks free_block_queue blocks enable_caching touch free_blocks _maybe_evict_cached_block "
        "reset_prefix_cache"
    ),
    "vllm/v1/core/kv_cache_utils.py FreeKVCacheBlockQueue": "num_free_blocks",
    "vllm/v1/core/kv_cache_utils.py KVCacheBlock": "ref_cnt block_hash is_null",
    "vllm/v1/core/sched/request_queue.py RequestQueue": "peek_request",
    "vllm/v1/request.py Request": (
        "request_id num_computed_tokens num_output_tokens num_prompt_tokens arrival_time priority status "
        "is_prefill_chunk get_finished_reason has_encoder_inputs lora_request"
    ),
    "vllm/v1/request.py RequestStatus": (
        "RUNNING WAITING_FOR_REMOTE_KVS WAITING_FOR_STRUCTURED_OUTPUT_GRAMMAR WAITING_FOR_STREAMING_REQ"
    ),
    "vllm/v1/core/sched/output.py SchedulerOutput": (
        "num_scheduled_tokens total_num_scheduled_tokens scheduled_new_reqs scheduled_cached_reqs "
        "scheduled_spec_decode_tokens"
    ),
    "vllm/v1/core/sched/output.py NewRequestData": "req_id",
    "vllm/v1/core/sched/output.py CachedRequestData": "resumed_req_ids",
    "vllm/v1/engine/__init__.py EngineCoreOutputs": "outputs",
    "vllm/v1/engine/__init__.py EngineCoreOutput": "request_id new_token_ids",
    "vllm/v1/engine/core.py EngineCore": "__init__ shutdown scheduler model_executor vllm_config batch_queue",
    "vllm/v1/engine/core.py EngineCoreProc": "run_busy_loop",
    "vllm/v1/engine/core.py DPEngineCoreProc": "run_busy_loop",
    "vllm/v1/engine/core_client.py InprocClient": "engine_core",
    "vllm/v1/engine/llm_engine.py LLMEngine": "engine_core",
    "vllm/v1/executor/abstract.py Executor": "collective_rpc",
    "vllm/v1/worker/worker_base.py WorkerWrapperBase": "execute_model __getattr__",
    "vllm/v1/worker/gpu_worker.py Worker": "execute_model sample_tokens",
    "vllm/v1/kv_cache_interface.py KVCacheConfig": "num_blocks kv_cache_tensors kv_cache_groups",
    "vllm/v1/kv_cache_interface.py KVCacheTensor": "size",
    "vllm/config/model.py ModelConfig": (
        "model architectures dtype max_model_len get_num_layers get_total_num_kv_heads get_head_size"
    ),
    "vllm/config/cache.py CacheConfig": "enable_prefix_caching",
    "vllm/config/compilation.py CompilationConfig": (
        "mode backend cudagraph_mode cudagraph_capture_sizes max_cudagraph_capture_size splitting_ops custom_ops"
    ),
}

# Read once, before a recording, for memory and weights: without one of these names a figure is missing.
READ_ONCE: dict[str, str] = {
    "vllm/v1/worker/worker_base.py WorkerBase": "rank device cache_config model_config lora_config model_runner",
    "vllm/v1/worker/worker_base.py WorkerWrapperBase": "worker",
    "vllm/v1/worker/gpu_worker.py Worker": "requested_memory peak_activation_memory cudagraph_memory_estimate",
    "vllm/v1/worker/cpu_worker.py CPUWorker": "requested_cpu_memory",
    "vllm/v1/worker/cpu_model_runner.py CPUModelRunner": "get_model",
    "vllm/v1/worker/gpu_model_runner.py GPUModelRunner": "get_model model_memory_usage kv_cache_config",
    "vllm/v1/worker/gpu/model_runner.py GPUModelRunner": "get_model model_memory_usage kv_cache_config",
    "vllm/platforms/interface.py Platform": "_global_graph_pool",
    "vllm/model_executor/layers/linear.py ReplicatedLinear": "input_size output_size params_dtype",
    "vllm/model_executor/layers/linear.py ColumnParallelLinear": "input_size_per_partition output_size_per_partition",
    "vllm/model_executor/layers/linear.py RowParallelLinear": "input_size_per_partition output_size_per_partition",
    "vllm/model_executor/layers/vocab_parallel_embedding.py ParallelLMHead": (
        "num_embeddings_per_partition embedding_dim params_dtype"
    ),
    "vllm/model_executor/layers/attention/attention.py Attention": (
        "num_heads num_kv_heads head_size sliding_window kv_cache_torch_dtype"
    ),
    "vllm/model_executor/layers/fused_moe/routed_experts.py RoutedExperts": (
        "local_num_experts global_num_experts hidden_size intermediate_size_per_partition top_k moe_config"
    ),
}

# The seams of phases and collectives (workers/phases.py, workers/collectives.py): a recording without them says so.
PHASE_SEAMS: dict[str, str] = {
    "vllm/v1/worker/gpu_model_runner.py GPUModelRunner": (
        "_model_forward _bookkeeping_sync _determine_batch_execution_and_padding execute_model sample_tokens"
    ),
    "vllm/v1/worker/gpu/model_runner.py GPUModelRunner": "step_timing prepare_inputs execute_model sample_tokens",
    "vllm/v1/worker/gpu/cudagraph_utils.py BatchExecutionDescriptor": "cg_mode",
    "vllm/v1/worker/gpu/input_batch.py InputBatch": "num_tokens_after_padding",
    "vllm/forward_context.py BatchDescriptor": "num_tokens",
    "vllm/v1/worker/gpu/async_utils.py StepTimingCollector": "forward_start",
    "vllm/distributed/parallel_state.py GroupCoordinator": (
        "world_size _all_reduce_out_place _all_gather_out_place _reduce_scatter_out_place"
    ),
}

# Read when a request is aborted (engine_core.answer_so_far): without them, what it had got by then is not kept.
SO_FAR: dict[str, str] = {
    "vllm/v1/engine/output_processor.py OutputProcessor": "request_states",
    "vllm/v1/engine/output_processor.py RequestState": "detokenizer logprobs_processor",
    "vllm/v1/engine/detokenizer.py IncrementalDetokenizer": "output_token_ids",
    "vllm/v1/engine/logprobs.py LogprobsProcessor": "logprobs",
}

# Requests that wait for something other than capacity: in a queue of their own until 0.30, a subset of two since 0.31.
ONE_OF: dict[str, tuple[str, ...]] = {
    "vllm/v1/core/sched/scheduler.py Scheduler": ("skipped_waiting", "kv_holding_waiting deferred_waiting")
}


def missing_names(read: Callable[[str], str], names: dict[str, str] = NAMES) -> list[str]:
    """Check the sources that `read(path)` returns; name each missing file, class or attribute."""
    missing = []
    for place, required in names.items():
        path, name = place.split()
        try:
            classes = {node.name: node for node in ast.parse(read(path)).body if isinstance(node, ast.ClassDef)}
        except FileNotFoundError:
            missing.append(f"{path} is not there")
            continue
        if name not in classes:
            missing.append(f"{path} defines no {name}")
            continue
        defined = set(_defined(name, classes))
        missing += [f"{path}: {name} has no {attribute}" for attribute in required.split() if attribute not in defined]
        choices = ONE_OF.get(place)
        if choices and not any(defined.issuperset(choice.split()) for choice in choices):
            missing.append(f"{path}: {name} has none of {' / '.join(choices)}")
    return missing


def _defined(name: str, classes: dict[str, ast.ClassDef]) -> Iterator[str]:
    """Yield methods, class attributes and attributes set on self, those of base classes in the same file included."""
    for statement in classes[name].body:
        match statement:
            case ast.FunctionDef(name=method) | ast.AsyncFunctionDef(name=method):
                yield method
            case ast.AnnAssign(target=ast.Name(id=attribute)) | ast.Assign(targets=[ast.Name(id=attribute)]):
                yield attribute
    for node in ast.walk(classes[name]):
        match node:
            case ast.Attribute(value=ast.Name(id="self"), attr=attribute, ctx=ast.Store()):
                yield attribute
    for base in classes[name].bases:
        if isinstance(base, ast.Name) and base.id in classes:
            yield from _defined(base.id, classes)
