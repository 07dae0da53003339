"""Durations in text."""

from __future__ import annotations

import pytest

from engine_probe.text_format import duration


@pytest.mark.parametrize(
    ("ns", "text"),
    [(None, "-"), (1_234, "1.23 µs"), (12_345_678, "12.3 ms"), (123_456_789, "123 ms"), (1.5e9, "1.50 s")],
)
def test_three_figures_and_a_unit(ns: float | None, text: str) -> None:
    assert duration(ns) == text
