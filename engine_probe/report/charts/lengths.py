"""Latency over the length of prompts and answers, if it differs between the points of a sweep."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from engine_probe.analysis.curve.levels import PointFigures
from engine_probe.analysis.run.summary import Summary
from engine_probe.report.charts.model import Axis, Lines, Series, numbers

LEAST_RATIO = 1.2  # longest to shortest mean length; smaller differences are chance


@dataclass(frozen=True)
class LengthChart:
    latency: str
    meaning: str
    of: str  # prompt or answer
    tokens: Callable[[Summary], int]  # sum over the answered requests


CHARTS = (
    LengthChart("TTFT", "Time to first token", "prompt", lambda run: run.prompt_tokens),
    LengthChart("TPOT", "Time per output token", "prompt", lambda run: run.prompt_tokens),
    LengthChart("E2EL", "End-to-end latency", "answer", lambda run: run.answer_tokens),
)


def length_charts(figures: Sequence[PointFigures]) -> Iterator[Lines]:
    for chart in CHARTS:
        medians = [
            (chart.tokens(point.summary) / point.summary.requests_answered, point.percentile_ns(chart.latency, 50))
            for point in figures
            if point.summary.requests_answered
        ]
        pairs = sorted((tokens, ns / 1e6) for tokens, ns in medians if ns is not None)
        if not pairs or pairs[-1][0] < LEAST_RATIO * pairs[0][0]:
            continue
        lengths, ms = ([pair[side] for pair in pairs] for side in (0, 1))
        series = [Series("p50", numbers(ms), style="dots")]
        note = f"The median of each point, over the mean length of its {chart.of}s."
        if len(set(lengths)) > 2 and len(set(ms)) > 1:
            slope, intercept = np.polyfit(lengths, ms, 1)
            line = numbers(intercept + slope * np.array(lengths))
            series.append(Series("straight line", line, style="dashed", colour=5))
            note += (
                f" By least squares {intercept:.3g} ms and {slope * 1000:.3g} ms per 1,000 tokens; it explains "
                f"{np.corrcoef(lengths, ms)[0, 1] ** 2:.1%} of the differences between points."
            )
        title = f"{chart.meaning} by {chart.of} length"
        yield Lines(
            title, note, Axis(chart.of, "tokens", whole=True), [Axis(chart.latency, "ms")], numbers(lengths), series
        )
