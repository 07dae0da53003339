"""What fills the memory of one GPU of an engine: weights, workspace, graphs and KV cache, each with its derivation.

Weights and KV cache follow from the model's shape. The workspace is what vLLM finds at its start, when it computes a
step of `max_num_batched_tokens` and samples for `max_num_seqs` requests. Here it is a line through four engines whose
weights and pools were published (an H100 NVL of 93.6 GiB, of which vLLM took 0.9; 8,192 tokens and 1,024 requests):

    in GiB                share - weights - pool = workspace   vocabulary
    gpt2-xl               84.24 -    2.97 - 76.73 = 4.54           50,257
    falcon-40b            84.24 -   76.93 -  2.14 = 5.17           65,024
    deepseek-llm-7b-chat  84.24 -   12.87 - 64.91 = 6.45          102,400
    Qwen1.5-14B-Chat      84.24 -   26.43 - 49.52 = 8.29          152,064

By least squares it is 2.74 GiB and 38.2 bytes for each of the 1,024 x vocabulary logits, and at most 0.06 GiB off: the
float32 copy of the logits, their sorted values and indices, and probabilities. Width and number of layers do not show.
What steps of fewer tokens, other GPUs and other versions of vLLM take of the 2.74 is not known. Nor are CUDA graphs:
the published engines captured them beside the pool, and vLLM takes them from it since 0.21.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine_probe.engine.models.attention_kinds import UnknownLayersError, attention_kinds
from engine_probe.engine.models.built_model import BuiltModel
from engine_probe.engine.models.geometry import BYTES, GIB, Config, Geometry, geometry
from engine_probe.engine.models.kv_layout import KvLayout, same_in_all_layers
from engine_probe.engine.parallelism import DATA, SPLIT_WEIGHTS, parallel_size, weight_shards
from engine_probe.errors import InputError

BYTES_PER_LOGIT = 38.2
FIXED_WORKSPACE = 2.74 * GIB
FITTED_AT_TOKENS = 8192
BLOCK = 16  # tokens, on GPUs unless block_size is given
DEFAULT_SHARE = 0.92  # of vLLM 0.32
GRAPHS = "captured and measured by vLLM at its start, which takes them from the pool; how large they are is not known"
LARGE_GPU = 70 * GIB  # from here on vLLM takes larger defaults, but not on an A100

Arguments = Mapping[str, Any]


@dataclass(frozen=True)
class Term:
    """Holds one share of the memory; `size` is None where nothing is known."""

    name: str
    size: float | None  # bytes
    derivation: str
    is_estimate: bool = False


@dataclass(frozen=True)
class RankMemory:
    """The memory of one GPU as one rank of an engine divides it."""

    device: str
    device_bytes: float
    share: float  # that vLLM takes
    weights: Term
    activations_and_workspace: Term
    graphs: Term
    kv: Term  # of one request of the longest length, which vLLM demands
    longest: int
    layout: KvLayout
    in_flight: int = 0  # tokens of steps that are not finished when the next is scheduled, whose blocks stay
    given_tokens: int | None = None  # of the pool, if the engine's arguments set it; it is then not judged

    @property
    def terms(self) -> tuple[Term, ...]:
        return self.weights, self.activations_and_workspace, self.graphs, self.kv

    @property
    def budget(self) -> float:
        return self.device_bytes * self.share

    @property
    def left(self) -> float:
        """Return the bytes beside the weights."""
        return self.budget - (self.weights.size or 0.0)

    @property
    def window(self) -> int | None:
        """Return the tokens of the sliding window of all layers. None if some keep something else."""
        return self.layout.groups[0].window if self.layout.is_alike else None

    @property
    def blocks(self) -> int:
        """Return the blocks of the KV pool; 0 if nothing is left for it."""
        if self.given_tokens is not None:
            return self.given_tokens // self.layout.block_size
        pool = self.left - (self.activations_and_workspace.size or 0.0)
        return max(0, int(pool / self.layout.bytes_per_block))

    @property
    def pool_tokens(self) -> int:
        """Return the tokens of the KV pool.

        Where groups of layers keep different things, those of as many of the longest requests as it holds, as vLLM
        says it.
        """
        if self.given_tokens is not None:
            return self.given_tokens
        if self.layout.is_alike:
            return self.blocks * self.layout.block_size
        return int(self.blocks / self.layout.blocks_of(self.longest, self.in_flight) * self.longest)

    def blocks_of(self, tokens: int) -> int:
        """Return the most blocks that a request of `tokens` holds at the same time."""
        return self.layout.blocks_held(tokens, self.in_flight)

    @property
    def pool_bytes(self) -> float:
        """Return what is left for the pool, below zero if that is nothing, or what a given one takes."""
        if self.given_tokens is not None:
            return self.blocks * self.layout.bytes_per_block
        return self.left - (self.activations_and_workspace.size or 0.0)

    @property
    def refusal(self) -> str | None:
        """Say with its figures why such an engine cannot start. None if nothing speaks against it."""
        terms = self.weights, self.activations_and_workspace, self.kv
        weights, workspace, request = (term.size or 0.0 for term in terms)
        of_it = f"{self.budget / GIB:.1f} GiB ({self.share:g} of {self.device_bytes / GIB:.1f}, {self.device})"
        if weights > self.budget:
            return (
                f"the weights take {weights / GIB:.1f} GiB of each GPU and vLLM gets {of_it}: use a smaller model or "
                "type, or raise tensor_parallel_size"
            )
        if self.given_tokens is not None or workspace + request <= self.left:
            return None
        return (
            f"weights of {weights / GIB:.1f} GiB leave {self.left / GIB:.1f} of {of_it}, and vLLM needs about "
            f"{workspace / GIB:.1f} of workspace and {request / GIB:.1f} for the KV cache of one request of "
            f"{self.longest:,} tokens: {self._advice(request)}"
        )

    def _advice(self, request: float) -> str:
        if request > self.left:
            return "lower max_model_len, or raise tensor_parallel_size"
        return (
            "raise tensor_parallel_size or gpu_memory_utilization, or lower max_num_seqs or max_model_len "
            "(kv_cache_memory_bytes does without this estimate)"
        )


def memory_of_rank(
    config: Config,
    arguments: Arguments,
    device: str,
    device_bytes: float,
    least_tokens: int = 1,
    built: BuiltModel | None = None,
) -> RankMemory | None:
    """Divide the memory of a GPU. None for a shape or a number format that is not known here.

    `least_tokens` are those of the workload's longest request, for which there has to be room if vLLM may shorten the
    context (`max_model_len = -1`). What vLLM's code `built` counts in place of what follows from the configuration.
    """
    try:
        shape = geometry(config) if built is None else built.geometry
        vocabulary = int(config["vocab_size"]) if built is None else built.vocabulary
        weights = weights_term(shape, arguments)
        layout, kept_as = layout_of(config, arguments) if built is None else layout_built(built, arguments)
    except (InputError, KeyError):
        return None
    share, in_flight = (
        arguments.get("gpu_memory_utilization", DEFAULT_SHARE),
        tokens_in_flight(arguments, device, device_bytes),
    )
    longest = longest_request(shape, arguments) or least_tokens
    return RankMemory(
        device=device,
        device_bytes=device_bytes,
        share=float(share),
        weights=weights,
        activations_and_workspace=workspace_term(shape, vocabulary, arguments, (device, device_bytes)),
        graphs=Term("CUDA graphs", None, GRAPHS),
        kv=kv_term(longest, layout, kept_as, in_flight),
        longest=longest,
        layout=layout,
        in_flight=in_flight,
    )


def layout_of(config: Config, arguments: Arguments) -> tuple[KvLayout, str]:
    """Return how one rank divides its pool among layers that are alike, and the number format of keys and values."""
    shape = geometry(config)
    per_token, kept_as = kv_bytes_of_rank(shape, arguments)
    given = arguments.get("block_size", BLOCK)
    block = given if isinstance(given, int) else BLOCK
    return same_in_all_layers(shape.layers, per_token, block, window_of_all(config, arguments)), kept_as


def layout_built(built: BuiltModel, arguments: Arguments) -> tuple[KvLayout, str]:
    """Return the same of what vLLM's code built."""
    if (size := parallel_size(arguments, "pipeline_parallel_size")) > 1:
        raise InputError(
            f"pipeline_parallel_size = {size}: what each stage of such a model keeps is not modelled: "
            "use tensor_parallel_size"
        )
    asked, computed = str(arguments.get("kv_cache_dtype", "auto")), built.geometry.dtype
    return built.layout(parallel_size(arguments, "tensor_parallel_size")), computed if asked == "auto" else asked


def weights_term(shape: Geometry, arguments: Arguments) -> Term:
    if "quantization" in arguments:
        raise InputError("quantization is given: the size of its weights is not known")
    dtype, ranks = str(arguments.get("dtype", "auto")), weight_shards(arguments)
    tensor, stages = (parallel_size(arguments, name) for name in SPLIT_WEIGHTS)
    check_experts(shape, arguments)
    size = shape.weights_bytes_of_rank(dtype, tensor, stages)
    unit, word = (1e9, "billion") if shape.parameters >= 1e9 else (1e6, "million")
    derivation = f"{shape.parameters / unit:.4g} {word} parameters in {shape.dtype if dtype == 'auto' else dtype}"
    quantized = f", matrices of {shape.linear_bytes * 8:g} bits a value" if shape.quantized else ""
    over = f", over {ranks} ranks" if ranks > 1 else ""
    if shape.copied_parameters and tensor > 1:
        over += f", of which each holds {shape.copied_parameters / unit:.4g} {word} whole"
    return Term("weights", size, f"{derivation}{quantized}{over}")


def check_experts(shape: Geometry, arguments: Arguments) -> None:
    """Refuse engines whose ranks divide the weights of experts otherwise than the rest, or unequally."""
    if shape.experts is None:
        return
    if (size := parallel_size(arguments, DATA)) > 1:
        raise InputError(
            f"{DATA} = {size}: vLLM divides experts among all data-parallel ranks and copies the rest, which the "
            "memory model does not know: leave it out"
        )
    if (size := parallel_size(arguments, "pipeline_parallel_size")) > 1:
        raise InputError(
            f"pipeline_parallel_size = {size}: layers with experts and without are of unequal size, and how many of "
            "each a stage gets is not modelled: use tensor_parallel_size"
        )


def workspace_term(shape: Geometry, vocabulary: int, arguments: Arguments, device: tuple[str, float]) -> Term:
    tokens, requests = batch_limits(arguments, *device)
    logits = BYTES_PER_LOGIT * min(requests, tokens) * vocabulary
    words = f"{BYTES_PER_LOGIT:g} bytes x {min(requests, tokens):,} requests x {vocabulary:,} logits"
    if shape.experts is not None or shape.latent is not None:
        words += "; what experts and latent attention take is not known"
    if tokens < FITTED_AT_TOKENS:
        return Term("workspace", logits, f"{words}; what steps of {tokens:,} tokens take besides is not known", True)
    return Term("workspace", FIXED_WORKSPACE + logits, f"{FIXED_WORKSPACE / GIB:.2f} GiB + {words}", True)


def batch_limits(arguments: Arguments, device: str, device_bytes: float) -> tuple[int, int]:
    """Return max_num_batched_tokens and max_num_seqs, as given or as `vllm.LLM` sets them on such a GPU.

    What is not given is no larger than the other allows: tokens of the longest requests, and a token for each request.
    """
    large = device_bytes >= LARGE_GPU and "a100" not in device.lower()
    given_tokens, given_requests = (arguments.get(name) for name in ("max_num_batched_tokens", "max_num_seqs"))
    tokens, requests = int(given_tokens or (16384 if large else 8192)), int(given_requests or (1024 if large else 256))
    longest = arguments.get("max_model_len")
    if given_tokens is None and isinstance(longest, int) and longest > 0:
        tokens = min(tokens, requests * longest)
    return tokens, requests if given_requests else min(requests, tokens)


def kv_bytes_of_rank(shape: Geometry, arguments: Arguments) -> tuple[float, str]:
    """Return the KV bytes of a token on one rank, and their number format.

    Tensor parallelism splits the KV heads, and copies them where there are fewer heads than ranks; so it copies the one
    vector of MLA.
    """
    asked, computed = str(arguments.get("kv_cache_dtype", "auto")), str(arguments.get("dtype", "auto"))
    kept_as = computed if asked == "auto" and computed in BYTES else asked
    heads = max(1, shape.kv_heads // parallel_size(arguments, "tensor_parallel_size"))
    layers = shape.layers / parallel_size(arguments, "pipeline_parallel_size")
    whole = shape.kv_bytes_per_token(kept_as)
    return whole * heads / shape.kv_heads * layers / shape.layers, shape.dtype if kept_as == "auto" else kept_as


def window_of_all(config: Config, arguments: Arguments) -> int | None:
    """Return the tokens of the sliding window that all layers have. None if they keep every token.

    Raise `UnknownLayersError` for a window in some layers: vLLM then divides the pool among groups of layers.
    """
    kinds = attention_kinds(config, arguments)
    if not kinds.same_window:
        window, some = max(filter(None, kinds.windows)), sum(map(bool, kinds.windows))
        raise UnknownLayersError(
            f"{some} of its {len(kinds.windows)} layers have a sliding window of {window:,} tokens: how vLLM divides "
            "the KV pool among such layers is not derived here; disable_sliding_window = true makes them all alike"
        )
    return kinds.windows[0]


def tokens_in_flight(arguments: Arguments, device: str, device_bytes: float) -> int:
    """Return the most tokens that are scheduled and not computed yet, by which vLLM sizes windows."""
    stages = parallel_size(arguments, "pipeline_parallel_size")
    batches = 2 if stages == 1 and arguments.get("async_scheduling", True) else stages
    return batches * batch_limits(arguments, device, device_bytes)[0]


def kv_term(longest: int, layout: KvLayout, kept_as: str, in_flight: int) -> Term:
    """Return the KV cache of one request of the longest length, as vLLM demands room for it."""
    each = f"{layout.bytes_per_token / 1024:,.4g} KiB in {kept_as}"
    if not layout.is_alike:
        blocks = layout.blocks_of(longest, in_flight)
        words = f"{blocks:,} blocks of {layout.bytes_per_block / 1024:,.4g} KiB for {longest:,} tokens: {layout.words}"
        return Term("KV cache", blocks * layout.bytes_per_block, f"{words}, {len(layout.groups)} groups by turns")
    (group,) = layout.groups
    if group.window is None:
        return Term("KV cache", longest * layout.bytes_per_token, f"{longest:,} tokens of {each}")
    held = group.blocks_of(longest, in_flight) * group.block_size
    words = (
        f"a window of {group.window:,} and {in_flight:,} of steps in flight, at most {longest:,}, and one block more"
    )
    return Term("KV cache", held * layout.bytes_per_token, f"{held:,} tokens of {each}: {words}")


def longest_request(shape: Geometry, arguments: Arguments) -> int | None:
    """Return the tokens of the longest request that vLLM promises room for. None if it may shorten that (-1)."""
    asked = arguments.get("max_model_len")
    if asked is None:
        return shape.max_context
    return asked if isinstance(asked, int) and asked > 0 else None
