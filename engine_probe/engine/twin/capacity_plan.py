"""What an engine on a GPU holds, and what bounds its speed, from the model's shape and the GPU's datasheet alone.

The capacity is predicted by the memory model. Times are bounds and no predictions: no step is faster than reading the
weights of its layers, the vocabulary and the KV cache once at the full bandwidth of the memory, or than multiplying its
tokens by those weights at the full rate of the tensor cores; and all-reduces between GPUs come on top at the full rate
of the link, without latency, because layers wait for them. Attention's products, launches, sampling and the host come
on top of that and are not known.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from engine_probe.engine.memory_model import RankMemory, batch_limits, longest_request, memory_of_rank
from engine_probe.engine.models.built_model import BuiltModel
from engine_probe.engine.models.geometry import BYTES, Config, Geometry, geometry
from engine_probe.engine.models.kv_layout import KvGroup, KvLayout
from engine_probe.engine.parallelism import SPLIT_WEIGHTS, parallel_size, rank_count, weight_shards
from engine_probe.engine.twin.kernels.derived_times import ALL_REDUCES, OPERATIONS, captured_sizes, hidden_size
from engine_probe.engine.twin.step_times import Price, Source, StepTimes
from engine_probe.engine.twin.virtual_clock import SECOND_NS


@dataclass(frozen=True)
class DatasheetRates:
    """What one GPU moves and multiplies in a second, by its datasheet."""

    bytes_per_second: float
    operations_per_second: float | None  # in the number format of the activations; None: not in the datasheet
    link_bytes_per_second: float | None = None  # to other GPUs, in one direction; None: not in the datasheet


@dataclass(frozen=True)
class CapacityBounds:
    """The least times of one engine with this many requests in flight, and the throughput that follows."""

    concurrency: int
    prompt_seconds: float  # of one prompt
    step_seconds: float  # of a decode step of all requests, halfway through their answers
    output_tokens_per_s: float


@dataclass(frozen=True)
class CapacityPlan:
    """One engine on one kind of GPU."""

    device: str
    gpus: int
    memory: RankMemory
    input_len: int
    output_len: int
    parameters: int
    kv_bytes_per_token: float  # of all ranks that a request is divided among
    layers_bytes: float  # weights of the layers on one rank
    vocabulary_bytes: float  # of the matrix that makes logits, on one rank
    reduced_bytes: float  # that cross each GPU's link for one token, by all-reduces of tensor parallelism
    graph_sizes: tuple[int, ...]  # tokens of the CUDA graphs that vLLM captures
    operations: float  # of one token in the layers on one rank
    pair_operations: float  # of attention there, of a prompt's token and one before it; 0: not the same in all layers
    rates: DatasheetRates
    most_running: int  # max_num_seqs

    @property
    def fits(self) -> bool:
        return self.memory.refusal is None

    @property
    def kv_capacity_tokens(self) -> int:
        """Return the tokens of the pool, also where it is too small for vLLM to start."""
        return self.memory.pool_tokens

    @property
    def blocks_each(self) -> int:
        return self.memory.blocks_of(self.input_len + self.output_len)

    @property
    def held(self) -> int:
        """Return how many requests of full length the pool holds at the same time."""
        return self.memory.blocks // self.blocks_each

    @property
    def concurrency(self) -> int:
        """Return how many of them run at the same time, which max_num_seqs limits, too. 0 if vLLM does not start."""
        return min(self.held, self.most_running) if self.fits else 0

    def mean_context(self, group: KvGroup) -> float:
        """Return the tokens that an answer's token attends to, on average; a window or a chunk bounds those of each."""
        last, window, chunk = self.input_len + self.output_len, group.window, group.chunk
        if chunk is not None:
            return (within_chunks(last, chunk) - within_chunks(self.input_len, chunk)) / self.output_len
        if window is None or window >= last:
            return self.input_len + self.output_len / 2
        growing = max(0, window - self.input_len)  # answer's tokens before the window is full
        return window - growing * (window - self.input_len) / 2 / self.output_len

    @property
    def read_of_each(self) -> float:
        """Return the bytes that one request's token reads of the KV cache, on average, and of states also writes."""
        layout = self.memory.layout
        return layout.bytes_attended(self.mean_context) + 2 * layout.state_bytes

    def bounds(self, concurrency: int) -> CapacityBounds:
        """Return the least times with so many requests; prompts are computed between the answers' steps."""
        weights = self.layers_bytes + self.vocabulary_bytes
        read = weights + concurrency * self.read_of_each
        reading = read / self.rates.bytes_per_second
        step = max(reading, self._multiplying(concurrency)) + self._reducing(concurrency)
        attending = self._attending(self.input_len)
        prompt = max(weights / self.rates.bytes_per_second, self._multiplying(self.input_len) + attending)
        prompt += self._reducing(self.input_len)
        # Chunks of prompts share steps with answers: both limits hold for the sum of all of it.
        every = concurrency * (self.input_len + self.output_len)
        multiplying = self._multiplying(every) + concurrency * attending
        answers = max(self.output_len * reading, multiplying) + self._reducing(every)
        return CapacityBounds(concurrency, prompt, step, concurrency * self.output_len / answers)

    def _multiplying(self, tokens: int) -> float:
        """Return the least seconds that multiplying so many tokens takes. 0 where the rate is not known."""
        rate = self.rates.operations_per_second
        return 0.0 if rate is None else tokens * self.operations / rate

    def _attending(self, prompt: int) -> float:
        """Return the least seconds of the attention of a prompt: each token attends to itself and those before it."""
        rate = self.rates.operations_per_second
        return 0.0 if rate is None else prompt * (prompt + 1) / 2 * self.pair_operations / rate

    def _reducing(self, tokens: int) -> float:
        """Return the least seconds of the all-reduces of so many tokens. 0 where the link is not known."""
        rate = self.rates.link_bytes_per_second
        return 0.0 if rate is None else tokens * self.reduced_bytes / rate


def within_chunks(tokens: int, chunk: int) -> int:
    """Return how many tokens of its chunk are before each of the first tokens of a request, in sum."""
    whole, rest = divmod(tokens, chunk)
    return (whole * chunk * (chunk - 1) + rest * (rest - 1)) // 2


def capacity_plan(
    config: Config,
    arguments: Mapping[str, Any],
    device: tuple[str, float],
    rates: Mapping[str, float],
    bytes_per_second: float,
    lengths: tuple[int, int],
    link: float | None = None,
    built: BuiltModel | None = None,
) -> CapacityPlan | None:
    """Plan an engine on a GPU, given as its name and bytes; `rates` are operations per second by number format.

    `link` are the bytes that a GPU sends others in a second.
    None for a shape or a number format that is not known.
    """
    memory = memory_of_rank(config, arguments, *device, least_tokens=sum(lengths), built=built)
    if memory is None:
        return None
    shape, hidden, vocabulary = sizes_of(config, built)
    shards = weight_shards(arguments)
    asked = str(arguments.get("dtype", "auto"))
    computed = shape.dtype if asked == "auto" else asked
    ranks, tensor, width = rank_count(arguments), parallel_size(arguments, "tensor_parallel_size"), BYTES[computed]
    limits = batch_limits(arguments, *device)
    return CapacityPlan(
        device=device[0],
        gpus=ranks,
        memory=memory,
        input_len=lengths[0],
        output_len=lengths[1],
        parameters=shape.parameters,
        kv_bytes_per_token=memory.layout.bytes_per_token * shards,
        layers_bytes=layers_bytes(shape, asked, arguments),
        vocabulary_bytes=vocabulary * hidden * width / tensor,
        reduced_bytes=ALL_REDUCES * shape.layers * hidden * width * 2 * (tensor - 1) / tensor,
        graph_sizes=captured_sizes(arguments, limits),
        operations=OPERATIONS * shape.active_parameters / shards,
        pair_operations=pair_operations(shape, memory.layout, arguments) / shards,
        rates=DatasheetRates(bytes_per_second, rates.get(computed), link),
        most_running=limits[1],
    )


def pair_operations(shape: Geometry, layout: KvLayout, arguments: Mapping[str, Any]) -> float:
    """Return the operations of attention for a prompt's token and one before it. 0 where some layers leave some out."""
    longest = longest_request(shape, arguments) or shape.max_context
    window = layout.groups[0].window
    is_whole = layout.is_alike and (window is None or window >= longest)
    return float(shape.operations_of_a_pair) if is_whole else 0.0


def sizes_of(config: Config, built: BuiltModel | None) -> tuple[Geometry, int, int]:
    """Return a model's shape, the width of its activations and its vocabulary, derived or as vLLM's code built it."""
    if built is not None:
        return built.geometry, built.hidden, built.vocabulary
    return geometry(config), hidden_size(config), int(config["vocab_size"])


def least_times(plan: CapacityPlan) -> StepTimes:
    """Return the least times of steps, term by term.

    Reading weights and KV cache or multiplying, whichever takes longer, and the all-reduces between GPUs.
    """
    per_byte = SECOND_NS / plan.rates.bytes_per_second
    rate, link = plan.rates.operations_per_second, plan.rates.link_bytes_per_second
    multiplied, attended = (
        0.0 if rate is None else operations / rate * SECOND_NS for operations in (plan.operations, plan.pair_operations)
    )
    reduced = 0.0 if link is None else plan.reduced_bytes / link * SECOND_NS
    return StepTimes(
        {
            "step": Price((plan.layers_bytes + plan.vocabulary_bytes) * per_byte),
            "answer attention": Price(whole_context_bytes(plan) * per_byte),
            "answer token": Price(2 * plan.memory.layout.state_bytes * per_byte),
        },
        beside={
            **dict.fromkeys(("prompt token", "answer token", "padding"), Price(multiplied)),
            "prompt attention": Price(attended),
        },
        matrices=((1.0, reduced), (2.0, 2 * reduced)) if reduced else (),
        graph_sizes=plan.graph_sizes,
        overlaps=True,
        sources=tuple(least_terms(plan)),
    )


def whole_context_bytes(plan: CapacityPlan) -> float:
    """Return the bytes that an answer's token reads for each token before it, however many these are.

    Windows and chunks in some layers end somewhere: leaving them out keeps times the least.
    """
    layout = plan.memory.layout
    if layout.is_alike:
        return layout.bytes_per_token
    return sum(group.layers * group.token_bytes for group in layout.groups if group.keeps_every_token)


def least_terms(plan: CapacityPlan) -> Iterator[Source]:
    """Yield the terms of the least times, each with its formula and figures."""
    rates = plan.rates
    memory = f"{rates.bytes_per_second / 1e9:,.0f} GB/s"
    weights = (
        f"{plan.layers_bytes / 1e9:.3g} GB of layers, {plan.vocabulary_bytes / 1e9:.3g} GB of vocabulary, {memory}"
    )
    yield Source("weights", "bytes of layers and vocabulary on a rank / memory bandwidth", weights)
    layout = plan.memory.layout
    cache = f"{whole_context_bytes(plan) / 1024:.4g} KiB a token, {memory}"
    if not layout.is_alike:
        cache += f"; {layout.words}: what windows or chunks read is left out"
    yield Source("KV cache", "bytes of the tokens that answers attend to / memory bandwidth", cache)
    if layout.state_bytes:
        states = f"{layout.state_bytes / 1e6:.3g} MB a request, {memory}"
        yield Source("states", "each answer token reads and writes its request's states / memory bandwidth", states)
    if rates.operations_per_second is not None:
        products = f"{plan.operations / 1e9:.3g} GFLOP a token, {rates.operations_per_second / 1e12:,.0f} TFLOP/s"
        formula = "operations of the tokens, padded ones too / rate; beside reading, the longer one counts"
        yield Source("products", formula, products)
        pairs = f"{plan.pair_operations / 1e6:.3g} MFLOP a pair" if plan.pair_operations else "windows differ: left out"
        yield Source("attention of prompts", "operations of each token and one before it / the same rate", pairs)
    if plan.graph_sizes:
        sizes = f"{len(plan.graph_sizes)} sizes up to {plan.graph_sizes[-1]:,} tokens"
        yield Source("padding", "tokens of the smallest graph that holds a step - its tokens", sizes)
    if plan.reduced_bytes:
        link = rates.link_bytes_per_second
        figures = "no link in the datasheet: left out" if link is None else f"{link / 1e9:,.0f} GB/s in one direction"
        formula = "2 all-reduces of each layer x 2 (n - 1) / n of a token's activations / rate of the link"
        yield Source("collectives", formula, f"{plan.reduced_bytes / 1024:,.4g} KiB a token, {figures}")


def layers_bytes(shape: Geometry, dtype: str, arguments: Mapping[str, Any]) -> float:
    """Return the bytes of a rank's layers that every step reads: of experts, those that one token passes."""
    width, linear = BYTES[shape.dtype if dtype == "auto" else dtype], shape.matrix_bytes(dtype)
    split = shape.active_parameters - shape.copied_parameters
    tensor, stages = (parallel_size(arguments, name) for name in SPLIT_WEIGHTS)
    own = (split * linear + shape.other_parameters * width) / tensor
    return (own + shape.copied_parameters * linear) / stages
