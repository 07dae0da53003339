"""Few points for many steps, and no peak lost."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine_probe.analysis.run.timeline import highest_rate, pace, stretches, thinned

Make = Callable[..., pa.Table]


def test_few_steps_are_drawn_as_they_are() -> None:
    found = thinned(np.array([0.0, 1.0, 2.0]), {"kv": np.array([5, 6, 7])}, 10)
    assert (found.seconds.tolist(), found.columns["kv"].tolist(), found.steps_each) == ([0, 1, 2], [5, 6, 7], 1)


def test_least_and_most_of_each_bucket_in_their_order() -> None:
    found = thinned(np.arange(8.0), {"kv": np.array([1, 9, 2, 3, 8, 7, 0, 5])}, 4)
    assert found.columns["kv"].tolist() == [1, 9, 8, 0]
    assert found.seconds.tolist() == [0, 2, 4, 6]
    assert found.means["kv"].tolist() == [3.75, 3.75, 5, 5]
    assert found.steps_each == 4


@given(st.lists(st.integers(-1000, 1000), min_size=1, max_size=300), st.integers(2, 40))
def test_no_extreme_is_lost(values: list[int], points: int) -> None:
    found = thinned(np.arange(len(values), dtype=float), {"x": np.array(values)}, points)
    assert found.columns["x"].min() == min(values)
    assert found.columns["x"].max() == max(values)
    assert (np.diff(found.seconds) >= 0).all()
    assert len(found.seconds) <= max(points, len(values) if len(values) <= points else 0)


def test_the_pace_of_an_even_run(iterations: Make) -> None:
    """Two tokens each 10 ms are 200 tokens/s; 25 of 100 blocks, then 50."""
    found = pace(iterations(8, output_tokens=[2] * 8, kv_blocks_scheduled=[25] * 4 + [50] * 4), 100)
    assert found is not None
    assert found.output_tokens_per_s.tolist() == pytest.approx([200, 200])
    assert found.kv_share.tolist() == pytest.approx([0.25, 0.5])
    assert found.seconds.tolist() == pytest.approx([0.02, 0.06])
    assert pace(iterations(7), 100) is None


def test_steps_of_one_kind_are_one_stretch() -> None:
    starts = np.arange(6) * 10
    kinds = np.array([0, 0, 1, 1, 1, 0])
    assert stretches(kinds, starts, starts + 10, 10) == [(0, 0, 20), (1, 20, 50), (0, 50, 60)]
    assert stretches(kinds, starts, starts + 10, 2) == [(0, 0, 30), (1, 30, 60)]
    assert stretches(kinds[:0], starts[:0], starts[:0], 2) == []


MS = 1_000_000


@pytest.mark.parametrize(
    ("ends_ms", "tokens", "rate"),
    [
        ([100, 200, 300, 400], [10, 10, 10, 10], 100.0),
        ([100, 200, 300, 400], [0, 30, 10, 0], 200.0),
        ([300, 350, 400, 900], [3, 20, 20, 5], 205.0),  # 40 tokens in 100 ms, 1 in the 100 ms before them
        (
            [400, 410, 800],
            [8, 1, 8],
            (1 + 8 * 190 / 390) / 0.2,
        ),  # a step's end in the window counts its part, not all of its tokens
        ([200], [7], 35.0),
        ([199], [7], None),
    ],
)
def test_the_highest_rate_is_that_of_the_best_window(ends_ms: list[int], tokens: list[int], rate: float | None) -> None:
    begin = 5 * MS
    ends = np.array(ends_ms, dtype=np.int64) * MS + begin
    found = highest_rate(begin, ends, np.array(tokens, dtype=np.int64))
    assert found is None if rate is None else found == pytest.approx(rate)


@pytest.mark.lengthy
@given(st.lists(st.tuples(st.integers(1, 80), st.integers(0, 50)), min_size=30, max_size=60))
def test_no_window_has_a_higher_rate(steps: list[tuple[int, int]]) -> None:
    widths, tokens = (np.array(column, dtype=np.int64) for column in zip(*steps, strict=True))
    ends = np.cumsum(widths) * MS
    found = highest_rate(0, ends, tokens)
    if ends[-1] < 200 * MS:
        assert found is None
        return
    times, counts = np.r_[0, ends], np.r_[0, np.cumsum(tokens)]
    marks = np.linspace(0, ends[-1] - 200 * MS, 500)
    some = np.interp(marks + 200 * MS, times, counts) - np.interp(marks, times, counts)
    assert found is not None
    assert found >= some.max() * 5 - 1e-6
