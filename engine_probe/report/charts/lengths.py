"""Latencies and rates over the length of prompts and answers, where it differs between the points of a sweep."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from engine_probe.analysis.curve.curve_settings import curve_name
from engine_probe.analysis.curve.levels import PointFigures
from engine_probe.analysis.statistics.level_noise import in_rounds
from engine_probe.analysis.statistics.polynomial_fit import LineOrParabola, line_or_parabola
from engine_probe.recordings.curve import Curve
from engine_probe.report.charts.level_means import Value, over_repeats
from engine_probe.report.charts.model import Axis, Lines, Series, numbers, of_levels
from engine_probe.workload.load import level_words

LEAST_RATIO = 1.2  # longest to shortest mean length; smaller differences are chance
MS, PER_S = "ms", "tokens/s"
LARGEST_COLOUR, FIT_COLOUR = 2, 5


@dataclass(frozen=True)
class LengthAxis:
    """Prompts or answers: their mean length at a point, and the setting that varies it."""

    name: str
    setting: str
    length: Callable[[PointFigures], float]


@dataclass(frozen=True)
class LengthFigure:
    name: str
    meaning: str
    unit: str
    value: Value
    formula: str


def median_ms(point: PointFigures, latency: str) -> float | None:
    ns = point.percentile_ns(latency, 50)
    return None if ns is None else ns / 1e6


def times(name: str, meaning: str) -> LengthFigure:
    return LengthFigure(name, meaning, MS, partial(median_ms, latency=name), f"The median {name} of each point")


PROMPT = LengthAxis("prompt", "input_len", lambda point: point.summary.tokens_per_prompt or 0.0)
ANSWER = LengthAxis("answer", "output_len", lambda point: point.summary.tokens_per_answer or 0.0)
TTFT, TPOT, E2EL = (
    times("TTFT", "Time to first token"),
    times("TPOT", "Time per output token"),
    times("E2EL", "End-to-end latency"),
)
PREFILL_RATE = LengthFigure(
    "prefill throughput",
    "Prefill throughput",
    PER_S,
    lambda point: point.summary.prefill_tokens_per_s,
    "Prompt tokens computed / time from the first step to the first token, of the median request",
)
DECODE_RATE = LengthFigure(
    "decode rate",
    "Decode rate",
    PER_S,
    lambda point: point.summary.tokens_per_s_per_user,
    "Tokens after the first / time from the first token to the last, of the median request (1 / TPOT)",
)
CHARTS = (
    (PROMPT, TTFT),
    *((PROMPT, measure) for measure in (PREFILL_RATE, TPOT, DECODE_RATE)),
    *((ANSWER, measure) for measure in (TPOT, DECODE_RATE, PREFILL_RATE, E2EL)),
)

FITTED = ((PROMPT, TTFT), (ANSWER, TPOT), (ANSWER, E2EL))


@dataclass(frozen=True)
class OverLength:
    """A figure of points that differ in the length of their prompts or answers alone, at their lowest load."""

    side: LengthAxis
    measure: LengthFigure
    label: str  # the other settings in which these points differ from those of other lines
    load: float
    unit: str  # of the load
    points: tuple[PointFigures, ...]

    @property
    def by_length(self) -> dict[float, list[float | None]]:
        """Return the repeats at each length."""
        found: dict[float, list[float | None]] = {}
        for point in sorted(self.points, key=self.side.length):
            found.setdefault(self.side.length(point), []).append(self.measure.value(point))
        return found

    @property
    def largest_ms(self) -> dict[float, float]:
        """Return the largest latency at each length; empty if each is of a single request."""
        found: dict[float, float] = {}
        for point in self.points:
            latency = next(each for each in point.summary.latencies if each.name == self.measure.name)
            if latency.largest_ms is not None:
                length = self.side.length(point)
                found[length] = max(found.get(length, 0.0), latency.largest_ms)
        several = any(point.summary.sequences_answered > 1 for point in self.points)
        return found if several or len(found) < len(self.points) else {}

    @property
    def in_rounds(self) -> bool:
        return in_rounds((self.side.length(point), point.started_ns) for point in self.points)

    @property
    def fit(self) -> LineOrParabola | None:
        """Return the line and the parabola through all points. None for a rate, and with too few lengths."""
        pairs = [(x, y) for x, ys in self.by_length.items() for y in ys if y is not None]
        return fitted(pairs) if self.measure.unit == MS else None

    @property
    def largest_fit(self) -> LineOrParabola | None:
        """Return the same through the largest latency at each length."""
        return fitted(list(self.largest_ms.items()))


def fitted(pairs: Sequence[tuple[float, float]]) -> LineOrParabola | None:
    if len({ms for _, ms in pairs}) < 2:
        return None
    return line_or_parabola([length for length, _ in pairs], [ms for _, ms in pairs])


def over_lengths(curves: Sequence[Curve], side: LengthAxis, measure: LengthFigure) -> list[OverLength]:
    """Return a line for each group of points that differ in this length alone; none if lengths do not differ."""
    groups: dict[str, tuple[dict[str, Any], str, list[PointFigures]]] = {}
    for curve in curves:
        others = {name: value for name, value in curve.settings.items() if name != side.setting}
        alike = groups.setdefault(json.dumps([others, curve.unit]), (others, curve.unit, []))
        alike[2].extend(point for point in curve.figures if point.summary.prompts_answered)
    found = []
    for others, unit, points in groups.values():
        lowest = min((point.load for point in points), default=0.0)
        alone = tuple(point for point in points if point.load == lowest and measure.value(point) is not None)
        lengths = sorted(map(side.length, alone))
        if alone and lengths[-1] >= LEAST_RATIO * lengths[0] > 0:
            found.append(OverLength(side, measure, curve_name(others), lowest, unit, alone))
    return found


def fitted_lines(curves: Sequence[Curve]) -> list[OverLength]:
    """Return the latencies that a length is known to change, where enough lengths were measured for a fit."""
    lines = (line for side, measure in FITTED for line in over_lengths(curves, side, measure))
    return [line for line in lines if line.fit is not None]


def length_charts(curves: Sequence[Curve]) -> Iterator[Lines]:
    for side, measure in CHARTS:
        if lines := over_lengths(curves, side, measure):
            yield length_chart(side, measure, lines)


def length_chart(side: LengthAxis, measure: LengthFigure, lines: Sequence[OverLength]) -> Lines:
    fits = {line.label: line.fit for line in lines}
    start = {0.0} if any(fits.values()) else set()
    xs = sorted(start.union(*(line.by_length for line in lines)))
    series = []
    for number, line in enumerate(lines):
        name = "median" if measure.unit == MS else measure.name
        values = over_repeats(xs, line.by_length, apart=line.in_rounds)
        series.append(Series(named(line, name), **values, style="dots", colour=number))
        if (fit := fits[line.label]) is not None:
            longest = max(line.by_length)
            drawn = numbers([fit.best.at(x) if x <= longest else None for x in xs])
            colour = number if len(lines) > 1 else FIT_COLOUR
            series.append(Series(named(line, form_name(fit)), drawn, style="dashed", colour=colour))
        if measure is TTFT and len(lines) == 1:
            series += largest_series(line, xs)
    note = f"{measure.formula}, over the mean length of its {side.name}s{at_load(lines)}."
    axis = Axis(measure.name, measure.unit)
    title = f"{measure.meaning} by {side.name} length"
    return Lines(title, note, Axis(side.name, "tokens", whole=True), [axis], numbers(xs), series)


def largest_series(line: OverLength, xs: Sequence[float]) -> list[Series]:
    """Return the largest latency at each length with its fit. Empty if there was one request at each."""
    if not (largest := line.largest_ms):
        return []
    found = [Series("largest", of_levels(xs, largest.items()), style="dots", colour=LARGEST_COLOUR)]
    if (fit := line.largest_fit) is not None:
        drawn = numbers([fit.best.at(x) for x in xs])
        found.append(Series(f"largest, {form_name(fit)}", drawn, style="dashed", colour=LARGEST_COLOUR))
    return found


def form_name(fit: LineOrParabola) -> str:
    return "parabola" if fit.bends else "straight line"


def named(line: OverLength, what: str) -> str:
    return f"{what} ({line.label})" if line.label else what


def at_load(lines: Sequence[OverLength]) -> str:
    """Name the load if all lines have the same."""
    loads = {(line.load, line.unit) for line in lines}
    ((load, unit),) = loads if len(loads) == 1 else ((None, ""),)
    return "" if load is None else f", at {level_words(load, unit)}"
