"""A model's geometry, computed from its `config.json`: parameters, attention, bytes per token."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from engine_probe.errors import InputError

GIB = 1 << 30
BYTES = {"float32": 4, "float16": 2, "half": 2, "bfloat16": 2}
EIGHT_BITS = ("fp8", "fp8_e4m3", "fp8_e5m2")  # of the KV cache, one scale for all; other formats keep scales in it

Config = Mapping[str, Any]


@dataclass(frozen=True)
class Latent:
    """Multi-head latent attention (MLA): a token keeps one vector in each layer, which every rank holds whole."""

    attended: int  # values of a head that a token and one before it multiply: of query and key, and of the value
    projected: int  # parameters of all layers that make a head's keys and values from the vector


@dataclass(frozen=True)
class Experts:
    """Parameters of mixture-of-experts layers, in which a token passes a few of the experts."""

    routed: int  # parameters of all layers' routed experts
    each: int  # parameters of all layers that one token passes


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """Holds a decoder's shape, in vLLM's words."""

    layers: int
    heads: int
    kv_heads: int  # 1 with MLA
    head_size: int  # with MLA, values of the vector that a token keeps
    max_context: int
    linear_parameters: int  # of the layers' matrices, which quantization shrinks
    other_parameters: int  # of the layers: biases, norms and what chooses experts
    outside: int  # parameters outside the layers
    dtype: str
    linear_bytes: float  # of each parameter in a matrix, as published
    copied_parameters: int = 0  # of the layers' matrices, those that tensor parallelism does not split
    latent: Latent | None = None
    experts: Experts | None = None

    @property
    def parameters(self) -> int:
        return self.linear_parameters + self.other_parameters + self.outside

    @property
    def active_parameters(self) -> int:
        """Return the parameters of the layers' matrices that one token is multiplied by."""
        if self.experts is None:
            return self.linear_parameters
        return self.linear_parameters - self.experts.routed + self.experts.each

    @property
    def attention(self) -> str:
        """Return MLA, or MHA, GQA or MQA by how many query heads share a KV head."""
        if self.latent is not None:
            return "MLA"
        if self.kv_heads == self.heads:
            return "MHA"
        return "MQA" if self.kv_heads == 1 else "GQA"

    @property
    def operations_of_a_pair(self) -> int:
        """Return what attention adds and multiplies in all layers for a token and one that it attends to."""
        values = 2 * self.head_size if self.latent is None else self.latent.attended
        return 2 * values * self.heads * self.layers

    def kv_bytes_per_token(self, kv_cache_dtype: str = "auto") -> int:
        """Return the bytes that a token keeps in all layers; `auto` is the model's type."""
        vectors = 2 if self.latent is None else 1  # a key and a value, or what both are made from
        return vectors * self.layers * self.kv_heads * self.head_size * _kv_width(kv_cache_dtype, self.dtype)

    def weights_bytes(self, dtype: str = "auto") -> float:
        """Return the bytes of the weights; another `dtype` changes all weights that are not quantized.

        Of quantized matrices with MLA, vLLM keeps those that make keys and values a second time, not quantized.
        """
        width, linear = BYTES[self.dtype if dtype == "auto" else dtype], self.matrix_bytes(dtype)
        again = self.latent.projected if self.latent is not None and self.quantized else 0
        return (self.parameters - self.linear_parameters + again) * width + self.linear_parameters * linear

    def weights_bytes_of_rank(self, dtype: str, tensor: int, stages: int) -> float:
        """Return the bytes of one rank's weights under tensor and pipeline parallelism."""
        whole = self.copied_parameters * self.matrix_bytes(dtype)
        return ((self.weights_bytes(dtype) - whole) / tensor + whole) / stages

    def matrix_bytes(self, dtype: str = "auto") -> float:
        """Return the bytes of each parameter in the layers' matrices."""
        return self.linear_bytes if self.quantized else BYTES[self.dtype if dtype == "auto" else dtype]

    @property
    def quantized(self) -> bool:
        return self.linear_bytes < BYTES[self.dtype]


def is_known(config: Config) -> bool:
    """Return whether the geometry of such a model is computed here."""
    return str(config.get("model_type")) in _READERS


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
    tied, layers = bool(config.get("tie_word_embeddings", False)), config["num_hidden_layers"]
    return Geometry(
        heads=heads,
        kv_heads=kv_heads,
        head_size=head_size,
        layers=layers,
        linear_parameters=layers * matrices,
        other_parameters=layers * (input_bias + output_bias + inner_bias + norms),
        outside=config["vocab_size"] * hidden * (1 if tied else 2) + hidden,
        max_context=_rotary_context(config),
        **_number_format(config),
    )


def _gpt2(config: Config) -> Geometry:
    hidden, heads, layers = config["n_embd"], config["n_head"], config["n_layer"]
    inner = config.get("n_inner") or 4 * hidden
    return Geometry(
        heads=heads,
        kv_heads=heads,
        head_size=hidden // heads,
        layers=layers,
        linear_parameters=layers * (4 * hidden * hidden + 2 * hidden * inner),
        other_parameters=layers * (4 * hidden + (inner + hidden) + 4 * hidden),  # biases of both parts, two norms
        outside=(config["vocab_size"] + config["n_positions"]) * hidden + 2 * hidden,
        max_context=config["n_positions"],
        **_number_format(config),
    )


def _falcon(config: Config) -> Geometry:
    """Compute the geometry of Falcon 40B and 180B: parallel attention, shared KV heads, two norms, no biases."""
    if not config.get("new_decoder_architecture") or config.get("bias"):
        raise InputError("of Falcon, only the new decoder architecture without biases has a known geometry")
    hidden, heads, kv_heads = config["hidden_size"], config["num_attention_heads"], config["num_kv_heads"]
    head_size, layers = hidden // heads, config["num_hidden_layers"]
    inner = config.get("ffn_hidden_size") or 4 * hidden
    return Geometry(
        heads=heads,
        kv_heads=kv_heads,
        head_size=head_size,
        layers=layers,
        linear_parameters=layers * (hidden * (heads + 2 * kv_heads) * head_size + hidden * hidden + 2 * hidden * inner),
        other_parameters=layers * 4 * hidden,
        outside=config["vocab_size"] * hidden + 2 * hidden,
        max_context=config.get("max_position_embeddings", 2048),
        **_number_format(config),
    )


def _deepseek(config: Config) -> Geometry:
    """Compute the geometry of DeepSeek V2 and V3 and of Kimi K2: MLA, and experts beyond the first layers."""
    hidden, heads, layers = config["hidden_size"], config["num_attention_heads"], config["num_hidden_layers"]
    latent, rotary, query_latent = config["kv_lora_rank"], config["qk_rope_head_dim"], config["q_lora_rank"]
    query, value = config["qk_nope_head_dim"] + rotary, config["v_head_dim"]
    if not latent or not rotary:
        raise InputError(f"model_type {config['model_type']!r} without kv_lora_rank and qk_rope_head_dim has no MLA")
    to_latent = hidden * (latent + rotary + (query_latent or 0))
    projected = latent * heads * (query - rotary + value)
    matrices = to_latent + (query_latent or hidden) * heads * query + projected + heads * value * hidden
    norms = 2 * hidden + latent + (query_latent or 0)
    found = _with_experts(config)
    return Geometry(
        heads=heads,
        kv_heads=1,
        head_size=latent + rotary,
        layers=layers,
        linear_parameters=layers * matrices + found.matrices,
        other_parameters=layers * norms + found.chooser,
        outside=config["vocab_size"] * hidden * 2 + hidden,
        max_context=_rotary_context(config),
        copied_parameters=layers * to_latent,
        latent=Latent(query + value, layers * projected),
        experts=found.experts,
        **_number_format(config),
    )


class _FeedForward(NamedTuple):
    """Parameters of all feed-forward layers of a model, some of which have experts."""

    matrices: int
    chooser: int  # of experts
    experts: Experts | None


def _with_experts(config: Config) -> _FeedForward:
    """Count feed-forward layers as vLLM builds them: with experts from one layer on, in every so many."""
    hidden, layers, number = config["hidden_size"], config["num_hidden_layers"], config.get("n_routed_experts")
    first, every = config.get("first_k_dense_replace", 0), config.get("moe_layer_freq", 1)
    chosen = sum(layer >= first and layer % every == 0 for layer in range(layers)) if number else 0
    dense = (layers - chosen) * 3 * hidden * config["intermediate_size"]
    if not chosen:
        return _FeedForward(dense, 0, None)
    each = 3 * hidden * config["moe_intermediate_size"]
    shared = chosen * each * (config.get("n_shared_experts") or 0)
    biases = number if config.get("topk_method") == "noaux_tc" else 0
    experts = Experts(chosen * each * number, chosen * each * config["num_experts_per_tok"])
    return _FeedForward(dense + shared + experts.routed, chosen * (hidden * number + biases), experts)


_READERS = {
    "llama": _llama_like,
    "mistral": _llama_like,
    "qwen2": _llama_like,
    "qwen3": _llama_like,
    "gpt2": _gpt2,
    "falcon": _falcon,
    "deepseek_v2": _deepseek,
    "deepseek_v3": _deepseek,
    "kimi_k2": _deepseek,
}


def _number_format(config: Config) -> dict[str, Any]:
    """Return the type of the weights, and the bytes of each in a matrix."""
    dtype = str(config.get("dtype") or config.get("torch_dtype") or "float16")
    return {"dtype": dtype, "linear_bytes": _quantized_width(config.get("quantization_config")) or BYTES[dtype]}


SCALED = ("linear", "dynamic")  # kinds of rotary positions whose factor vLLM multiplies the context by


def _rotary_context(config: Config) -> int:
    """Return the longest context.

    With YaRN the configuration gives the original one and a factor. vLLM multiplies by the factors of linear and
    dynamic scaling, except of Gemma 3, whose context is already scaled.
    """
    scaling = config.get("rope_parameters") or config.get("rope_scaling") or {}
    kind, factor = scaling.get("rope_type") or scaling.get("type"), scaling.get("factor") or 1.0
    if kind == "yarn":
        return int(scaling["original_max_position_embeddings"] * scaling["factor"])
    if kind in SCALED and "gemma3" not in config.get("model_type", ""):
        return int(config["max_position_embeddings"] * factor)
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
    if kv_cache_dtype in EIGHT_BITS:
        return 1
    if kv_cache_dtype not in BYTES:
        raise InputError(f"kv_cache_dtype {kv_cache_dtype!r} is none of auto, fp8, {', '.join(BYTES)}")
    return BYTES[kv_cache_dtype]
