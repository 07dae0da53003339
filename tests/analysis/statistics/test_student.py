"""Intervals of shares, held against textbooks."""

from __future__ import annotations

import pytest

from engine_probe.analysis.statistics.student import summed_variance, wilson_interval


def test_the_interval_of_a_share_is_wilsons() -> None:
    """8 of 10: textbooks have 0.490 to 0.943."""
    assert wilson_interval(8, 10) == pytest.approx((0.490, 0.943), abs=5e-4)
    assert wilson_interval(10, 10) == pytest.approx((0.722, 1.0), abs=5e-4)


def test_two_equally_known_variances_have_the_freedom_of_both() -> None:
    assert summed_variance([(2.0, 5), (2.0, 5)]) == (4.0, 10.0)
    assert summed_variance([(0.0, 5), (0.0, 5)]) == (0.0, 1.0)
