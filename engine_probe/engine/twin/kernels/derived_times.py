"""Step times of an engine on a device whose kernels `kernels_bench` measured: a sum of terms, each with its source.

What nobody measured is left out, and said: the host's part, sampling, and what lies between kernels. So real steps take
longer. The interval is that of the measurements alone.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from engine_probe.engine.memory_model import kv_bytes_of_rank
from engine_probe.engine.models.geometry import BYTES, Config, Geometry, geometry
from engine_probe.engine.parallelism import parallel_size, weight_shards
from engine_probe.engine.twin.kernels.measured_kernels import Kernels, Measured
from engine_probe.engine.twin.step_times import Price, Source, StepTimes, interpolated
from engine_probe.engine.twin.virtual_clock import SECOND_NS
from engine_probe.errors import InputError

OPERATIONS = 2  # of each parameter for a token: a multiplication and an addition
OTHER_OPERATORS = 6  # of a layer beside its products: two norms, rotary positions, cache entries, attention, activation
ALL_REDUCES = 2  # of a layer under tensor parallelism: after attention and after the feed-forward
SQUARES = {"bfloat16": "bf16 square", "float16": "fp16 square", "float32": "fp32 square"}
LARGEST_GRAPH = 512  # tokens, unless it is given
TYPICAL_CONTEXT, TYPICAL_BATCH = 512, 16  # of the step whose shares weight the spreads of measurements

BatchLimits = tuple[int, int]  # max_num_batched_tokens, max_num_seqs
Points = tuple[tuple[float, float], ...]


class Part(NamedTuple):
    """One term: its prices or its table over tokens, and the measurements in it."""

    source: Source
    measured: tuple[Measured, ...]
    prices: Mapping[str, float] = {}
    points: Points = ()

    def typical_ns(self) -> float:
        counted = {"step": 1.0, "answer token": TYPICAL_BATCH, "answer attention": TYPICAL_BATCH * TYPICAL_CONTEXT}
        priced = sum(price * counted.get(name, 0.0) for name, price in self.prices.items())
        return priced + (interpolated(self.points, TYPICAL_BATCH) if self.points else 0.0)


class RankEngine(NamedTuple):
    """What step times depend on, of one rank."""

    shape: Geometry
    hidden: int
    vocabulary: int
    dtype: str
    width: float  # bytes of a weight in a matrix
    shards: int
    kv_bytes: float  # of a token


def engine_of(config: Config, arguments: Mapping[str, Any]) -> RankEngine:
    shape, asked = geometry(config), str(arguments.get("dtype", "auto"))
    dtype = shape.dtype if asked == "auto" else asked
    return RankEngine(
        shape,
        hidden_size(config),
        int(config["vocab_size"]),
        dtype,
        shape.linear_bytes if shape.quantized else BYTES[dtype],
        weight_shards(arguments),
        kv_bytes_of_rank(shape, arguments)[0],
    )


def hidden_size(config: Config) -> int:
    """Return the width of the activations between layers, under its name in GPT-2 and in others."""
    return int(config.get("hidden_size") or config["n_embd"])


def derived_times(
    config: Config, arguments: Mapping[str, Any], limits: BatchLimits, kernels: Kernels, name: str
) -> StepTimes:
    """Return the step times of an engine; refuse a report that lacks what they need. `name` is that of its file."""
    engine = engine_of(config, arguments)
    if parallel_size(arguments, "pipeline_parallel_size") > 1:
        raise InputError(f"{name}: step times of pipeline parallelism cannot be derived: use tensor parallelism")
    if engine.shape.latent is not None or engine.shape.experts is not None:
        raise InputError(
            f"{name}: step times of latent attention and of experts cannot be derived, because no kernel of theirs is "
            "measured: calibrate the twin on a recording (--twin RUN)"
        )
    parts = [
        products(engine, kernels, name),
        vocabulary(engine, kernels, name),
        attention(engine, kernels, name),
        *launches(engine, kernels, eager=bool(arguments.get("enforce_eager"))),
        *collectives(engine, kernels, parallel_size(arguments, "tensor_parallel_size"), name),
    ]
    prices: dict[str, float] = {}
    for part in parts:
        for term, ns in part.prices.items():
            prices[term] = prices.get(term, 0.0) + ns
    deviation, rounds = spread_of(parts)
    return StepTimes(
        {term: Price(ns) for term, ns in prices.items()},
        error=deviation,
        recordings=rounds,
        matrices=added([part.points for part in parts if part.points]),
        graph_sizes=captured_sizes(arguments, limits) if kernels.device.is_cuda else (),
        overlaps=kernels.device.is_cuda,
        sources=tuple(part.source for part in parts),
    )


def products(engine: RankEngine, kernels: Kernels, name: str) -> Part:
    """Multiply by the layers' matrices: few tokens take the time to read them, many the time to multiply."""
    parameters = engine.shape.linear_parameters / engine.shards
    size = parameters * engine.width
    found: list[tuple[float, float, Measured]] = []
    if engine.dtype in ("bfloat16", "float16") and not engine.shape.quantized:
        for figure, measured in kernels.rows("gemm", "bf16 decode"):
            found.append((float(figure.detail["m"]), size / measured.value, measured))
    if not found:
        read = needed(kernels.figure("memory", "read", "copy", "triad"), name, "memory", "the bandwidth of its memory")
        found.append((1.0, size / read.value, read))
    for tokens, rate, measured in product_rates(engine, kernels):
        found.append((tokens, OPERATIONS * parameters * tokens / rate, measured))
    if len({tokens for tokens, _, _ in found}) < 2:
        raise InputError(
            f"{name} has no rate of matrix products in {engine.dtype}: measure it with "
            f"`engine_probe validate --only memory,gemm,attention,launch --json FILE`"
        )
    points: list[tuple[float, float]] = []
    slowest = 0.0
    for tokens, seconds, _ in sorted(found, key=lambda each: each[0]):
        slowest = max(slowest, seconds)  # more tokens never take less
        if not points or tokens > points[-1][0]:
            points.append((tokens, slowest * SECOND_NS))
    formula = (
        "bytes of the layers' matrices / rate of reading them with so many tokens, or operations / rate; between "
        "measured tokens linear"
    )
    figures = f"{size / 1e9:.3g} GB, {OPERATIONS * parameters / 1e9:.3g} GFLOP a token; {told(m for _, _, m in found)}"
    return Part(Source("matrix products", formula, figures), tuple(m for _, _, m in found), points=tuple(points))


def product_rates(engine: RankEngine, kernels: Kernels) -> Iterator[tuple[float, float, Measured]]:
    """Yield tokens, operations per second and their figure: of the measured shapes that are most like the model's."""
    if engine.dtype == "bfloat16":
        for figure, measured in kernels.rows("gemm", "bf16 best shape"):
            alike = sorted(figure.trials, key=lambda trial: unlike(trial.at, engine))
            for tokens in sorted({trial.at["m"] for trial in alike}):
                yield float(tokens), next(trial.value for trial in alike if trial.at["m"] == tokens), measured
    for figure, measured in kernels.rows("gemm", SQUARES.get(engine.dtype, "-")):
        yield float(figure.detail["m"]), measured.value, measured


def unlike(shape: Mapping[str, int], engine: RankEngine) -> float:
    """Return how far a product's matrix is from the mean one of a layer, four of which make up most layers."""
    layer = engine.shape.linear_parameters / engine.shape.layers
    return abs(math.log(shape["n"] * shape["k"] / (layer / engine.shards / 4)))


def vocabulary(engine: RankEngine, kernels: Kernels, name: str) -> Part:
    """Multiply one token of each request by the vocabulary's matrix, which each step reads."""
    size = engine.vocabulary * engine.hidden / engine.shards
    width = BYTES[engine.dtype]
    read = needed(kernels.figure("memory", "read", "copy", "triad"), name, "memory", "the bandwidth of its memory")
    rates = [(rate, measured) for _, rate, measured in product_rates(engine, kernels)]
    prices = {"step": size * width / read.value * SECOND_NS}
    if rates:
        each = OPERATIONS * size / max(rate for rate, _ in rates) * SECOND_NS
        prices |= {"prompt": each, "answer token": each}
    formula = "its bytes / bandwidth, and for each request its operations / the highest rate"
    figures = f"{size * width / 1e9:.3g} GB; {told([read, *(measured for _, measured in rates)])}"
    return Part(Source("vocabulary", formula, figures), (read,), prices)


def attention(engine: RankEngine, kernels: Kernels, name: str) -> Part:
    """Read the KV cache for answers, and multiply prompts with the tokens before."""
    read = needed(kernels.figure("attention", "decode"), name, "attention", "the attention of answers")
    pair = engine.shape.operations_of_a_pair / engine.shards
    rates = [rate for _, rate, _ in product_rates(engine, kernels)]
    prices = {"answer attention": engine.kv_bytes / read.value * SECOND_NS}
    if rates:
        prices["prompt attention"] = pair / max(rates) * SECOND_NS
    formula = "KV bytes / rate of decode attention; of prompts, operations / the highest rate of products"
    figures = f"{engine.kv_bytes / 1024:.4g} KiB a token, {pair / 1e3:.4g} kFLOP a pair; {told([read])}"
    return Part(Source("attention", formula, figures), (read,), prices)


def launches(engine: RankEngine, kernels: Kernels, eager: bool) -> Iterator[Part]:
    """Yield the least time of the operators of a layer that are no products."""
    graph = kernels.figure("launch", "in a graph")
    plain = kernels.figure("launch", "back to back") or kernels.figure("launch", "operator")
    found = plain if eager or graph is None else graph
    if found is None:
        return
    number = engine.shape.layers * OTHER_OPERATORS
    formula = f"{OTHER_OPERATORS} operators beside products x layers x time of the smallest operator"
    source = Source("other operators", formula, f"{number:,} operators; {told([found])}")
    yield Part(source, (found,), {"step": number * found.value})


def collectives(engine: RankEngine, kernels: Kernels, ranks: int, name: str) -> Iterator[Part]:
    """Yield the all-reduces of tensor parallelism; refuse a report that measured none between so many devices."""
    if ranks == 1:
        return
    per_token = engine.hidden * BYTES[engine.dtype]
    number = ALL_REDUCES * engine.shape.layers
    rows = [row for row in kernels.rows("allreduce") if row[0].detail.get("cards") == ranks]
    if rows:
        pairs = ((float(figure.detail["buffer_bytes"]) / per_token, figure.samples.median_ns) for figure, _ in rows)
        points = tuple((tokens, number * ns) for tokens, ns in sorted(pairs))
        used = tuple(measured for _, measured in rows)
        formula = f"{number} all-reduces x the time of one with so many bytes; between measured sizes linear"
        yield Part(Source("collectives", formula, f"{per_token:,} bytes a token; {told(used)}"), used, points=points)
        return
    rates, latencies = ([measured for _, measured in kernels.rows("p2p", each)] for each in ("one way", "latency"))
    if not rates or not latencies:
        raise InputError(
            f"{name}: tensor_parallel_size is {ranks}, and it measured neither an all-reduce of {ranks} devices nor "
            f"transfers between two: run `engine_probe validate --json FILE` where {ranks} are"
        )
    rate = min(rates, key=lambda each: each.value)  # a ring is as fast as its slowest link
    latency = max(latencies, key=lambda each: each.value)
    steps = 2 * (ranks - 1)
    moved = steps / ranks * per_token / rate.value * SECOND_NS
    prices = {"step": number * steps * latency.value, **dict.fromkeys(TOKENS, number * moved)}
    formula = (
        f"{number} all-reduces x ({steps} transfers' latency + {steps}/{ranks} of their bytes / rate of a transfer)"
    )
    source = Source("collectives", formula, f"{per_token:,} bytes a token; {told([rate, latency])}")
    yield Part(source, (rate, latency), prices)


TOKENS = ("prompt token", "answer token", "padding")


def captured_sizes(arguments: Mapping[str, Any], limits: BatchLimits) -> tuple[int, ...]:
    """Return the tokens of the graphs that vLLM captures, as `VllmConfig._set_cudagraph_sizes` chooses them.

    1, 2, 4, then every 8th below 256 and every 16th from there, up to twice max_num_seqs and 512; max_num_seqs and
    max_num_batched_tokens themselves within that. Empty without graphs.
    """
    tokens, requests = limits
    if arguments.get("enforce_eager"):
        return ()
    asked = arguments.get("compilation_config")
    given: Mapping[str, Any] = asked if isinstance(asked, dict) else {}
    if chosen := given.get("cudagraph_capture_sizes"):
        return tuple(sorted({int(size) for size in chosen if int(size) <= tokens}))
    largest = min(int(given.get("max_cudagraph_capture_size") or min(2 * requests, LARGEST_GRAPH)), tokens)
    sizes = {1, 2, 4, *range(8, 256, 8), *range(256, largest + 1, 16), requests, tokens}
    return tuple(sorted(size for size in sizes if size <= largest))


def added(tables: Sequence[Points]) -> Points:
    """Return the sum of tables over tokens, at all their points."""
    knots = sorted({tokens for table in tables for tokens, _ in table})
    return tuple((tokens, sum(interpolated(table, tokens) for table in tables)) for tokens in knots)


def spread_of(parts: Sequence[Part]) -> tuple[float, int]:
    """Return the standard deviation of a typical step as a share of it, and the fewest rounds of its measurements."""
    shares = [part.typical_ns() for part in parts]
    squares = sum(
        (ns * max(each.spread for each in part.measured)) ** 2 for ns, part in zip(shares, parts, strict=True)
    )
    rounds = min(each.rounds for part in parts for each in part.measured)
    return math.sqrt(squares) / sum(shares), rounds


def needed(found: Measured | None, name: str, test: str, what: str) -> Measured:
    if found is None:
        raise InputError(
            f"{name} did not measure {what}, without which no step time can be derived: run `engine_probe validate "
            f"--only memory,gemm,attention,launch --json FILE` ({test} is missing)"
        )
    return found


def told(measured: Any) -> str:
    return ", ".join(dict.fromkeys(each.words for each in measured))
