"""A model's geometry, computed from its `config.json`: parameters, attention, bytes per token."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine_probe.errors import InputError

GIB = 1 << 30
BYTES = {"float32": 4, "float16": 2, "half": 2, "bfloat16": 2}

Config = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """Holds a decoder's shape, in vLLM's words."""

    layers: int
    heads: int
    kv_heads: int
    head_size: int
    max_context: int
    matrices: int  # parameters of one layer that quantization shrinks
    others: int  # the other parameters of one layer: biases and norms
    outside: int  # parameters outside the layers
    dtype: str
    linear_bytes: float  # of each parameter in a matrix, as published

    @property
    def parameters(self) -> int:
        return self.layers * (self.matrices + self.others) + self.outside

    @property
    def linear_parameters(self) -> int:
        return self.layers * self.matrices

    @property
    def attention(self) -> str:
        """Return MHA, GQA or MQA, by how many query heads share a KV head."""
        if self.kv_heads == self.heads:
            return "MHA"
        return "MQA" if self.kv_heads == 1 else "GQA"

    def kv_bytes_per_token(self, kv_cache_dtype: str = "auto") -> int:
        """Return the bytes of a token's keys and values in all layers; `auto` is the model's type."""
        return 2 * self.layers * self.kv_heads * self.head_size * _kv_width(kv_cache_dtype, self.dtype)

    def weights_bytes(self, dtype: str = "auto") -> float:
        """Return the bytes of the weights; another `dtype` changes all weights that are not quantized."""
        width = BYTES[self.dtype if dtype == "auto" else dtype]
        linear = self.linear_bytes if self.quantized else width
        return (self.parameters - self.linear_parameters) * width + self.linear_parameters * linear

    @property
    def quantized(self) -> bool:
        return self.linear_bytes < BYTES[self.dtype]


def geometry(config: Config) -> Geometry:
    """Compute the geometry of a configuration; refuse an unknown model_type."""
    kind = str(config.get("model_type"))
    if kind not in _READERS:
        raise InputError(f"model_type {kind!r} has no known geometry; known are {', '.join(_READERS)}")
    return _READERS[kind](config)


def _llama_like(config: Config) -> Geometry:
    """Compute the geometry of Llama, Mistral, Qwen2 and Qwen3: rotary positions, gated feed-forward, RMS norms."""
    kind, hidden, heads = config["model_type"], config["hidden_size"], config["num_attention_heads"]
    kv_heads = config.get("num_key_value_heads") or heads
    head_size = config.get("head_dim") or (128 if kind == "qwen3" else hidden // heads)
    inner, query, key_value = config["intermediate_size"], heads * head_size, kv_heads * head_size
    matrices = hidden * (2 * query + 2 * key_value) + 3 * hidden * inner
    input_bias = query + 2 * key_value if kind == "qwen2" or config.get("attention_bias") else 0
    output_bias = hidden if kind != "qwen2" and config.get("attention_bias") else 0
    inner_bias = 2 * inner + hidden if config.get("mlp_bias") else 0
    norms = 2 * hidden + (2 * head_size if kind == "qwen3" else 0)
    tied = bool(config.get("tie_word_embeddings", False))
    return Geometry(
        heads=heads,
        kv_heads=kv_heads,
        head_size=head_size,
        layers=config["num_hidden_layers"],
        matrices=matrices,
        others=input_bias + output_bias + inner_bias + norms,
        outside=config["vocab_size"] * hidden * (1 if tied else 2) + hidden,
        max_context=_rotary_context(config),
        **_number_format(config),
    )


def _gpt2(config: Config) -> Geometry:
    hidden, heads = config["n_embd"], config["n_head"]
    inner = config.get("n_inner") or 4 * hidden
    return Geometry(
        heads=heads,
        kv_heads=heads,
        head_size=hidden // heads,
        layers=config["n_layer"],
        matrices=4 * hidden * hidden + 2 * hidden * inner,
        others=4 * hidden + (inner + hidden) + 4 * hidden,  # biases of attention and feed-forward, two norms
        outside=(config["vocab_size"] + config["n_positions"]) * hidden + 2 * hidden,
        max_context=config["n_positions"],
        **_number_format(config),
    )


def _falcon(config: Config) -> Geometry:
    """Compute the geometry of Falcon 40B and 180B: parallel attention, shared KV heads, two norms, no biases."""
    if not config.get("new_decoder_architecture") or config.get("bias"):
        raise InputError("of Falcon, only the new decoder architecture without biases has a known geometry")
    hidden, heads, kv_heads = config["hidden_size"], config["num_attention_heads"], config["num_kv_heads"]
    head_size = hidden // heads
    inner = config.get("ffn_hidden_size") or 4 * hidden
    return Geometry(
        heads=heads,
        kv_heads=kv_heads,
        head_size=head_size,
        layers=config["num_hidden_layers"],
        matrices=hidden * (heads + 2 * kv_heads) * head_size + hidden * hidden + 2 * hidden * inner,
        others=4 * hidden,
        outside=config["vocab_size"] * hidden + 2 * hidden,
        max_context=config.get("max_position_embeddings", 2048),
        **_number_format(config),
    )


_READERS = {
    "llama": _llama_like,
    "mistral": _llama_like,
    "qwen2": _llama_like,
    "qwen3": _llama_like,
    "gpt2": _gpt2,
    "falcon": _falcon,
}


def _number_format(config: Config) -> dict[str, Any]:
    """Return the type of the weights, and the bytes of each in a matrix."""
    dtype = str(config.get("dtype") or config.get("torch_dtype") or "float16")
    return {"dtype": dtype, "linear_bytes": _quantized_width(config.get("quantization_config")) or BYTES[dtype]}


def _rotary_context(config: Config) -> int:
    """Return the longest context; with YaRN the configuration gives the original one and a factor."""
    scaling = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if (scaling.get("rope_type") or scaling.get("type")) == "yarn":
        return int(scaling["original_max_position_embeddings"] * scaling["factor"])
    return int(config["max_position_embeddings"])


def _quantized_width(quantization: Config | None) -> float | None:
    """Return the bytes per weight of the two quantization formats that are known, without the scales."""
    if quantization is None:
        return None
    if quantization.get("quant_method") == "fp8":
        return 1.0
    groups = quantization.get("config_groups") or {}
    bits = {group["weights"]["num_bits"] for group in groups.values() if group.get("weights")}
    if len(bits) != 1:
        raise InputError(f"quantization {quantization.get('quant_method')!r} has no known weight size")
    return float(bits.pop()) / 8


def _kv_width(kv_cache_dtype: str, dtype: str) -> int:
    if kv_cache_dtype == "auto":
        return BYTES[dtype]
    if kv_cache_dtype.startswith("fp8"):
        return 1
    if kv_cache_dtype not in BYTES:
        raise InputError(f"kv_cache_dtype {kv_cache_dtype!r} is none of auto, fp8, {', '.join(BYTES)}")
    return BYTES[kv_cache_dtype]
