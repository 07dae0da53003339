"""Bytes and operations of a step in one's head, shares of measured ceilings, and what holds a step up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from engine_probe.analysis.step.bottleneck import limits
from engine_probe.analysis.step.ceiling_use import BY_COMPUTE, BY_MEMORY, FREE, above, held_up, uses
from engine_probe.analysis.step.roofline import Roofline, roofline
from engine_probe.analysis.step.step_time import DEVICE, EXECUTE, PACE, step_time
from tests.support.recordings.small_tables import table

MS = 1_000_000
Make = Callable[..., pa.Table]
WORKERS = table("workers", [])
NONE = {"parameters": 0, "bytes": 0, "products": 0}


def weights(products: int, bytes_each: int = 2) -> dict[str, int]:
    return {"parameters": products, "bytes": bytes_each * products, "products": products}


def rank(number: int = 0, **changes: Any) -> dict[str, Any]:
    """Matrices of 1,000 values, a head of 500, norms of 10; one layer of attention: 2 heads of 8, one for KV."""
    return {
        "rank": number,
        "parts": {
            "linear": weights(1000),
            "head": weights(500),
            "embedding": {**weights(500), "products": 0},
            "other": {"parameters": 10, "bytes": 20, "products": 0},
            "experts": NONE,
        },
        "row_bytes": 16,
        "experts": [],
        "attention": [{"layers": 1, "heads": 2, "kv_heads": 1, "head_size": 8, "window": None, "kv_value_bytes": 2}],
        "dtypes": {"bfloat16": 3020},
        "unknown": [],
        **changes,
    }


def facts(
    *ranks: dict[str, Any], memory: float = 0, compute: float = 0, spread: float = 0, **arguments: Any
) -> dict[str, Any]:
    """KV of a token takes 32 bytes on each rank: 2 x 1 head x 8 x 2 bytes."""
    ranks = ranks or (rank(),)
    more = {"stable": True, "quick": False, "measured": "2026-11-21T09:00:00Z"}
    more |= {"verdict": "trusted", "doubts": [], "spread": spread}
    ceilings = {"memory read": {"value": memory, **more}, "gemm bf16 square": {"value": compute, **more}}
    known = {name: ceiling for name, ceiling in ceilings.items() if ceiling["value"]}
    return {
        "status": "complete",
        "loaded": list(ranks),
        "memory": [{"rank": number, "device": "cpu"} for number in range(len(ranks))],
        "model": {"dtype": "bfloat16", "max_model_len": 100},
        "kv": {"groups": 1, "bytes_per_block": 512, "block_size_tokens": 16, "blocks": 100, "prefix_caching": False},
        "limits": {"max_num_seqs": 8, "max_num_batched_tokens": 64},
        "engine": {"asynchronous": False, "arguments": {"parallel_config": {"tensor_parallel_size": len(ranks)}}}
        | arguments,
        "hardware": {"ceilings": {"cpu-1": known}},
    }


def answers(iterations: Make, tokens: int = 4, live: int = 40, steps: int = 1) -> pa.Table:
    """Steps of so many requests that each continue their answer, 8 ms of the model each."""
    names = ("scheduled_tokens", "decode_tokens", "scheduled_requests", "running_requests")
    return iterations(steps, kv_tokens_live=[live] * steps, **{name: [tokens] * steps for name in names})


def found(facts: dict[str, Any], steps: pa.Table, requests: pa.Table) -> Roofline:
    made = roofline(facts, steps, requests, step_time(facts, steps, WORKERS, np.zeros(len(steps), np.int64)))
    assert isinstance(made, Roofline), made
    return made


def test_a_step_of_four_answers(iterations: Make, requests: Make) -> None:
    """Weights 3,020 and 4 rows of 16 bytes; KV: 40 tokens of 32 bytes read (or 36, and 4 still at hand), 4 written.

    Operations: 2 x 4 x (1,000 + 500), and of attention 4 x 2 heads x 8 for each of 40 pairs.
    """
    made = found(facts(), answers(iterations), requests())
    assert made.bytes.least[0] == 3020 + 64 + 36 * 32 + 4 * 32
    assert made.bytes.most[0] == 3020 + 64 + 40 * 32 + 4 * 32
    assert made.flops.least[0] == made.flops.most[0] == 8 * 1500 + 64 * 40
    assert made.seconds[0] == 0.008
    assert made.prefill_share[0] == 0


def test_a_prompt_needs_the_head_once(iterations: Make, requests: Make) -> None:
    """Ten tokens of one request: 2 x 10 x 1,000, once 2 x 500, and 55 pairs."""
    steps = iterations(
        1,
        scheduled_tokens=[10],
        prefill_tokens=[10],
        scheduled_requests=[1],
        running_requests=[1],
        kv_tokens_live=[10],
    )
    made = found(facts(), steps, requests())
    assert made.flops.least[0] == made.flops.most[0] == 20_000 + 1000 + 64 * 55
    assert made.prefill_share[0] == 1


def test_ranks_add_up(iterations: Make, requests: Make) -> None:
    """Two ranks hold twice the weights and the KV; a token's row of the embedding is on one of them."""
    one, two = (found(facts(*map(rank, range(count))), answers(iterations), requests()) for count in (1, 2))
    assert two.flops.least[0] == 2 * one.flops.least[0]
    assert two.bytes.most[0] == 2 * one.bytes.most[0] - 64


def test_quantised_weights_move_fewer_bytes_for_the_same_products(iterations: Make, requests: Make) -> None:
    parts = rank()["parts"]
    small = rank(parts={**parts, "linear": {**weights(1000), "bytes": 500}})
    full, quantised = (found(facts(each), answers(iterations), requests()) for each in (rank(), small))
    assert full.bytes.least[0] - quantised.bytes.least[0] == 1500
    assert full.flops.least[0] == quantised.flops.least[0]


@pytest.mark.parametrize(("tokens", "least", "most"), [(1, 2, 2), (3, 2, 6), (50, 2, 8)])
def test_experts_are_read_once_at_least_and_all_at_most(
    tokens: int, least: int, most: int, iterations: Make, requests: Make
) -> None:
    """Two of eight for each token: from the same two for all, to as many as there are."""
    layer = {"held": 8, "all": 8, "per_token": 2, "parameters": 100, "bytes": 200}
    steps = answers(iterations, tokens, live=tokens)
    plain, chosen = (found(facts(each), steps, requests()) for each in (rank(), rank(experts=[layer])))
    assert chosen.bytes.least[0] - plain.bytes.least[0] == 200 * least
    assert chosen.bytes.most[0] - plain.bytes.most[0] == 200 * most
    assert chosen.flops.least[0] - plain.flops.least[0] == 2 * tokens * 2 * 100


def test_a_window_bounds_what_is_attended_to(iterations: Make, requests: Make) -> None:
    """No request is longer than 20: a window of 20 changes nothing. One of 5 leaves 4 x 5 of the 40 at most."""
    rows = requests({"prompt_tokens": 10, "output_tokens": 10})
    for window, pairs in ((20, (40, 40)), (5, (10, 20))):
        kind = {**rank()["attention"][0], "window": window}
        made = found(facts(rank(attention=[kind])), answers(iterations), rows)
        assert (made.flops.least[0] - 12_000, made.flops.most[0] - 12_000) == (64 * pairs[0], 64 * pairs[1])


def test_shares_of_the_ceilings(iterations: Make, requests: Make) -> None:
    """14,560 operations in 8 ms are 1.82 million a second: half of a ceiling of 3.64 million."""
    made = found(facts(memory=1e6, compute=3.64e6), answers(iterations), requests())
    assert made.flop_utilisation is not None
    assert made.flop_utilisation.least == made.flop_utilisation.most == pytest.approx(0.5)
    assert made.ridge == pytest.approx(3.64)


def test_without_ceilings_rates_but_no_shares(iterations: Make, requests: Make) -> None:
    made = found(facts(), answers(iterations), requests())
    assert made.flops_per_s.least == pytest.approx(14_560 / 0.008)
    assert (made.memory, made.compute, made.ridge) == (None, None, None)
    assert made.bandwidth_utilisation is made.flop_utilisation is None
    assert held_up(made).tolist() == [FREE]


def test_two_ranks_on_one_processor_share_its_ceiling(iterations: Make, requests: Make) -> None:
    told = facts(rank(0), rank(1), memory=1e6)
    assert (ceiling := found(told, answers(iterations), requests()).memory)
    assert (ceiling.per_s, ceiling.devices) == (1e6, 1)
    told["memory"] = [{"device": "GPU-a"}, {"device": "GPU-b"}]
    told["hardware"]["ceilings"] = dict.fromkeys(("GPU-a", "GPU-b"), told["hardware"]["ceilings"]["cpu-1"])
    assert (ceiling := found(told, answers(iterations), requests()).memory)
    assert (ceiling.per_s, ceiling.devices) == (2e6, 2)
    del told["hardware"]["ceilings"]["GPU-b"]  # one of the two was never measured
    assert found(told, answers(iterations), requests()).memory is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"loaded": []}, "the size of the model's weights is not recorded"),
        ({"loaded": [rank(unknown=["MLAAttention"])]}, "the work of MLAAttention"),
        ({"engine": {"arguments": {"speculative_config": {"model": "small"}}}}, "a second model runs too"),
        ({"engine": {"arguments": {"parallel_config": {"pipeline_parallel_size": 2}}}}, "stages work"),
        ({"engine": {"arguments": {"parallel_config": {"tensor_parallel_size": 2}}}}, "1 of 2 ranks"),
    ],
)
def test_what_cannot_be_told_is_a_reason(change: dict[str, Any], reason: str, iterations: Make, requests: Make) -> None:
    told = facts() | change
    told["engine"] = {"asynchronous": False, "arguments": {}} | told["engine"]
    steps = answers(iterations)
    made = roofline(told, steps, requests(), step_time(told, steps, WORKERS, np.zeros(1, np.int64)))
    assert isinstance(made, str)
    assert reason in made


def test_the_devices_time_is_that_of_the_forward_so_the_head_is_left_out(iterations: Make, requests: Make) -> None:
    """The head's 500 values of 2 bytes are read once, and multiplied for each of the 4 requests."""
    steps = answers(iterations)
    timed = table("workers", [{"iteration": 0, "rank": 0, "device_start_ns": 1, "device_ns": 8 * MS}])
    whole = found(facts(), steps, requests())
    made = roofline(facts(), steps, requests(), step_time(facts(), steps, timed, np.zeros(1, np.int64)))
    assert isinstance(made, Roofline)
    assert made.clock == DEVICE
    assert (whole.bytes.least - made.bytes.least).tolist() == [1_000]
    assert (whole.flops.least - made.flops.least).tolist() == [4_000]


def test_the_clock_is_the_best_there_is(iterations: Make) -> None:
    steps, busy = answers(iterations), np.array([5 * MS])
    row = {"iteration": 0, "rank": 0, "device_ns": 7 * MS}
    around_the_step, timed = table("workers", [row]), table("workers", [row | {"device_start_ns": 1}])
    told = facts()
    assert step_time(told, steps, around_the_step, busy).clock == EXECUTE  # of version 3, with host time in it
    assert (step_time(told, steps, timed, busy).clock, step_time(told, steps, timed, busy).ns[0]) == (DEVICE, 7 * MS)
    assert (step_time(told, steps, WORKERS, busy).clock, step_time(told, steps, WORKERS, busy).ns[0]) == (
        EXECUTE,
        8 * MS,
    )
    told["engine"]["asynchronous"] = True
    assert (step_time(told, steps, WORKERS, busy).clock, step_time(told, steps, WORKERS, busy).ns[0]) == (PACE, 5 * MS)


TRUTH = {"memory bandwidth": (1.0, 0.2), "compute": (0.2, 1.0), "model": (0.2, 0.3)}


@pytest.mark.parametrize("name", TRUTH)
@pytest.mark.parametrize("tokens", [1, 8, 64])
def test_a_planted_limit_is_found(name: str, tokens: int, iterations: Make, requests: Make) -> None:
    """Ceilings set so that moving and computing would take these parts of the step's 8 ms."""
    moving, computing = TRUTH[name]
    steps = answers(iterations, tokens, live=50 * tokens, steps=3)
    need = found(facts(), steps, requests())
    told = facts(memory=need.bytes.least[0] / (moving * 0.008), compute=need.flops.least[0] / (computing * 0.008))
    steps_held_up = held_up(found(told, steps, requests()))
    assert set(steps_held_up.tolist()) == {{"memory bandwidth": BY_MEMORY, "compute": BY_COMPUTE, "model": FREE}[name]}
    assert limits(told, steps, requests(), table("preemptions", []), WORKERS, steps_held_up).main == name


def test_a_share_above_the_ceiling_leaves_nothing_to_conclude(iterations: Make, requests: Make) -> None:
    """1.82 million operations a second of 1.57 measured are 116 %; the bandwidth alone would explain the whole step."""
    steps = answers(iterations)
    need = found(facts(), steps, requests())
    memory = need.bytes.least[0] / 0.008
    impossible = found(facts(memory=memory, compute=1.82e6 / 1.16), steps, requests())
    assert [(use.name, use.steps) for use in above(impossible)] == [("MFU", "all steps"), ("MFU", "decode-only steps")]
    assert above(impossible)[0].share.least == pytest.approx(1.16)
    assert held_up(impossible).tolist() == [FREE]
    possible = found(facts(memory=memory, compute=1.82e7), steps, requests())
    assert above(possible) == []
    assert held_up(possible).tolist() == [BY_MEMORY]


@pytest.mark.parametrize("spread", [0.0, 0.06])
def test_an_unstable_ceiling_excuses_no_share_above_it(spread: float, iterations: Make, requests: Make) -> None:
    made = found(facts(compute=1.82e6 / 1.05, spread=spread), answers(iterations), requests())
    assert {use.is_above for use in uses(made)} == {True}


def test_a_step_that_waits_is_not_blamed_on_the_model(iterations: Make, requests: Make) -> None:
    steps = iterations(1, waiting_requests=[1], running_requests=[8], scheduled_tokens=[8], scheduled_requests=[8])
    assert (
        limits(facts(), steps, requests(), table("preemptions", []), WORKERS, np.array([BY_MEMORY])).main
        == "max_num_seqs"
    )


def test_steps_without_tokens_have_no_work(iterations: Make, requests: Make) -> None:
    steps = iterations(
        2,
        scheduled_tokens=[0, 1],
        decode_tokens=[0, 1],
        scheduled_requests=[0, 1],
        running_requests=[0, 1],
        kv_tokens_live=[0, 1],
    )
    made = found(facts(memory=1e6, compute=1e6), steps, requests())
    assert made.bytes.most[0] == made.flops.most[0] == 0
    assert made.working.tolist() == [False, True]
    assert made.flops_per_s.least == pytest.approx(made.flops.least[1] / 0.008)
