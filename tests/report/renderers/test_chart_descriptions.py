"""Charts of the page: in words, the course of each line and the duration of each kind of span; and their patterns."""

from __future__ import annotations

import json
import re

from engine_probe.report.charts.model import Axis, Lines, Series, Spans
from engine_probe.report.renderers.html_document import asset, described
from page_kit.svg import BORDERS, PATTERNS
from tests.support.values import values


def test_lines_have_values_with_units() -> None:
    series = [
        Series("p50", [6.5, None, 53.2], style="both"),
        Series("p50, extremes", [1, 2, 3], style="shade", follows=True),
        Series("share", [None, 40.0, None], axis=1),
    ]
    axes = [Axis("TTFT", "ms"), Axis("share", "%")]
    chart = Lines("Time to first token", "", Axis("concurrent requests"), axes, [1, 4, 14], series)
    assert values(described(chart)) == ["50", "6.5", "1", "53.2", "14", "40", "4"]


def test_spans_have_the_seconds_of_each_kind() -> None:
    spans = [(0, 0, 0.0, 0.5), (0, 1, 0.5, 2.0), (1, 0, 1.0, 1.25)]
    chart = Spans("Requests", "", ["queued", "decode"], ["r0", "r1"], spans)
    assert values(described(chart)) == ["2", "0.75", "1.5"]


def test_the_page_has_the_patterns_of_lines_that_charts_without_a_script_have() -> None:
    (found,) = re.findall(r"PATTERNS = (\[null, .*?\]\]), BORDERS = (\[.*?\]);", asset("page.js"))
    patterns, borders = map(json.loads, found)
    assert [" ".join(map(str, pattern or ())) for pattern in patterns] == [*PATTERNS]
    assert borders == [*BORDERS]
