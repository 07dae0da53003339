"""What an engine on a GPU holds, and what bounds its speed, from the model's shape and the GPU's data sheet alone.

The capacity is predicted by the memory model. Times are bounds and no predictions: no step is faster than reading the
weights of its layers and the KV cache once at the full bandwidth of the memory, or than multiplying its tokens by those
weights at the full rate of the tensor cores. Attention's products, the vocabulary, collectives, launches and the host
come on top and are not known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine_probe.engine.memory_model import RankMemory, batch_limits, kv_bytes_of_rank, memory_of_rank
from engine_probe.engine.models.geometry import BYTES, Config, Geometry, geometry
from engine_probe.engine.parallelism import rank_count, weight_shards
from engine_probe.engine.twin.step_times import Price, StepTimes
from engine_probe.engine.twin.virtual_clock import SECOND_NS

OPERATIONS = 2  # of each parameter for a token: a multiplication and an addition


@dataclass(frozen=True)
class Rates:
    """What one GPU moves and multiplies in a second, by its data sheet."""

    bytes_per_second: float
    operations_per_second: float | None  # in the number format of the activations; None: not in the data sheet


@dataclass(frozen=True)
class Bounds:
    """The least times of one engine with this many requests in flight, and the throughput that follows."""

    concurrency: int
    prompt_seconds: float  # of one prompt
    step_seconds: float  # of a decode step of all requests, halfway through their answers
    output_tokens_per_s: float


@dataclass(frozen=True)
class Plan:
    """One engine on one kind of GPU."""

    device: str
    gpus: int
    memory: RankMemory
    input_len: int
    output_len: int
    parameters: int
    kv_bytes_per_token: float  # of all ranks
    layers_bytes: float  # weights of the layers on one rank
    operations: float  # of one token in the layers on one rank
    rates: Rates
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
        return -(-(self.input_len + self.output_len) // self.memory.block_size)

    @property
    def held(self) -> int:
        """Return how many requests of full length the pool holds at the same time."""
        return self.kv_capacity_tokens // self.memory.block_size // self.blocks_each

    @property
    def concurrency(self) -> int:
        """Return how many of them run at the same time, which max_num_seqs limits, too. 0 if vLLM does not start."""
        return min(self.held, self.most_running) if self.fits else 0

    def bounds(self, concurrency: int) -> Bounds:
        """Return the least times with so many requests; prompts are computed between the answers' steps."""
        context = self.input_len + self.output_len / 2
        read = self.layers_bytes + concurrency * context * self.memory.kv_bytes_per_token
        reading = read / self.rates.bytes_per_second
        step = max(reading, self._multiplying(concurrency))
        prompt = max(self.layers_bytes / self.rates.bytes_per_second, self._multiplying(self.input_len))
        # Chunks of prompts share steps with answers: both limits hold for the sum of all of it.
        every = concurrency * (self.input_len + self.output_len)
        answers = max(self.output_len * reading, self._multiplying(every))
        return Bounds(concurrency, prompt, step, concurrency * self.output_len / answers)

    def _multiplying(self, tokens: int) -> float:
        """Return the least seconds that multiplying so many tokens takes. 0 where the rate is not known."""
        rate = self.rates.operations_per_second
        return 0.0 if rate is None else tokens * self.operations / rate


def capacity_plan(
    config: Config,
    arguments: Mapping[str, Any],
    device: tuple[str, float],
    rates: Mapping[str, float],
    bytes_per_second: float,
    lengths: tuple[int, int],
) -> Plan | None:
    """Plan an engine on a GPU, given as its name and bytes; `rates` are operations per second by number format.

    None for a shape or a number format that is not known.
    """
    memory = memory_of_rank(config, arguments, *device, least_tokens=sum(lengths))
    if memory is None:
        return None
    shape, shards = geometry(config), weight_shards(arguments)
    asked = str(arguments.get("dtype", "auto"))
    computed = shape.dtype if asked == "auto" else asked
    per_rank, _ = kv_bytes_of_rank(shape, arguments)
    ranks = rank_count(arguments)
    return Plan(
        device=device[0],
        gpus=ranks,
        memory=memory,
        input_len=lengths[0],
        output_len=lengths[1],
        parameters=shape.parameters,
        kv_bytes_per_token=per_rank * ranks,
        layers_bytes=layers_bytes(shape, asked) / shards,
        operations=OPERATIONS * shape.linear_parameters / shards,
        rates=Rates(bytes_per_second, rates.get(computed) if computed in BYTES else None),
        most_running=batch_limits(arguments, *device)[1],
    )


def least_times(plan: Plan) -> StepTimes:
    """Return the least times of steps: reading weights and KV cache, or multiplying, whichever takes longer."""
    per_byte = SECOND_NS / plan.rates.bytes_per_second
    rate = plan.rates.operations_per_second
    multiplied = 0.0 if rate is None else plan.operations / rate * SECOND_NS
    return StepTimes(
        {
            "step": Price(plan.layers_bytes * per_byte),
            "answer attention": Price(plan.memory.kv_bytes_per_token * per_byte),
        },
        beside={"prompt token": Price(multiplied), "answer token": Price(multiplied)},
    )


def layers_bytes(shape: Geometry, dtype: str) -> float:
    """Return the bytes of the layers' weights, which every step reads."""
    width = BYTES[shape.dtype if dtype == "auto" else dtype]
    linear = shape.linear_bytes if shape.quantized else width
    return shape.linear_parameters * linear + shape.layers * shape.others * width
