"""A latency over a length: what is fixed, and what each token adds."""

from __future__ import annotations

import pytest

from engine_probe.analysis.statistics.linear_fit import linear_fit


def test_the_fixed_part_and_the_part_of_each_token() -> None:
    """5 ms, and 2 ms for each 1,000 tokens."""
    line = linear_fit([1000, 2000, 4000], [7, 9, 13])
    assert line is not None
    assert (line.intercept, line.slope, line.explained) == pytest.approx((5, 0.002, 1))
    assert line.at(8000) == pytest.approx(21)


def test_what_a_line_does_not_explain_is_said() -> None:
    line = linear_fit([1, 2, 3, 4], [1, -1, 1, -1])
    assert line is not None
    assert line.explained == pytest.approx(0.2)


@pytest.mark.parametrize(("lengths", "values"), [([1, 2], [1, 2]), ([1, 1, 2], [1, 2, 3]), ([1, 2, 3], [4, 4, 4])])
def test_too_little_is_no_line(lengths: list[float], values: list[float]) -> None:
    assert linear_fit(lengths, values) is None
