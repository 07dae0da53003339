"""The effect of raising a limit: curves made by hand, of which one setting differs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from engine_probe.analysis.curve.levels import PointFigures
from engine_probe.analysis.curve.raised_limits import MeasuredCurve, raised_limits

UNIT = "concurrent requests"


def point(load: float, rate: float, **waited: float) -> PointFigures:
    """A point of that throughput, in which requests waited for limits in these shares of the busy time."""
    limits = SimpleNamespace(bound=lambda name: waited.get(name.replace(" ", "_"), 0.0))
    return cast(
        PointFigures, SimpleNamespace(load=load, summary=SimpleNamespace(output_tokens_per_s=rate), limits=limits)
    )


def curve(*points: PointFigures, **settings: Any) -> MeasuredCurve:
    return MeasuredCurve(settings, UNIT, points)


def test_the_load_that_waited_longest_is_compared_with_the_next_higher_value() -> None:
    eight = curve(point(8, 100, max_num_seqs=0.1), point(16, 110, max_num_seqs=0.8), max_num_seqs=8)
    sixteen = curve(point(8, 100), point(16, 165, max_num_seqs=0.2), max_num_seqs=16)
    more = curve(point(8, 100), point(16, 176), max_num_seqs=32)
    first, second = raised_limits([more, eight, sixteen])
    found = {(each.low, each.high): each for each in (first, second)}
    assert found[8, 16].load == 16
    assert found[8, 16].relative == pytest.approx(0.5)
    assert found[8, 16].waited == 0.8
    assert found[16, 32].relative == pytest.approx(176 / 165 - 1)


def test_two_settings_that_differ_are_no_neighbours() -> None:
    small = curve(point(8, 100, KV_blocks=0.9), num_gpu_blocks_override=32, max_num_seqs=8)
    large = curve(point(8, 150), num_gpu_blocks_override=64, max_num_seqs=16)
    assert list(raised_limits([small, large])) == []


def test_nothing_is_said_where_nobody_waited_for_it() -> None:
    small = curve(point(8, 100, token_budget=0.04), max_num_batched_tokens=64)
    large = curve(point(8, 150), max_num_batched_tokens=128)
    assert list(raised_limits([small, large])) == []


def test_the_least_of_the_repeats_waited_and_their_interval_is_welchs() -> None:
    """Means of 100 and 120, each of two runs 2 apart: the error is the root of 2, with two degrees of freedom."""
    low = curve(point(8, 99, KV_blocks=0.9), point(8, 101, KV_blocks=0.5), kv_cache_memory_bytes=1)
    high = curve(point(8, 119), point(8, 121), kv_cache_memory_bytes=2)
    (found,) = raised_limits([low, high])
    assert found.waited == 0.5
    assert found.relative == pytest.approx(0.2)
    assert found.interval == pytest.approx((0.2 - 4.3027 * 2**0.5 / 100, 0.2 + 4.3027 * 2**0.5 / 100), rel=1e-4)


def test_one_run_on_a_side_has_no_interval() -> None:
    low, high = curve(point(8, 100, max_num_seqs=1.0), max_num_seqs=4), curve(point(8, 130), max_num_seqs=8)
    (found,) = raised_limits([low, high])
    assert found.interval is None


def test_a_setting_that_is_unset_on_one_side_is_not_raised() -> None:
    low, high = curve(point(8, 100, max_num_seqs=1.0), max_num_seqs=None), curve(point(8, 130), max_num_seqs=8)
    assert list(raised_limits([low, high])) == []
