"""How long points will take, predicted from what was measured: earlier sweeps, or this machine's ceilings."""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby, pairwise
from statistics import median
from typing import Any, Literal

import msgspec

from engine_probe.analysis.step.ceilings import COMPUTE, distinct_doubts, doubts_of
from engine_probe.engine.build import model_geometry
from engine_probe.engine.cpu.core_rates import BUFFER_BYTES, core_rates
from engine_probe.engine.models.geometry import BYTES, GIB, Geometry
from engine_probe.engine.parallelism import weight_shards
from engine_probe.sweep.definition.sweep_file import Point
from engine_probe.sweep.preflight import pool_demand
from engine_probe.sweep.preflight.asked_requests import asked_requests
from engine_probe.sweep.preflight.earlier_sweeps import Past
from engine_probe.sweep.preflight.pool_demand import answer_tokens
from engine_probe.workload.arrivals import ClosedLoop, Constant, OpenLoop, Replay, Steps
from engine_probe.workload.traces.trace_file import Trace, answered
from engine_probe.workload.workload_spec import Prompts

CACHED_BYTES = GIB  # smaller weights may be read from a processor's cache and not from memory
SMALL_BYTES = GIB // 8  # where weights are smaller, what vLLM itself does takes most of the time

HIGHER_NOW = "what the cores do at this moment counts where it is more"
MEASURED_NOW = "measured in this dry run for a moment; engine_probe validate measures them properly"

AT_LEAST = (
    "≥: at least this, because every step reads all weights and the keys and values of its requests, tokens are "
    "multiplied, and the last request has to arrive"
)

PRICES: Literal["step prices"] = "step prices"
Basis = Literal[
    "the same point", "this engine at other loads", "this engine at other lengths", "step prices", "at least"
]


Priced = Callable[[Point], float | None]  # the seconds of a point by the prices of its engine's steps


class Estimate(msgspec.Struct, frozen=True):
    seconds: float
    basis: Basis

    @property
    def is_bound(self) -> bool:
        return self.basis == "at least"

    @property
    def is_priced(self) -> bool:
        return self.basis == PRICES


class DeviceSpeed(msgspec.Struct, frozen=True):
    """What one device moves and multiplies, as `engine_probe validate` measured it or as its datasheet says."""

    bytes_per_second: float
    doubts: tuple[str, ...] = ()  # about the bandwidth and the rates
    multiplies: dict[str, float] = {}  # operations per second by number format; empty: not measured
    of: str = ""  # the datasheet or the report of kernels that says so; empty: measured here
    cached_bytes: float = CACHED_BYTES


def estimate_together(
    point: Point, past: Sequence[Past], device: DeviceSpeed | None, priced: Priced | None = None
) -> Estimate | None:
    """Predict the seconds of a point that several engines may measure: at least those of the slowest one alone."""
    if not point.together:
        return estimate(point, past, device, priced)
    guesses = [estimate(part, past, device, priced) for part, _ in point.parts]
    known = [guess.seconds for guess in guesses if guess is not None]
    return Estimate(max(known), "at least") if len(known) == len(guesses) else None


def estimate(
    point: Point, past: Sequence[Past], device: DeviceSpeed | None, priced: Priced | None = None
) -> Estimate | None:
    """Predict the seconds of a point, from the best basis that was measured. None without any, and for twins.

    A twin takes what its scheduler takes, which neither a device nor a real engine tells.
    """
    if point.engine.twin is not None:
        return None
    again = [one.seconds for one in past if one.key == point.key]
    again = again or [one.seconds for one in past if alike(one.point, point) and load(one.point) == load(point)]
    if again:
        return Estimate(median(again), "the same point")
    if (rate := interpolated(point, past)) and (tokens := tokens_to_come(point)):
        return Estimate(limited(tokens / rate, point), "this engine at other loads")
    if (seconds := between_lengths(point, past)) is not None:
        return Estimate(limited(seconds, point), "this engine at other lengths")
    if priced is not None and (seconds := priced(point)) is not None:
        return Estimate(limited(seconds, point), PRICES)
    if device and (bounds := [reading(point, device), multiplying(point, device)]) != [None, None]:
        return Estimate(limited(max(bound or 0.0 for bound in bounds), point), "at least")
    if arriving(point):
        return Estimate(limited(0.0, point), "at least")
    return None


def limited(seconds: float, point: Point) -> float:
    """Raise a time to the last arrival, and cut it at the sweep file's `stop.seconds`."""
    seconds, most = max(seconds, arriving(point)), point.stop.seconds
    return seconds if most is None else min(seconds, most)


def arriving(point: Point) -> float:
    """Return the seconds until the last request arrives, however fast answers come."""
    arrivals, sessions, stop = point.workload.arrivals, point.workload.sessions, point.stop
    if stop.requests is not None or stop.steady is not None:
        return 0.0
    if isinstance(arrivals, Replay):
        return replayed(point.workload.prompts, sessions) / arrivals.speed
    if sessions is None:
        return 0.0
    match arrivals:
        case OpenLoop():
            return sessions / arrivals.request_rate
        case Constant():  # of which the first arrives at once
            return (sessions - 1) / arrivals.request_rate
        case Steps():
            return arrivals.pause_seconds * (len(arrivals.levels) - 1)
        case ClosedLoop():
            rounds, user = divmod(sessions - 1, arrivals.users)
            spread = min(arrivals.spread_seconds, arrivals.pace_seconds)  # a wider spread only makes it later
            return rounds * arrivals.pace_seconds + spread * user / arrivals.users
    return 0.0


def replayed(trace: Prompts | None, sessions: int | None) -> float:
    """Return the recorded seconds until the last request of a trace, its pauses included, if answers took no time."""
    if not isinstance(trace, Trace) or not trace.file.is_file():
        return 0.0
    found = answered(trace)[0][:sessions]
    pauses = ((session.timestamp_seconds, session.turns[1:]) for session in found)
    ends = [begun + sum(turn.pause_seconds for turn in later) for begun, later in pauses]
    return max(ends) - found[0].timestamp_seconds if found else 0.0


def alike(one: Point, other: Point) -> bool:
    """Return whether two points differ at most in load, repeat and number of requests."""
    return one.engine.spec == other.engine.spec and asked(one) == asked(other)


def asked(point: Point) -> Any:
    bare = msgspec.structs.replace(point.workload, concurrency=None, num_prompts=None, seed=0)
    return bare, point.stop, point.warm_up


def load(point: Point) -> tuple[int, int | None]:
    return point.workload.max_in_flight, point.workload.sessions


def tokens_to_come(point: Point) -> int | None:
    """Return the output tokens of a point. None if they are not known before, or if `stop.steady` ends it."""
    work, answers = point.workload, point.stop.requests
    if point.stop.steady is not None or work.requests is None or not work.sampling.ignore_eos:
        return None
    if work.output_tokens is None:
        return answer_tokens(point) if answers is None else None
    return work.output_tokens // work.requests * min(work.requests, answers or work.requests)


def interpolated(point: Point, past: Sequence[Past]) -> float | None:
    """Interpolate the output tokens per second at this load. None outside the loads that were measured."""
    rates: dict[int, list[float]] = defaultdict(list)
    for one in past:
        if alike(one.point, point):
            rates[one.point.workload.max_in_flight].append(one.output_tokens_per_s)
    return between(rates, point.workload.max_in_flight)


def between(measured: Mapping[int, Sequence[float]], wanted: int) -> float | None:
    """Interpolate the medians of what was measured at other values. None below the lowest and above the highest."""
    known = sorted((value, median(repeats)) for value, repeats in measured.items())
    for (low, least), (high, most) in pairwise(known):
        if low <= wanted <= high:
            return least + (most - least) * (wanted - low) / (high - low)
    return next((found for value, found in known if value == wanted), None)


def between_lengths(point: Point, past: Sequence[Past]) -> float | None:
    """Interpolate the seconds between a shorter and a longer prompt, or answer. None outside what was measured."""
    wanted = fixed_lengths(point)
    if wanted is None:
        return None
    measured = [
        (lengths, one.seconds)
        for one in past
        if one.point.engine.spec == point.engine.spec
        and load(one.point) == load(point)
        and asked_but_lengths(one.point) == asked_but_lengths(point)
        and (lengths := fixed_lengths(one.point)) is not None
    ]
    for varied, fixed in ((1, 2), (2, 1)):  # prompts with the same answers, and answers to the same prompts
        seconds: dict[int, list[float]] = defaultdict(list)
        for lengths, took in measured:
            if lengths[fixed] == wanted[fixed]:
                seconds[lengths[varied]].append(took)
        if (found := between(seconds, wanted[varied])) is not None:
            return found
    return None


def asked_but_lengths(point: Point) -> Any:
    work, *others = asked(point)
    return msgspec.structs.replace(work, input_len=None, output_len=None), *others


def reading(point: Point, device: DeviceSpeed) -> float | None:
    """Return the seconds that reading weights and KV cache in every step takes, a lower bound of the point's time."""
    weights = weights_read(point)
    steps = fewest_steps(point)
    if weights is None or steps is None or weights < device.cached_bytes:
        return None
    moved = steps * weights + kv_bytes_read(point)
    return moved / weight_shards(point.engine.arguments) / device.bytes_per_second


def kv_bytes_read(point: Point) -> float:
    """Return the KV bytes that all decode steps read: each token's step those of all tokens before it.

    0 unless every request has a prompt of its own and fixed lengths.
    """
    per_token, lengths = kv_bytes_per_token(point), fixed_lengths(point)
    if per_token is None or lengths is None:
        return 0.0
    requests, prompt, answer = lengths
    return requests * (answer - 1) * (prompt + answer / 2) * per_token


def multiplying(point: Point, device: DeviceSpeed) -> float | None:
    """Return the seconds that the matrix products of all tokens take, a lower bound of the point's time.

    None for a small model on a device that is not here: there it is nothing beside what the host does.
    """
    shape = model_geometry(point.engine.model)
    if shape is None or shape.quantized or "quantization" in point.engine.arguments:
        return None
    dtype = str(point.engine.arguments.get("dtype", "auto"))
    rate = device.multiplies.get(shape.dtype if dtype == "auto" else dtype)
    if rate is None or (device.of and is_small(point)):
        return None
    operations = prompt_operations(point, shape)
    if operations is None:
        return None
    return (operations + answer_operations(point, shape)) / weight_shards(point.engine.arguments) / rate


def is_small(point: Point) -> bool:
    """Return whether neither reading nor multiplying its weights takes most of the time."""
    shape = model_geometry(point.engine.model)
    return shape is not None and shape.weights_bytes() < SMALL_BYTES


def answer_operations(point: Point, shape: Geometry) -> float:
    """Return the operations of the answers' matrix products; an answer's first token comes of its prompt.

    0 where answers may end early, which counts each as one token.
    """
    tokens, requests = tokens_to_come(point), point.workload.requests
    if tokens is None or requests is None or point.stop.requests is not None:
        return 0.0
    return 2.0 * shape.active_parameters * (tokens - requests)


def prompt_operations(point: Point, shape: Geometry) -> float | None:
    """Return the operations of all prompts' matrix products; without attention unless their lengths are fixed.

    None if what is sent is not known before. What a prefix cache of unlimited size would hold is not computed.
    """
    if (lengths := fixed_lengths(point)) is not None:
        requests, prompt, _ = lengths
        attention = shape.operations_of_a_pair * prompt**2 / 2  # half of the pairs are masked
        return requests * (2 * shape.active_parameters * prompt + attention)
    asked = None if point.stop.requests is not None or point.stop.steady is not None else asked_requests(point)
    if asked is None:
        return None
    tokens = sum(turn.new for session in asked.sessions[: asked.measured] for turn in session)
    return 2.0 * shape.active_parameters * tokens


def fixed_lengths(point: Point) -> tuple[int, int, int] | None:
    """Return the requests that are all answered, and the tokens of each prompt and answer. None if they differ."""
    work, ends_early = point.workload, point.stop.requests is not None or point.stop.steady is not None
    whole = work.prompts is None and isinstance(work.input_len, int) and isinstance(work.output_len, int)
    if ends_early or not whole or work.requests is None or not work.sampling.ignore_eos:
        return None
    assert isinstance(work.input_len, int)
    assert isinstance(work.output_len, int)
    return work.requests, work.input_len, work.output_len


def fewest_steps(point: Point) -> int | None:
    """Return the fewest steps of a point: one per token of a request, and turns one after another.

    An answer that may end early counts one token. None if a step may give more than one token, or if the lengths are
    not known before.
    """
    work, stop = point.workload, point.stop
    if "speculative_config" in point.engine.arguments or stop.steady is not None:
        return None
    answer = work.output_len if work.sampling.ignore_eos else 1
    if not isinstance(answer, int):
        return pool_demand.fewest_steps(point) if stop.requests is None else None
    if stop.requests is not None:
        return math.ceil(stop.requests / work.max_in_flight) * answer
    return None if work.sessions is None else math.ceil(work.sessions / work.max_in_flight) * work.turns[0] * answer


def weights_bytes(point: Point) -> float | None:
    """Return the bytes of the weights by the publisher's configuration. None if that is not known here."""
    arguments, shape = point.engine.arguments, model_geometry(point.engine.model)
    if shape is None or "quantization" in arguments:
        return None
    dtype = str(arguments.get("dtype", "auto"))
    return shape.weights_bytes(dtype) if dtype in ("auto", *BYTES) else None


def weights_read(point: Point) -> float | None:
    """Return the bytes of weights that every step reads: of experts, those that one token passes."""
    size, shape = weights_bytes(point), model_geometry(point.engine.model)
    if size is None or shape is None:
        return None
    dtype = str(point.engine.arguments.get("dtype", "auto"))
    return size - (shape.linear_parameters - shape.active_parameters) * shape.matrix_bytes(dtype)


def kv_bytes_per_token(point: Point) -> int | None:
    """Return the KV bytes of a token over all ranks. None for a model whose geometry is not known."""
    shape, arguments = model_geometry(point.engine.model), point.engine.arguments
    kept_as, computed_as = str(arguments.get("kv_cache_dtype", "auto")), str(arguments.get("dtype", "auto"))
    if shape is None:
        return None
    return shape.kv_bytes_per_token(computed_as if kept_as == "auto" and computed_as in BYTES else kept_as)


def measured_speed(hardware: dict[str, Any]) -> DeviceSpeed | None:
    """Return the best tests of the device that engines would use. None if its memory was not measured."""
    ceilings: dict[str, dict[str, Any]] = hardware.get("ceilings", {})
    uuids = [gpu["uuid"] for gpu in hardware.get("gpus", [])]
    devices = [ceilings[uuid] for uuid in uuids if uuid in ceilings] if uuids else list(ceilings.values())
    measured = [
        ceiling
        for device in devices
        for name, ceiling in device.items()
        if name.startswith("memory ") and ceiling["unit"] == "B/s"
    ]
    if not measured:
        return None
    best = max(measured, key=lambda ceiling: float(ceiling["value"]))
    products, doubts = {}, list(doubts_of(best))
    for dtype, names in COMPUTE.items():
        if rates := [device[name] for device in devices for name in names if name in device]:
            fastest = max(rates, key=lambda ceiling: float(ceiling["value"]))
            products[dtype] = float(fastest["value"])
            doubts += doubts_of(fastest)
    return DeviceSpeed(best["value"], distinct_doubts(doubts), products)


def speed_here(hardware: dict[str, Any]) -> DeviceSpeed | None:
    """Return the speed of the device here. On a machine without GPUs that was not measured well, cores work a moment.

    Rates that were measured beside other programs are too low for a bound, so that the higher ones count. None if there
    are GPUs, and they were not measured.
    """
    measured = measured_speed(hardware)
    if hardware["gpus"] or (measured is not None and not measured.doubts):
        return measured
    read, multiplied = core_rates()
    if measured is None:
        return DeviceSpeed(read, (MEASURED_NOW,), multiplied, cached_bytes=BUFFER_BYTES)
    highest = {name: max(rate, multiplied.get(name, 0.0)) for name, rate in measured.multiplies.items()}
    doubts = (*measured.doubts, HIGHER_NOW)
    return DeviceSpeed(
        max(measured.bytes_per_second, read), doubts, {**multiplied, **highest}, cached_bytes=BUFFER_BYTES
    )


def engine_count(found: Sequence[Point]) -> int:
    """Return how many engines are started for these points: one group after another, as they are ordered."""
    return sum(len(specs) for specs, _ in groupby(found, key=lambda point: point.engines))


def engine_start(points: Sequence[Point], past: Sequence[Past]) -> float | None:
    """Return the seconds from process start to first recording. None if these models were not started here before."""
    models = {point.engine.model for point in points}
    begun = [one.begun_seconds for one in past if one.point.engine.model in models and one.begun_seconds is not None]
    return min(begun, default=None)
