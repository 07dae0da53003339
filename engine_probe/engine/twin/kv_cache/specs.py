"""What vLLM's model code would ask of the KV cache, layer by layer, for an engine that loads no model."""

from typing import Any

from vllm.utils.torch_utils import kv_cache_dtype_str_to_dtype
from vllm.v1.kv_cache_interface import (
    FullAttentionSpec,
    KVCacheSpec,
    KVQuantMode,
    MLAAttentionSpec,
    SlidingWindowSpec,
    get_kv_quant_mode,
)

from engine_probe.engine.models.attention_kinds import AttentionKinds, UnknownLayersError, attention_kinds
from engine_probe.errors import InputError

KNOWN_FORMATS = (KVQuantMode.NONE, KVQuantMode.FP8_PER_TENSOR)


def kv_cache_specs(config: Any) -> dict[str, KVCacheSpec]:
    """Return the specification of each layer on this rank; refuse what is not known."""
    model, cache, parallel = config.model_config, config.cache_config, config.parallel_config
    mode = get_kv_quant_mode(cache.cache_dtype)
    if mode not in KNOWN_FORMATS or cache.kv_cache_dtype_skip_layers:
        raise InputError(
            f"kv_cache_dtype {cache.cache_dtype!r}: how its backends lay a block out is not known here; use auto, fp8 "
            "or a floating-point type, without kv_cache_dtype_skip_layers"
        )
    try:
        kinds = kinds_of(config)
    except UnknownLayersError:
        return specs_of_model_code(config)
    common = {
        "block_size": cache.block_size,
        "dtype": kv_cache_dtype_str_to_dtype(cache.cache_dtype, model),
        "kv_quant_mode": mode,
    }
    first, end = model.get_layers_start_end_indices(parallel)
    names = {f"model.layers.{layer}.self_attn.attn": kinds.windows[layer] for layer in range(first, end)}
    if kinds.latent_size is not None:
        latent = MLAAttentionSpec(
            num_kv_heads=1, max_tp_shards=1, head_size=kinds.latent_size, cache_dtype_str=cache.cache_dtype, **common
        )
        return dict.fromkeys(names, latent)
    common |= {"num_kv_heads": model.get_num_kv_heads(parallel), "head_size": model.get_head_size()}
    # A layer with a window takes blocks as large as the others', as with FlashAttention.
    return {
        name: FullAttentionSpec(**common) if window is None else SlidingWindowSpec(**common, sliding_window=window)
        for name, window in names.items()
    }


def specs_of_model_code(config: Any) -> dict[str, KVCacheSpec]:
    """Return what vLLM's own code for this model asks for, and set the size of a block as it does on a GPU."""
    from engine_probe.engine.twin.kv_cache.model_code import built_model

    if (stages := config.parallel_config.pipeline_parallel_size) > 1:
        raise InputError(
            f"pipeline_parallel_size = {stages}: what each stage of such a model keeps is not modelled: "
            "use tensor_parallel_size"
        )
    _, specs = built_model(config)
    return specs


def kinds_of(config: Any) -> AttentionKinds:
    """Return what the layers keep, where it agrees with what vLLM says of the model as a whole."""
    model, cache = config.model_config, config.cache_config
    text = model.hf_text_config
    found = attention_kinds({**text.to_dict(), "num_hidden_layers": model.get_total_num_hidden_layers()})
    whole = {
        "is_hybrid": model.is_hybrid,
        "is_attention_free": model.is_attention_free,
        "is_encoder_decoder": model.is_encoder_decoder,
        "attention_chunk_size": model.attention_chunk_size,
        "rswa_window": model.rswa_window,
        "use_mla": model.use_mla is not (found.latent_size is not None),
        "sliding_window": _other_windows(found.windows, cache.sliding_window, getattr(text, "layer_types", None)),
    }
    if reason := next((name for name, differs in whole.items() if differs), None):
        raise InputError(
            f"model_type {text.model_type!r}: what vLLM says of its layers ({reason}) is not what follows from its "
            "configuration here: a twin cannot have this model"
        )
    return found


def _other_windows(windows: tuple[int | None, ...], of_all: int | None, layer_types: object) -> bool:
    """Return whether vLLM has a window in all layers where others were derived, or none where some were."""
    if of_all is None:
        return layer_types is None and any(windows)
    return any(window != of_all for window in windows)
