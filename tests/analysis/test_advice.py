"""Advice follows from rows that show it, and is silent where they do not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from engine_probe.analysis.advice import Advice, Case, advice
from engine_probe.analysis.saturation import Level, saturation

FALLS = {1: 10, 2: 20, 4: 40, 8: 80, 12: 100, 16: 120, 24: 90, 32: 88}


def point(load: float, rate: float, waits: float, twice: float, main: str = "model", ms: float = 50) -> Any:
    """What the rules look at of a point."""
    return SimpleNamespace(
        load=load,
        kv_share=waits,
        limits=SimpleNamespace(main=main, shares={main: 0.8}),
        summary=SimpleNamespace(output_tokens_per_s=rate, preemptions=int(twice > 0), recomputed_share=twice),
        percentile_ns=lambda latency, percent: ms * 1e6,
    )


def case(rates: dict[int, float], full: int = 16, label: str = "", **more: Any) -> Case:
    """Each request takes one of `full` parts of the pool; beyond that they wait and a fifth is computed twice."""
    levels = [Level(n, rate, min(n, full), min(1.0, n / full), n > full, (rate,)) for n, rate in rates.items()]
    figures = [
        point(n, rate, 0.4 * (n > full), 0.2 * (n > full), ms=50 if n <= full else 400) for n, rate in rates.items()
    ]
    plain: dict[str, Any] = {"model": "m", "kv_bytes_per_token": 1024, "kv_tokens": 4096, "ranks": 1} | more
    return Case(label, "requests at once", saturation(levels), figures, **plain)


def said(cases: list[Case], role: str) -> list[Advice]:
    return [each for each in advice(cases) if each.role == role]


def test_hold_concurrency_where_throughput_falls_behind() -> None:
    (hold,) = (each for each in said([case(FALLS)], "architect") if "Hold" in each.text)
    assert hold.text == (
        "Hold concurrency at 16 (--max-num-seqs 16, or before the engine): at 32 throughput is 27% lower, and the "
        "median first token takes 8.0 times as long."
    )
    assert hold.rows == ("16 requests at once", "32 requests at once")


def test_a_plateau_brings_only_waiting() -> None:
    level = {1: 10, 2: 20, 4: 40, 8: 80, 16: 120, 24: 121, 32: 119, 48: 120}
    (told,) = said([case(level)], "architect")
    assert told.text.startswith("Beyond ")
    assert "no throughput, only waiting" in told.text


def test_a_curve_that_only_grows_advises_nothing() -> None:
    assert advice([case({1: 10, 2: 20, 4: 40, 8: 80}, full=100)]) == []


def test_headroom_only_where_a_level_close_below_was_measured() -> None:
    """With 14 of 16 parts in use nobody waited; with 8 nothing is known of the room that is needed."""
    near = {n: rate for n, rate in FALLS.items() if n not in (12, 16)} | {14: 110}
    (room,) = (each for each in said([case(near)], "architect") if "Leave" in each.text)
    assert room.text.startswith("Leave 12% of the KV pool free: with 14 requests at once")
    assert room.rows == ("14 requests at once", "24 requests at once")
    far = {n: rate for n, rate in FALLS.items() if n not in (12, 16)}
    assert not [each for each in advice([case(far)]) if "Leave" in each.text]


def test_tokens_computed_twice_are_what_a_second_tier_would_save() -> None:
    (tier,) = said([case(FALLS)], "hardware maker")
    assert "would save at most 20% of the scheduled tokens" in tier.text


def test_a_second_card_by_what_it_gave_at_both_ends() -> None:
    one = case(FALLS, label="tensor_parallel_size 1")
    two = case(
        {n: rate * (1.1 if n < 8 else 1.8) for n, rate in FALLS.items()}, label="tensor_parallel_size 2", ranks=2
    )
    (told,) = (each for each in said([one, two], "provider") if "ranks" in each.text)
    assert "give 1.10 times the throughput at 1 and 1.80 times at 32 requests at once: 0.90 times per card" in told.text
    assert len(told.rows) == 4
    other = case(FALLS, label="tensor_parallel_size 2, block_size 16", ranks=2)
    assert not [each for each in advice([one, other]) if "ranks" in each.text]


def test_workloads_that_saturate_far_apart_want_pools_of_their_own() -> None:
    short, long = (
        case(FALLS, label="input_len 64"),
        case({n / 4: r for n, r in FALLS.items()}, full=4, label="input_len 512"),
    )
    (pools,) = (each for each in said([short, long], "architect") if "pools of their own" in each.text)
    assert "growth ends at 4 for input_len 512 and at 16 for input_len 64" in pools.text


def test_models_by_what_a_token_of_kv_costs() -> None:
    lean = case(FALLS, model="gqa", kv_tokens=8192)
    heavy = case(FALLS, full=8, model="mha", kv_bytes_per_token=2048, kv_tokens=4096)
    (told,) = said([lean, heavy], "developer")
    assert "gqa takes 1 KiB and its pool of 8,192 tokens held 16 requests; mha takes 2 KiB" in told.text
    other_memory = case(FALLS, full=8, model="mha", kv_bytes_per_token=8192, kv_tokens=4096)
    assert said([lean, other_memory], "developer") == []
