"""What a chart shows in words: pages carry them for readers who hear them read aloud."""

from __future__ import annotations

from engine_probe.report.charts.model import Chart, Spans
from page_kit.chart_words import chart_words, line_words, number


def described(chart: Chart) -> str:
    """Say what each line does, or how long each kind of span lasts."""
    if isinstance(chart, Spans):
        return span_words(chart)
    lines = (line for line in chart.series if not line.follows)
    told = []
    for line in lines:
        axis, known = chart.y[line.axis], zip(chart.xs, line.values, strict=True)
        points = [(x, y) for x, y in known if x is not None and y is not None]
        told.append(line_words(line.label, points, chart.x.unit or chart.x.label, axis.unit))
    return chart_words(chart.title, told)


def span_words(chart: Spans) -> str:
    seconds = [0.0] * len(chart.kinds)
    for _, kind, begin, end in chart.spans:
        seconds[kind] += end - begin
    rows = f" in {len(chart.rows):,} rows" if len(chart.rows) > 1 else ""
    lasted = (f"{name} {number(total)} s" for name, total in zip(chart.kinds, seconds, strict=True))
    return chart_words(chart.title, [f"Seconds{rows}: {', '.join(lasted)}"])
