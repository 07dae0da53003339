"""The time in which all engines run, and the tokens in it."""

from __future__ import annotations

import numpy as np
import pytest

from engine_probe.analysis.cluster.window import EngineTimes, common_window

MS = 1_000_000


def engine(begin: int, ends: list[int], held: tuple[int, int] | None = None) -> EngineTimes:
    """Return an engine that gives two tokens at the end of each step; times are in milliseconds."""
    span = None if held is None else (held[0] * MS, held[1] * MS)
    return EngineTimes((begin * MS, ends[-1] * MS), span, np.array(ends) * MS, np.full(len(ends), 2))


def test_it_counts_what_each_delivers_while_all_run() -> None:
    found = common_window([engine(0, [10, 20, 30, 40]), engine(15, [25, 35])])
    assert found is not None
    assert (found.begin_ns, found.end_ns) == (15 * MS, 35 * MS)
    assert found.tokens == (4, 4)
    assert found.output_tokens_per_s == pytest.approx(8 / 0.020)
    assert found.share == 20 / 40
    assert found.skew_ns == 15 * MS
    assert not found.held


def test_a_step_that_ends_with_the_window_counts_and_one_that_ends_at_its_begin_does_not() -> None:
    found = common_window([engine(0, [10, 20]), engine(10, [15, 20])])
    assert found is not None
    assert found.tokens == (2, 4)


def test_where_all_hold_their_load_only_that_time_counts() -> None:
    found = common_window([engine(0, [10, 20, 30, 40], (5, 30)), engine(0, [10, 20, 30, 40], (15, 40))])
    assert found is not None
    assert found.held
    assert (found.begin_ns, found.end_ns) == (15 * MS, 30 * MS)


@pytest.mark.parametrize("held", [None, (30, 40)], ids=["one does not hold it", "never at the same time"])
def test_otherwise_the_whole_time_counts(held: tuple[int, int] | None) -> None:
    found = common_window([engine(0, [10, 20, 30, 40], (0, 20)), engine(0, [10, 20, 30, 40], held)])
    assert found is not None
    assert not found.held
    assert found.seconds == pytest.approx(0.040)


def test_engines_one_after_the_other_have_no_common_time() -> None:
    assert common_window([engine(0, [10]), engine(10, [20])]) is None
