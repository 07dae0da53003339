"""Descriptions of charts in words, for screen readers."""

from engine_probe.report.charts.model import Chart, Spans
from page_kit.chart_words import chart_words, line_words, number


def described(chart: Chart) -> str:
    """Describe the course of each line, or how long each kind of span lasts."""
    if isinstance(chart, Spans):
        return span_words(chart)
    descriptions = []
    for line in chart.series:
        if not line.follows:
            pairs = zip(chart.xs, line.values, strict=True)
            points = [(x, y) for x, y in pairs if x is not None and y is not None]
            unit = chart.y[line.axis].unit
            descriptions.append(line_words(line.label, points, chart.x.unit or chart.x.label, unit))
    return chart_words(chart.title, descriptions)


def span_words(chart: Spans) -> str:
    seconds = [0.0] * len(chart.kinds)
    for _, kind, begin, end in chart.spans:
        seconds[kind] += end - begin
    rows = f" in {len(chart.rows):,} rows" if len(chart.rows) > 1 else ""
    totals = (f"{name} {number(total)} s" for name, total in zip(chart.kinds, seconds, strict=True))
    return chart_words(chart.title, [f"Seconds{rows}: {', '.join(totals)}"])
