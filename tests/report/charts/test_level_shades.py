"""The levels of several curves in one chart have shades by which the curves are told apart."""

from __future__ import annotations

import pytest

from engine_probe.report.charts.sweep import shades_apart


def test_a_single_curve_has_all_shades() -> None:
    assert shades_apart({"1": 0, "2": 0, "4": 0}) == {"1": 0.0, "2": 0.5, "4": 1.0}
    assert shades_apart({"1": 0}) == {"1": 0.0}


def test_equal_loads_of_two_curves_lie_further_apart_than_the_levels_of_one() -> None:
    found = shades_apart({"1, TP 1": 0, "8, TP 1": 0, "1, TP 2": 1, "8, TP 2": 1})
    assert list(found.values()) == pytest.approx([0, 0.2, 0.8, 1])
