"""The charts of a sweep: what happens as more requests are in flight."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np

from engine_probe.analysis.curve.levels import PointFigures
from engine_probe.analysis.run.latency_figures import PERCENTILES
from engine_probe.analysis.run.timeline import Pace, Reals, pace
from engine_probe.recordings.curve import Curve
from engine_probe.recordings.sweep import Swept
from engine_probe.recordings.sweep_point import SweptPoint
from engine_probe.report.charts.lengths import length_charts
from engine_probe.report.charts.levels import over_loads
from engine_probe.report.charts.model import Axis, Chart, Lines, Region, Series, load_axis, moments, numbers
from engine_probe.report.sections.sweep.prefix_cache import cache_chart

REGION_NAMES = {"spare": "A spare", "shared": "B shared", "plateau": "B+ full", "overload": "C overload"}
FORMS = {"line": "broken line", "curve": "bending curve"}
COMMON_MOMENTS = 240
PARTS_PER_LEVEL = 60
OUTPUT = Axis("output", "tokens/s")
KNOWN_WITHIN = 0.1  # of the rate: beside the whole run a wider interval says nothing
INTERVALS = (
    " Over repeats the mean, and its interval with 95 % (Student's t, the relative spread of all levels together)."
)
AFTER_WARM_UP = f" After warm-up only for points where half the 95 % interval is below {KNOWN_WITHIN:.0%} of the rate."
WHISKERS = f"{INTERVALS} Rings are the repeats themselves."


def throughput_charts(drawn: Sequence[Curve]) -> Iterator[Lines]:
    for xs, alike in by_unit(drawn):
        yield throughput(xs, alike)


def by_unit(drawn: Sequence[Curve]) -> Iterator[tuple[list[float], list[Curve]]]:
    """Loads of one kind, where there are several to be compared, and the curves over them."""
    for unit in dict.fromkeys(curve.unit for curve in drawn):
        alike = [curve for curve in drawn if curve.unit == unit]
        xs = sorted({each.load for curve in alike for each in curve.figures})
        if len(xs) > 1:
            yield xs, alike


def sweep_charts(swept: Swept, drawn: Sequence[Curve]) -> Iterator[Chart]:
    """All but the first, which stands above the levels."""
    for xs, alike in by_unit(drawn):
        yield occupancy(xs, alike)
        yield latency(xs, alike, "TTFT", "time to first token")
        yield latency(xs, alike, "TPOT", "time per output token")
        yield from preempted(xs, alike)
        yield from cache_chart(xs, alike)
    yield from length_charts([each for curve in drawn for each in curve.figures])
    whole = [point for point in swept.points if point.run and point.analysis]
    yield from over_time(whole)


def throughput(xs: Sequence[float], drawn: Sequence[Curve]) -> Lines:
    """With the regions where there is one curve to have them."""
    series = []
    for number, curve in enumerate(drawn):
        made = over_loads(xs, curve.figures, lambda each: each.summary.output_tokens_per_s)
        series.append(Series(curve.named("output tokens/s"), **made, style="both", colour=number))
    note = f"Output tokens/s over the whole run of each point.{WHISKERS if any(line.high for line in series) else ''}"
    whole_run = len(series)
    for number, curve in enumerate(drawn):
        later = over_loads(xs, curve.figures, rate_after_warm_up)["values"]
        if any(value is not None for value in later):
            colour = number if len(drawn) > 1 else 2
            series.append(Series(curve.named("after warm-up"), later, style="dots", colour=colour))
    note += AFTER_WARM_UP if len(series) > whole_run else ""
    shaded = regions(drawn[0]) if len(drawn) == 1 else []
    if shaded and (line := drawn[0].found.growth):
        form = FORMS[line.line.form]
        series.append(Series(f"{form} fitted", numbers([line.line.rate(load) for load in xs]), 0, "dashed", 5))
        note += f" The {form} misses them by {line.relative_error:.1%} (root mean square)."
    return Lines("Throughput and its regions", note, load_axis(drawn[0].unit), [OUTPUT], list(xs), series, shaded)


def rate_after_warm_up(point: PointFigures) -> float | None:
    """Without warm-up and draining, where the run has such a part and its rate is known well enough to be one dot."""
    later = point.summary.after_warm_up
    if later is None or later.half_width is None:
        return None
    known = later.half_width < KNOWN_WITHIN * later.output_tokens_per_s
    return later.output_tokens_per_s if known else None


def regions(curve: Curve) -> list[Region]:
    """Where one part of the curve ends and the next begins; none where it has only one."""
    line = curve.found.growth
    if line is None or len(line.shape) < 2:
        return []
    ends: list[float | None] = [None, *line.breaks, None]
    return [
        Region(REGION_NAMES[kind], kind, begin, end)
        for kind, begin, end in zip(line.shape, ends, ends[1:], strict=False)
    ]


def occupancy(xs: Sequence[float], drawn: Sequence[Curve]) -> Lines:
    series = []
    for number, curve in enumerate(drawn):
        peak = over_loads(xs, curve.figures, lambda each: each.summary.peak_kv_share, 100, most=1)
        mean = over_loads(xs, curve.figures, lambda each: each.summary.mean_kv_share, 100, most=1)
        series.append(Series(curve.named("at most"), **peak, style="both", colour=number))
        series.append(Series(curve.named("on average"), **mean, style="dashed", colour=number))
    note = "Share of the KV blocks in use, over the run of each point."
    return Lines("KV occupancy", note, load_axis(drawn[0].unit), [Axis("KV blocks in use", "%")], list(xs), series)


def latency(xs: Sequence[float], drawn: Sequence[Curve], name: str, meaning: str) -> Lines:
    series = []
    for number, curve in enumerate(drawn):
        for percent, style in zip(PERCENTILES, ("both", "dashed", "dots"), strict=True):
            line = over_loads(
                xs, curve.figures, partial(PointFigures.percentile_ns, latency=name, percent=percent), 1e-6
            )
            if any(value is not None for value in line["values"]):
                colour = number if len(drawn) > 1 else PERCENTILES.index(percent)
                series.append(Series(curve.named(f"p{percent}"), **line, style=style, colour=colour))
    note = f"{name}, {meaning}; a percentile only where the point has requests enough for one."
    note += WHISKERS if any(line.high for line in series) else ""
    return Lines(
        f"{meaning[:1].upper()}{meaning[1:]}", note, load_axis(drawn[0].unit), [Axis(name, "ms")], list(xs), series
    )


def preempted(xs: Sequence[float], drawn: Sequence[Curve]) -> Iterator[Lines]:
    """Where the pool cost anything at all."""
    series = []
    for number, curve in enumerate(drawn):
        share = over_loads(xs, curve.figures, lambda each: each.summary.recomputed_share, 100, most=1)
        waited = over_loads(xs, curve.figures, lambda each: each.kv_share, 100, most=1)
        series.append(Series(curve.named("tokens computed twice"), **share, style="both", colour=number))
        series.append(Series(curve.named("time short of KV blocks"), **waited, style="dashed", colour=number))
    if not any(value for line in series for value in line.values):
        return
    note = "Of all scheduled tokens, and of the busy time."
    yield Lines("What the full pool costs", note, load_axis(drawn[0].unit), [Axis("share", "%")], list(xs), series)


def over_time(points: Sequence[SweptPoint]) -> Iterator[Chart]:
    """Throughput of every level over time, and against how full the pool was; of repeats each."""
    paces: dict[str, list[Pace]] = {}
    for point in sorted(points, key=lambda point: point.load):
        assert point.run is not None
        if drawn := pace(point.run.iterations, point.run.facts["kv"]["blocks"], PARTS_PER_LEVEL):
            paces.setdefault(point.name, []).append(drawn)
    if not paces:
        return
    xs = np.linspace(0, max(each.seconds[-1] for same in paces.values() for each in same), COMMON_MOMENTS)
    repeats = " Repeats of a level have its colour." if any(len(same) > 1 for same in paces.values()) else ""
    yield Lines(
        "Throughput over time, by level",
        f"Each point from its first step on, in sixtieths of its run.{repeats}",
        Axis("time", "s"),
        [OUTPUT],
        moments(xs),
        [
            Series(label, numbers(over(xs, each)), shade=place, follows=number > 0)
            for label, place, same in ordered(paces)
            for number, each in enumerate(same)
        ],
    )
    yield Lines(
        "Throughput against KV occupancy",
        "One dot for each sixtieth of a run.",
        Axis("KV blocks in use", "%"),
        [OUTPUT],
        numbers(np.sort(joined(each.kv_share for same in paces.values() for each in same)) * 100),
        list(dots_by_share(paces)),
    )


def over(xs: Reals, drawn: Pace) -> Reals:
    return np.interp(xs, drawn.seconds, drawn.output_tokens_per_s, right=np.nan)


def ordered(paces: Mapping[str, list[Pace]]) -> Iterator[tuple[str, float, list[Pace]]]:
    """Each level with its place among all, 0 to 1."""
    for number, (label, same) in enumerate(paces.items()):
        yield label, number / max(1, len(paces) - 1), same


def dots_by_share(paces: Mapping[str, list[Pace]]) -> Iterator[Series]:
    """Each level at its places on the x that all have in common, in order of how full the pool was."""
    owner = np.repeat(np.arange(len(paces)), [sum(len(each.kv_share) for each in same) for same in paces.values()])
    rate = joined(each.output_tokens_per_s for same in paces.values() for each in same)
    order = np.argsort(joined(each.kv_share for same in paces.values() for each in same), kind="stable")
    for number, (label, place, _) in enumerate(ordered(paces)):
        mine = np.where(owner[order] == number, rate[order], np.nan)
        yield Series(label, numbers(mine), style="dots", shade=place)


def joined(parts: Iterable[Reals]) -> Reals:
    return np.concatenate(list(parts))
