"""Published values are drawn beside measured ones, at loads of their own."""

from __future__ import annotations

from engine_probe.report.charts.model import Axis, Lines, Series
from engine_probe.report.charts.published import with_dots


def test_a_published_load_gets_a_place_and_each_measured_value_keeps_its_repeats() -> None:
    measured = Series("measured", [1.0, 4.0], low=[0.5, None], high=[1.5, None], each=[[0.9, 1.1], []])
    chart = with_dots(Lines("t", "", Axis("load"), [Axis("y")], [1, 8], [measured]), "published", {4.0: 3.0})
    line, dots = chart.series
    assert chart.xs == [1, 4, 8]
    assert (line.values, line.low, line.high) == ([1.0, None, 4.0], [0.5, None, None], [1.5, None, None])
    assert line.each == [[0.9, 1.1], [], []]
    assert dots.values == [None, 3.0, None]
