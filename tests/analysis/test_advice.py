"""Advice follows from rows that show it, and is silent where they do not."""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest

from engine_probe.analysis.advice import advice
from engine_probe.analysis.advice.curve_case import Advice, Case, KvPool
from engine_probe.analysis.curve.saturation import Level, Saturation, saturation
from engine_probe.analysis.run.prefix_cache import PrefixCache
from engine_probe.analysis.step.losses import Composition
from tests.support.values import has_values, values

FALLS = {1: 10, 2: 20, 4: 40, 8: 80, 12: 100, 16: 120, 24: 90, 32: 88}


def point(load: float, rate: float, waits: float, twice: float, main: str = "model", ms: float = 50) -> Any:
    """What the rules look at of a point."""
    return SimpleNamespace(
        load=load,
        kv_share=waits,
        limits=SimpleNamespace(main=main, shares={main: 0.8}),
        composition=None,
        summary=SimpleNamespace(
            output_tokens_per_s=rate,
            seconds=10.0,
            preemptions=int(twice > 0),
            recomputed_share=twice,
            prefix_cache=None,
        ),
        percentile_ns=lambda latency, percent: ms * 1e6,
    )


def case(rates: dict[int, float], full: int = 16, settings: dict[str, Any] | None = None, **more: Any) -> Case:
    """Each request takes one of `full` parts of the pool; beyond that they wait and a fifth is recomputed."""
    levels = [Level(n, rate, min(n, full), min(1.0, n / full), n > full, (rate,)) for n, rate in rates.items()]
    figures = [
        point(n, rate, 0.4 * (n > full), 0.2 * (n > full), ms=50 if n <= full else 400) for n, rate in rates.items()
    ]
    plain: dict[str, Any] = {"model": "m", "pool": pool(4096), "ranks": 1} | more
    return Case(settings or {}, "concurrent requests", saturated(tuple(levels)), figures, **plain)


@cache  # most tests have the same few curves
def saturated(levels: tuple[Level, ...]) -> Saturation:
    return saturation(levels)


def pool(tokens: int, heads: int = 2) -> KvPool:
    """Blocks of 16 tokens; of two heads 1 KiB a token: 2 x 4 layers x 2 KV heads x 32 x 2 bytes."""
    return KvPool(tokens // 16, 16, 16 * 512 * heads, 4, heads, 32)


def with_cache(made: Case, kept: int, shares: tuple[float, float] = (0.8, 0.3)) -> Case:
    """Prompts of 1,000 tokens of 2,000 scheduled; up to `kept` at once more of them are found than beyond."""
    for each in made.figures:
        share = shares[each.load > kept]
        each.summary.prefix_cache = PrefixCache(1000, int(1000 * share), 2000, 1.0)
    return made


def said(cases: list[Case], role: str) -> list[Advice]:
    return [each for each in advice(cases) if each.role == role]


def test_limit_concurrency_where_throughput_falls_behind() -> None:
    (limit,) = (each for each in said([case(FALLS)], "architect") if "Limit concurrency" in each.text)
    assert values(limit.text) == ["16", "16", "32", "27%", "8.0"]
    assert limit.rows == ("16 concurrent requests", "32 concurrent requests")


def test_a_plateau_brings_only_waiting() -> None:
    """Without the level of 12 a higher peak between 8 and 16 is likely enough for no advice."""
    level = {1: 10, 2: 20, 4: 40, 8: 80, 12: 119, 16: 120, 24: 121, 32: 119, 48: 120}
    (told,) = (each for each in said([case(level)], "architect") if "Beyond" in each.text)
    assert told.text.startswith("Beyond concurrency 12 ")
    assert "throughput no longer grows; waiting time grows" in told.text


def test_a_curve_that_only_grows_advises_nothing() -> None:
    assert advice([case({1: 10, 2: 20, 4: 40, 8: 80}, full=100)]) == []


def test_headroom_only_where_a_level_close_below_was_measured() -> None:
    """With 14 of 16 parts in use no request waited; with 8 nothing is known of the room that is needed."""
    near = {n: rate for n, rate in FALLS.items() if n not in (12, 16)} | {14: 110}
    (room,) = (each for each in said([case(near)], "architect") if "Leave" in each.text)
    assert has_values(room.text, "12%", "14")
    assert room.rows == ("14 concurrent requests", "24 concurrent requests")
    far = {n: rate for n, rate in FALLS.items() if n not in (12, 16)}
    assert not [each for each in advice([case(far)]) if "Leave" in each.text]


def test_tokens_computed_twice_are_what_a_second_tier_would_save() -> None:
    (tier,) = said([case(FALLS)], "hardware maker")
    assert has_values(tier.text, "20%")


def test_a_second_card_by_what_it_gave_at_both_ends() -> None:
    one = case(FALLS, settings={"tensor_parallel_size": 1})
    two = case(
        {n: rate * (1.1 if n < 8 else 1.8) for n, rate in FALLS.items()}, settings={"tensor_parallel_size": 2}, ranks=2
    )
    (told,) = (each for each in said([one, two], "provider") if "ranks" in each.text)
    assert has_values(told.text, "1.10", "1", "1.80", "32", "0.90")
    assert len(told.rows) == 4
    other = case(FALLS, settings={"tensor_parallel_size": 2, "block_size": 16}, ranks=2)
    assert not [each for each in advice([one, other]) if "ranks" in each.text]


def test_workloads_that_saturate_far_apart_want_pools_of_their_own() -> None:
    short, long = (
        case(FALLS, settings={"input_len": 64}),
        case({n / 4: r for n, r in FALLS.items()}, full=4, settings={"input_len": 512}),
    )
    (pools,) = (each for each in said([short, long], "architect") if "separate engines" in each.text)
    assert has_values(pools.text, "4", "512", "16", "64")


def test_models_by_what_a_token_of_kv_costs() -> None:
    lean = case(FALLS, model="gqa", pool=pool(8192))
    heavy = case(FALLS, full=8, model="mha", pool=pool(4096, heads=4))
    (told,) = (each for each in said([lean, heavy], "developer") if "Choose models" in each.text)
    assert has_values(told.text, "1", "8,192", "16", "2")
    other_memory = case(FALLS, full=8, model="mha", pool=pool(4096, heads=16))
    assert not [each for each in said([lean, other_memory], "developer") if "Choose models" in each.text]


def test_a_full_pool_makes_kv_the_developers_measure() -> None:
    """256 blocks are full with 16: 16 each. A derivation that does not come out at whole bytes is left away."""
    (told,) = said([case(FALLS)], "developer")
    assert has_values(told.text, "16", "256", "16")
    assert values(told.text.partition(" = ")[2])[:5] == ["2", "4", "2", "32", "2"]
    (other,) = said([case(FALLS, pool=KvPool(256, 16, 16 * 1000, 4, 2, 32))], "developer")
    assert " = " not in other.text
    assert said([case({1: 10, 2: 20, 4: 40, 8: 80}, full=100)], "developer") == []


def test_a_pool_for_all_is_derived_from_what_each_took() -> None:
    """32 times 16 blocks of 16 KiB."""
    (told,) = (each for each in said([case(FALLS)], "architect") if each.text.startswith("For concurrency 32"))
    assert has_values(told.text, "512", "8", "16", "16", "256")


def test_repeats_show_a_fall_that_the_lines_are_not_sure_of() -> None:
    """Two repeats of each level, 2 % apart: 10 % less is no chance, 1 % less is."""
    levels = {1: 10.0, 2: 20.0, 4: 40.0, 8: 80.0, 10: 100.0, 16: 100.5, 24: 100.0, 32: 90.0}
    found = saturation([Level(n, r, min(n, 8), 0.5, False, (r * 0.99, r * 1.01)) for n, r in levels.items()])
    figures = [point(n, r, 0, 0, ms=50 * n) for n, r in levels.items()]
    made = Case({}, "concurrent requests", found, figures, "m", pool(4096), 1)
    (limit,) = said([made], "architect")
    assert has_values(limit.text, "16", "16", "32", "10%")


@pytest.mark.parametrize(("scatter", "told"), [(0.01, True), (0.2, False)])
def test_that_nothing_is_gained_takes_repeats_that_could_show_it(scatter: float, told: bool) -> None:
    levels = {1: 10.0, 2: 20.0, 4: 40.0, 8: 80.0, 16: 80.5, 32: 80.2}
    repeats = {n: (r * (1 - scatter), r * (1 + scatter)) for n, r in levels.items()}
    found = saturation([Level(n, r, min(n, 8), 0.5, False, repeats[n]) for n, r in levels.items()])
    figures = [point(n, r, 0, 0, ms=50 * n) for n, r in levels.items()]
    made = Case({}, "concurrent requests", found, figures, "m", pool(4096), 1)
    texts = [each.text for each in said([made], "architect")]
    assert any(text.startswith("Beyond concurrency 8 throughput no longer grows (") for text in texts) == told


def test_histories_that_a_full_pool_forgets_are_told_to_three_roles() -> None:
    """From 80 % to 30 % of 1,000 prompt tokens: 500 of 2,000 scheduled, 500 KiB of KV in 10 s."""
    made = [with_cache(case(FALLS), 16)]
    (limit,) = (each for each in said(made, "architect") if "Limit concurrency" in each.text)
    assert has_values(limit.text, "16", "32", "30%")
    assert has_values(limit.text, "25%", "27%")
    assert any("Route a conversation back" in each.text for each in said(made, "provider"))
    (tier,) = (each for each in said(made, "hardware maker") if "waiting conversations" in each.text)
    assert has_values(tier.text, "25%")
    assert "500 prompt tokens a run" in tier.text


def test_prompts_that_are_found_are_the_developers_to_keep() -> None:
    same = with_cache(case(FALLS), 16, (0.8, 0.8))
    assert any(has_values(each.text, "80%") for each in said([same], "developer"))
    assert not any("conversation" in each.text for each in advice([same]))


def test_steps_that_carry_prompts_hold_answers_up() -> None:
    def steps(both: int) -> Composition:
        kinds = {"prefill": 0, "decode": 100, "both": both}
        shares, means = {"prefill": 0.0, "decode": 0.6, "both": 0.4}, {"prefill": 0.0, "decode": 10.0, "both": 30.0}
        return Composition({}, kinds, shares, means, 1, 1)

    for both, told in ((40, True), (10, False)):
        made: Any = case(FALLS)
        for each in made.figures:
            each.composition = steps(both)
        assert any("take 3.0 times as long" in each.text for each in said([made], "hardware maker")) == told
