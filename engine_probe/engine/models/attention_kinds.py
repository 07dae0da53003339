"""What each layer of a model keeps in the KV cache: every token, a window of them, or MLA's latent vectors.

It follows from the model's `config.json` and vLLM's code for that model, which is not the same for all: windows in some
layers are known here for the models of `WINDOWS_BY_LAYER` alone. What is not derived here, and only vLLM's own code
knows, raises `UnknownLayersError`; what no twin can have is refused.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from engine_probe.engine.models.geometry import Config
from engine_probe.errors import InputError

MLA = ("deepseek_v2", "deepseek_v3", "kimi_k2")
WINDOWS_BY_LAYER = ("gemma2", "gemma3_text", "gpt_oss", "llama", "mistral")
DEFAULT_WINDOWS = {"gemma2": 4096, "gemma3_text": 4096, "gpt_oss": 128, "mistral": 4096}  # where it is left out
QWEN = ("qwen2", "qwen3")  # beginnings of model types whose windows count only with use_sliding_window
QWEN_FULL_LAYERS = 28  # before those with a window, unless max_window_layers is given
FULL, SLIDING, CHUNKED = ("full_attention", "attention"), "sliding_attention", "chunked_attention"

# Fields and model types of layers with a recurrent or convolutional state, and of other caches.
STATES = (
    *("attn_layer_period", "attn_layer_indices", "attn_type_list", "conv_L_cache", "hybrid_override_pattern"),
    *("layers_block_type", "linear_attn_config", "linear_num_value_heads", "lru_width", "mamba_d_state"),
    *("mamba_num_heads", "ssm_cfg", "state_size", "wkv_hidden_size"),
)
WITH_STATES = (
    *("bamba", "falcon_h1", "falcon_mamba", "granitemoehybrid", "jamba", "kimi_linear", "lfm2", "lfm2_moe", "mamba"),
    *("mamba2", "minimax", "minimax_text_01", "nemotron_h", "olmo_hybrid", "plamo2", "qwen3_5", "qwen3_5_moe"),
    *("qwen3_5_moe_text", "qwen3_5_text", "qwen3_next", "recurrent_gemma", "rwkv", "zamba", "zamba2"),
)
CHUNKED_TYPES = ("llama4", "llama4_text")
SHARING_TYPES = ("gemma3n", "gemma3n_text")
UNEQUAL_HEADS = ("block_configs", "global_head_dim", "num_global_key_value_heads", "swa_num_key_value_heads")
SPARSE = ("compress_ratios", "index_topk")


class UnknownLayersError(InputError):
    """Layers keep something that is not derived here; vLLM's own code may build them."""


@dataclass(frozen=True)
class AttentionKinds:
    """What the layers of a model keep."""

    windows: tuple[int | None, ...]  # tokens of each layer's window; None: the layer keeps every token
    latent_size: int | None = None  # MLA: values of a token in a layer, on every rank. None: keys and values by head

    @property
    def same_window(self) -> bool:
        return len(set(self.windows)) <= 1


def attention_kinds(config: Config, arguments: Mapping[str, Any] | None = None) -> AttentionKinds:
    """Return what each layer keeps under these engine arguments; refuse what is not known."""
    given = arguments or {}
    text = _text_config(config, given.get("hf_overrides"))
    kind = text.get("model_type")
    if (reason := next(_reasons(text), None)) is not None:
        raise InputError(
            f"model_type {kind!r} {reason}: neither the twin nor the memory model knows that; choose a model whose "
            "layers attend to all tokens before, to a sliding window or with MLA, or keep a recurrent state"
        )
    if (reason := next(_kept_otherwise(text), None)) is not None:
        raise UnknownLayersError(f"model_type {kind!r} {reason}: what follows from its configuration is not known here")
    if kind in MLA and text.get("kv_lora_rank"):
        latent = int(text["kv_lora_rank"]) + int(text["qk_rope_head_dim"])
        return AttentionKinds((None,) * _layers(text), latent)
    if given.get("disable_sliding_window"):
        return AttentionKinds((None,) * _layers(text))
    return AttentionKinds(_windows(text))


def _text_config(config: Config, overrides: object) -> dict[str, Any]:
    """Return the language model's part of a configuration, with what the engine's arguments change in it."""
    whole = {**config, **overrides} if isinstance(overrides, Mapping) else dict(config)
    inner = whole.get("text_config")
    shared = {name: whole[name] for name in ("is_encoder_decoder",) if name in whole}
    return {**shared, **inner} if isinstance(inner, Mapping) else whole


def _reasons(text: Config) -> Iterator[str]:
    """Yield how a model differs from what a twin can have."""
    if text.get("is_encoder_decoder"):
        yield "is an encoder-decoder model (is_encoder_decoder), which keeps keys and values of the encoder as well"
    if name := next((name for name in SPARSE if text.get(name)), None):
        yield f"has sparse attention with an index of its own ({name})"
    if text.get("use_bidirectional_attention") or text.get("is_causal") is False:
        yield "attends to later tokens as well"


def _kept_otherwise(text: Config) -> Iterator[str]:
    """Yield what a model keeps beside keys and values of its own layers."""
    kind, types = text.get("model_type"), set(text.get("layer_types") or ())
    if kind in CHUNKED_TYPES or text.get("attention_chunk_size") or CHUNKED in types:
        yield f"has attention within chunks (attention_chunk_size {text.get('attention_chunk_size')})"
    if others := sorted(str(each) for each in types - {*FULL, SLIDING}):
        yield f"has layers of another kind (layer_types {', '.join(others)})"
    state = next((name for name in STATES if text.get(name)), None)
    if (kind in WITH_STATES or state) and not (types and types <= {*FULL}):
        yield f"keeps the state of recurrent layers{f' ({state})' if state else ''} beside a KV cache, or without one"
    if kind in SHARING_TYPES or text.get("num_kv_shared_layers") or text.get("use_cla"):
        yield f"has layers that share a KV cache (num_kv_shared_layers {text.get('num_kv_shared_layers')})"
    if name := next((name for name in UNEQUAL_HEADS if text.get(name)), None):
        yield f"has layers with unequal heads ({name})"
    if text.get("kv_lora_rank") and kind not in MLA:
        yield f"has latent vectors (kv_lora_rank) and is none of {', '.join(MLA)}"


def _layers(text: Config) -> int:
    names = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
    found = next((text[name] for name in names if text.get(name)), None)
    if not isinstance(found, int) or found < 1:
        raise InputError(f"model_type {text.get('model_type')!r}: num_hidden_layers is {found!r}: give a whole number")
    return found


def _windows(text: Config) -> tuple[int | None, ...]:
    """Return the window of each layer as vLLM's code for this model sets it."""
    kind, layers, window = str(text.get("model_type")), _layers(text), _window(text)
    types = text.get("layer_types")
    if window is None:
        return (None,) * layers
    slides = _sliding_layers(kind, text, layers)
    if types is not None and len(types) != layers:
        raise InputError(f"model_type {kind!r}: layer_types names {len(types)} layers of {layers}: name each")
    if len(set(slides)) > 1 and kind not in WINDOWS_BY_LAYER:
        raise UnknownLayersError(
            f"model_type {kind!r} has a sliding window of {window} tokens in some of its layers: vLLM's code for that "
            f"is known here for {', '.join(WINDOWS_BY_LAYER)} alone"
        )
    return tuple(window if slide else None for slide in slides)


def _window(text: Config) -> int | None:
    """Return the tokens of the model's window. None if it has none, or does not use it."""
    kind = str(text.get("model_type"))
    if kind.startswith(QWEN) and not text.get("use_sliding_window"):
        return None
    found = text.get("sliding_window", DEFAULT_WINDOWS.get(kind))
    if found is not None and not isinstance(found, int):
        raise InputError(f"model_type {kind!r}: sliding_window is {found!r}: give a whole number or null")
    return found or None


def _sliding_layers(kind: str, text: Config, layers: int) -> list[bool]:
    """Return which layers have the window; without `layer_types` as transformers completes a configuration."""
    if kind == "gpt_oss":
        return [layer % 2 == 0 for layer in range(layers)]
    if types := text.get("layer_types"):
        return [each == SLIDING for each in types]
    if kind.startswith(QWEN):
        full = int(text.get("max_window_layers", QWEN_FULL_LAYERS))
        return [layer >= full for layer in range(layers)]
    pattern = {"gemma2": 2, "gemma3_text": int(text.get("sliding_window_pattern") or 6)}.get(kind)
    if pattern is not None:
        return [(layer + 1) % pattern != 0 for layer in range(layers)]
    if text.get("sliding_window_pattern") or text.get("interleaved_sliding_window"):
        raise UnknownLayersError(f"model_type {kind!r}: which of its layers have a sliding window is not known here")
    return [True] * layers
