"""Latency over length: what is fixed, and what each token adds."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from engine_probe.report.charts.lengths import length_charts
from engine_probe.report.charts.model import Lines


def ttft_chart(lengths: list[float], ms: list[float]) -> Lines:
    """Draw points of one request each, whose TTFT is its only latency."""

    def point(tokens: float, value: float) -> Any:
        summary = SimpleNamespace(requests_answered=1, prompt_tokens=tokens, answer_tokens=0)
        return SimpleNamespace(
            summary=summary, percentile_ns=lambda latency, percent: value * 1e6 if latency == "TTFT" else None
        )

    (chart,) = length_charts([point(*pair) for pair in zip(lengths, ms, strict=True)])
    return chart


def test_the_fixed_part_and_the_part_of_each_token() -> None:
    """5 ms, and 2 ms for each 1,000 tokens."""
    chart = ttft_chart([1000, 2000, 4000], [7, 9, 13])
    assert chart.series[1].values == [7, 9, 13]
    assert "5 ms and 2 ms per 1,000 tokens; it explains 100.0%" in chart.note


def test_what_a_line_does_not_explain_is_said() -> None:
    assert "it explains 20.0%" in ttft_chart([1, 2, 3, 4], [1, -1, 1, -1]).note


@pytest.mark.parametrize(("lengths", "values"), [([1, 2], [1, 2]), ([1, 1, 2], [1, 2, 3]), ([1, 2, 3], [4, 4, 4])])
def test_too_little_is_no_line(lengths: list[float], values: list[float]) -> None:
    assert len(ttft_chart(lengths, values).series) == 1
