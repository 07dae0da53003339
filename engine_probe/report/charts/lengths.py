"""Latency over how long prompts and answers are, where the points of a sweep differ in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from engine_probe.analysis.curve.levels import PointFigures
from engine_probe.analysis.run.summary import Summary
from engine_probe.analysis.statistics.linear_fit import linear_fit
from engine_probe.report.charts.model import Axis, Lines, Series, numbers

APART = 1.2  # the longest over the shortest: with less between them chance alone drew them


@dataclass(frozen=True)
class OverLength:
    latency: str
    meaning: str
    of: str  # what is long
    tokens: Callable[[Summary], int]  # of answered requests in all


DRAWN = (
    OverLength("TTFT", "Time to first token", "prompt", lambda run: run.prompt_tokens),
    OverLength("TPOT", "Time per output token", "prompt", lambda run: run.prompt_tokens),
    OverLength("E2EL", "End-to-end latency", "answer", lambda run: run.answer_tokens),
)


def length_charts(figures: Sequence[PointFigures]) -> Iterator[Lines]:
    for drawn in DRAWN:
        known = [
            (drawn.tokens(each.summary) / each.summary.requests_answered, each.percentile_ns(drawn.latency, 50))
            for each in figures
            if each.summary.requests_answered
        ]
        told = sorted((tokens, ns / 1e6) for tokens, ns in known if ns is not None)
        if not told or told[-1][0] < APART * told[0][0]:
            continue
        lengths, ms = ([pair[side] for pair in told] for side in (0, 1))
        series = [Series("p50", numbers(ms), style="dots")]
        note = f"The median of each point, over the mean length of its {drawn.of}s."
        if line := linear_fit(lengths, ms):
            series.append(Series("straight line", numbers([line.at(x) for x in lengths]), style="dashed", colour=5))
            note += (
                f" By least squares {line.intercept:.3g} ms and {line.slope * 1000:.3g} ms for each 1,000 tokens; it "
                f"explains {line.explained:.1%} of how the points differ."
            )
        title = f"{drawn.meaning} by {drawn.of} length"
        yield Lines(
            title, note, Axis(drawn.of, "tokens", whole=True), [Axis(drawn.latency, "ms")], numbers(lengths), series
        )
