from __future__ import annotations

import math

import pytest

from engine_probe.engine.models.catalogue import catalogue_config
from engine_probe.engine.models.geometry import GIB
from engine_probe.engine.models.kv_layout import KvGroup
from engine_probe.engine.twin.capacity_plan import CapacityPlan, capacity_plan, least_times
from engine_probe.engine.twin.step_work import StepWork

PUBLISHED = {  # KV tokens on one H100 NVL of 93.6 GiB, of which vLLM took 0.9
    "gpt2-xl": 268_208,
    "deepseek-llm-7b-chat": 141_808,
    "qwen1.5-14b-chat": 64_912,
    "falcon-40b": 18_688,
}
THEIRS = {"dtype": "float16", "gpu_memory_utilization": 0.9, "max_num_batched_tokens": 8192, "max_num_seqs": 1024}


def plan(
    model: str,
    memory_gib: float,
    lengths: tuple[int, int] = (512, 256),
    link: float | None = None,
    **arguments: object,
) -> CapacityPlan:
    rates = {"bfloat16": 1e15, "float16": 1e15}
    found = capacity_plan(catalogue_config(model), arguments, ("GPU", memory_gib * GIB), rates, 1e12, lengths, link)
    assert found is not None
    return found


@pytest.mark.parametrize("model", PUBLISHED)
def test_the_published_pools_are_within_a_tenth(model: str) -> None:
    found = plan(model, 93.6, (128, 512), **THEIRS)
    assert found.kv_capacity_tokens == pytest.approx(PUBLISHED[model], rel=0.1)


def test_a_second_gpu_halves_weights_and_kv_bytes_of_each() -> None:
    one, two = (plan("llama-3.1-8b", 80, max_model_len=8192, tensor_parallel_size=ranks) for ranks in (1, 2))
    assert two.gpus == 2
    assert two.memory.weights.size == pytest.approx((one.memory.weights.size or 0) / 2)
    assert two.memory.layout.bytes_per_token == one.memory.layout.bytes_per_token / 2
    assert two.kv_bytes_per_token == one.kv_bytes_per_token == 2 * 32 * 8 * 128 * 2
    assert two.kv_capacity_tokens > 2 * one.kv_capacity_tokens


def test_requests_are_counted_in_whole_blocks() -> None:
    found = plan("llama-3.1-8b", 40, (100, 1), max_model_len=4096)
    assert found.blocks_each == 7
    assert found.held == math.floor(found.kv_capacity_tokens / 16 / 7)
    assert plan("llama-3.1-8b", 40, (100, 1), max_model_len=4096, max_num_seqs=5).concurrency == 5


@pytest.mark.parametrize(("window", "mean"), [(4096, 640), (640, 604), (512, 512), (100, 100), (768, 640)])
def test_answers_attend_to_the_window_at_most(window: int, mean: float) -> None:
    """Of 512 + 256 tokens: a window of 640 is full after half of the answer, 576 tokens on average until then."""
    config = {**catalogue_config("mistral-7b"), "sliding_window": window}
    found = capacity_plan(config, {}, ("GPU", 80 * GIB), {"bfloat16": 1e15}, 1e12, (512, 256))
    assert found is not None
    assert found.mean_context(found.memory.layout.groups[0]) == pytest.approx(mean, abs=4)


@pytest.mark.parametrize(("chunk", "mean"), [(4096, 640), (640, 0.5 * 576 + 0.5 * 64), (512, 128), (100, 50)])
def test_answers_attend_to_their_chunk_at_most(chunk: int, mean: float) -> None:
    """Of 512 + 256 tokens: with chunks of 640 the first half of the answer ends a chunk, and the other begins one."""
    found = plan("llama-3.1-8b", 80, (512, 256), max_model_len=4096)
    assert found.mean_context(KvGroup(1, 16, 100.0, chunk=chunk)) == pytest.approx(mean, abs=4)


def test_what_does_not_fit_holds_nothing() -> None:
    found = plan("llama-3.1-70b-fp8", 44)
    assert not found.fits
    assert (found.kv_capacity_tokens, found.concurrency) == (0, 0)
    short = plan("llama-3.1-70b-fp8", 93)  # of memory for one request of the model's context
    assert not short.fits
    assert short.kv_capacity_tokens > 0
    assert short.concurrency == 0


def test_a_step_reads_its_layers_the_vocabulary_and_its_requests() -> None:
    """At 1 TB/s: 32 layers of 218 million values in two bytes, and 640 tokens of 128 KiB for each request."""
    found = plan("llama-3.1-8b", 80)
    layers = 32 * (4096 * (2 * 4096 + 2 * 1024) + 3 * 4096 * 14336 + 2 * 4096) * 2
    layers += 128_256 * 4096 * 2
    assert found.bounds(1).step_seconds == pytest.approx((layers + 640 * 131_072) / 1e12)
    assert found.bounds(40).step_seconds == pytest.approx((layers + 40 * 640 * 131_072) / 1e12)


def test_throughput_is_limited_by_reading_at_first_and_by_multiplying_later() -> None:
    found = plan("llama-3.1-8b", 4000, max_num_seqs=10**6)
    few, many = found.bounds(1), found.bounds(5000)
    assert few.output_tokens_per_s == pytest.approx(1 / few.step_seconds)
    operations = 2 * 32 * (4096 * (2 * 4096 + 2 * 1024) + 3 * 4096 * 14336)
    multiplied = 1e15 / operations * 256 / (512 + 256)
    assert many.output_tokens_per_s <= multiplied * (1 + 1e-9)
    assert found.bounds(100).output_tokens_per_s < few.output_tokens_per_s * 100


def test_the_least_times_of_steps_are_the_bounds() -> None:
    found = plan("llama-3.1-8b", 80, max_model_len=8192)
    times = least_times(found)
    for load in (1, 40, 400):
        decode = StepWork(load, 0, load, 0, load * 640)
        assert times.ns(decode) == pytest.approx(found.bounds(load).step_seconds * 1e9, rel=1e-6)
    prompt = StepWork(1, 512, 0, 512 * 513 // 2, 0)
    assert times.ns(prompt) == pytest.approx(found.bounds(1).prompt_seconds * 1e9, rel=1e-6)
    assert all(price.most is None for price in times.prices.values())


def test_attention_grows_with_the_square_of_a_prompt() -> None:
    """Two products of 32 heads of 128 values in each of 32 layers, for each token and those before it."""
    short, long = (plan("llama-3.1-8b", 4000, (tokens, 1), max_model_len=131_072) for tokens in (64_000, 128_000))
    pair = 2 * 2 * 32 * 128 * 32
    assert long.pair_operations == pair
    growth = long.bounds(1).prompt_seconds - 2 * short.bounds(1).prompt_seconds
    assert growth == pytest.approx(pair * 64_000**2 / 1e15)
    halves = plan("llama-3.1-8b", 4000, (64_000, 1), max_model_len=131_072, tensor_parallel_size=2)
    assert halves.pair_operations == pair / 2


def test_what_a_window_hides_is_not_counted() -> None:
    (whole, cut) = (plan("mistral-7b-128k", 4000, max_model_len=most, **THEIRS) for most in (131_072, 262_144))
    assert whole.pair_operations > cut.pair_operations == 0


def test_all_reduces_take_the_time_of_their_bytes_on_the_link() -> None:
    """Two in each of 32 layers, of 4,096 values in two bytes; of two GPUs each sends as many bytes as it holds."""
    near, far = (plan("llama-3.1-8b", 80, link=rate, tensor_parallel_size=2) for rate in (None, 1e10))
    token = 2 * 32 * 4096 * 2 / 1e10
    assert far.bounds(40).step_seconds - near.bounds(40).step_seconds == pytest.approx(40 * token)
    assert far.bounds(1).prompt_seconds - near.bounds(1).prompt_seconds == pytest.approx(512 * token)
    decode = StepWork(40, 0, 40, 0, 40 * 640)
    assert least_times(far).ns(decode) == pytest.approx(far.bounds(40).step_seconds * 1e9, rel=1e-6)
    assert plan("llama-3.1-8b", 80, link=1e10).reduced_bytes == 0


def test_steps_are_padded_to_graphs_unless_there_are_none() -> None:
    graphs, eager = (
        least_times(plan("llama-3.1-8b", 4000, max_num_seqs=1024, **more)) for more in ({}, {"enforce_eager": True})
    )
    odd = StepWork(497, 0, 497, 0, 0)  # the next graph has 512 tokens
    assert graphs.graph_sizes[-1] == 512
    assert graphs.beside is not None
    assert graphs.ns(odd) >= 512 * graphs.beside["padding"].ns - 1
    assert graphs.ns(StepWork(600, 0, 600, 0, 0)) == eager.ns(StepWork(600, 0, 600, 0, 0))


def test_every_term_of_a_bound_names_its_formula() -> None:
    split = least_times(plan("llama-3.1-8b", 80, link=1e10, tensor_parallel_size=2))
    parts = ["weights", "KV cache", "products", "attention of prompts", "padding", "collectives"]
    assert [source.part for source in split.sources] == parts
    assert "10 GB/s in one direction" in split.sources[-1].figures


def test_an_unknown_shape_is_no_plan() -> None:
    assert capacity_plan({"model_type": "unknown"}, {}, ("GPU", 80 * GIB), {}, 1e12, (1, 1)) is None
