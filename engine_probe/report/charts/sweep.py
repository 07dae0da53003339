"""The charts of a sweep: throughput, KV occupancy, latency and preemption over the load."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import numpy as np

from engine_probe.analysis.curve.levels import PointFigures, while_held, whole_run_rate
from engine_probe.analysis.curve.slo_capacity import most_load
from engine_probe.analysis.run.latency_figures import PERCENTILES
from engine_probe.analysis.run.timeline import Pace, pace
from engine_probe.recordings.curve import Curve
from engine_probe.recordings.sweep import Swept
from engine_probe.recordings.sweep_point import SweptPoint
from engine_probe.report.charts.level_means import Value, over_loads, throughput_over_loads
from engine_probe.report.charts.model import Axis, Chart, Lines, Region, Series, load_axis, moments, numbers
from engine_probe.text_format import capitalized

REGION_NAMES = {
    "spare": "A spare",
    "unclear": "not told",
    "shared": "B shared",
    "plateau": "B+ saturated",
    "overload": "C overload",
}
COMMON_MOMENTS = 240
PARTS_PER_LEVEL = 60
OUTPUT = Axis("output", "tokens/s")
INTERVALS = " Over repeats the mean, and its 95% interval (Student's t, the relative spread of all levels together)."
HELD = "Output tokens/s while the load of each point was held; over its whole run as dots."
WHOLE_RUN = "Output tokens/s over the whole run of each point."
WHISKERS = f"{INTERVALS} Rings are the repeats themselves."
OF_PREDICTIONS = " Intervals are those in which nine of ten measurements should lie."


def throughput_charts(curves: Sequence[Curve]) -> Iterator[Lines]:
    for xs, alike in by_unit(curves):
        yield throughput(xs, alike)


def by_unit(curves: Sequence[Curve]) -> Iterator[tuple[list[float], list[Curve]]]:
    """Yield the curves with the same unit of load, and their loads, if there are at least two loads."""
    for unit in dict.fromkeys(curve.unit for curve in curves):
        alike = [curve for curve in curves if curve.unit == unit]
        xs = sorted({point.load for curve in alike for point in curve.figures})
        if len(xs) > 1:
            yield xs, alike


def sweep_charts(swept: Swept, curves: Sequence[Curve]) -> Iterator[Chart]:
    """Yield all charts of a sweep but throughput, which is part of the verdict."""
    yield from charts_over_load(curves)
    yield from over_time([point for point in swept.points if point.run and point.analysis])


def charts_over_load(curves: Sequence[Curve]) -> Iterator[Lines]:
    for xs, alike in by_unit(curves):
        yield occupancy(xs, alike)
        yield from highest(xs, alike)
        yield latency(xs, alike, "TTFT", "time to first token")
        yield latency(xs, alike, "TPOT", "time per output token")
        yield from success_rates(xs, alike)
        yield from preempted(xs, alike)
        yield from cache_hits(xs, alike)


def throughput(xs: Sequence[float], curves: Sequence[Curve]) -> Lines:
    """Return the throughput over the load; of a single curve also its regions."""
    series = []
    for number, curve in enumerate(curves):
        rates = throughput_over_loads(xs, curve.figures)
        series.append(Series(curve.named("output tokens/s"), **rates, style="both", colour=number))
    held = [(number, curve) for number, curve in enumerate(curves) if while_held(curve.figures)]
    note = f"{HELD if held else WHOLE_RUN}{whiskers(curves, series)}"
    for number, curve in held:
        whole = over_loads(xs, curve.figures, whole_run_rate)["values"]
        series.append(Series(curve.named("whole run"), whole, style="dots", colour=number if len(curves) > 1 else 2))
    shaded = regions(curves[0]) if len(curves) == 1 else []
    if shaded and (growth := curves[0].found.growth):
        form = "piecewise linear fit" if growth.fit.family.straight else "smooth fit"
        series.append(Series(form, numbers([growth.fit.rate(load) for load in xs]), 0, "dashed", 5))
        note += f" RMS error of the fit: {growth.fit.error:.1%}."
    return Lines("Throughput and its regions", note, load_axis(curves[0].unit), [OUTPUT], list(xs), series, shaded)


def whiskers(curves: Sequence[Curve], series: Sequence[Series]) -> str:
    """Explain the intervals of a chart; empty if it has none."""
    if not any(line.high for line in series):
        return ""
    if any(point.summary.within for curve in curves for point in curve.figures):
        return OF_PREDICTIONS
    return WHISKERS


def regions(curve: Curve) -> list[Region]:
    """Return the regions of a curve. Empty if it has only one."""
    line = curve.found.growth
    if line is None or len(line.shape) < 2:
        return []
    ends: list[float | None] = [None, *line.breaks, None]
    return [
        Region(REGION_NAMES[kind], kind, begin, end)
        for kind, begin, end in zip(line.shape, ends, ends[1:], strict=False)
    ]


def percent_series(xs: Sequence[float], curves: Sequence[Curve], values: Mapping[str, Value]) -> list[Series]:
    """Return a line of each share for each curve, in percent: the first one solid, the second dashed."""
    return [
        Series(curve.named(label), **over_loads(xs, curve.figures, value, 100, most=1), style=style, colour=number)
        for number, curve in enumerate(curves)
        for (label, value), style in zip(values.items(), ("both", "dashed"), strict=False)
    ]


def occupancy(xs: Sequence[float], curves: Sequence[Curve]) -> Lines:
    shares: dict[str, Value] = {
        "at peak": lambda point: point.summary.peak_kv_share,
        "on average": lambda point: point.summary.mean_kv_share,
    }
    series = percent_series(xs, curves, shares)
    note = "Share of the KV blocks in use, over the run of each point."
    return Lines("KV occupancy", note, load_axis(curves[0].unit), [Axis("KV blocks in use", "%")], list(xs), series)


def highest(xs: Sequence[float], curves: Sequence[Curve]) -> Iterator[Lines]:
    """Yield the highest throughput within each run over the load; nothing if all runs were too short."""
    series = []
    for number, curve in enumerate(curves):
        peaks = over_loads(xs, curve.figures, lambda point: point.summary.highest_output_tokens_per_s)
        whole = over_loads(xs, curve.figures, whole_run_rate)["values"]
        if any(value is not None for value in peaks["values"]):
            series.append(Series(curve.named("highest"), **peaks, style="both", colour=number))
            series.append(Series(curve.named("whole run"), whole, style="dashed", colour=number))
    if series:
        note = "Output tokens/s in the 0.2 s of each run with most tokens, and over the whole run."
        yield Lines("Highest throughput within the run", note, load_axis(curves[0].unit), [OUTPUT], list(xs), series)


def latency(xs: Sequence[float], curves: Sequence[Curve], name: str, meaning: str) -> Lines:
    series = []
    for number, curve in enumerate(curves):
        for percent, style in zip(PERCENTILES, ("both", "dashed", "dots"), strict=True):
            percentile = partial(PointFigures.percentile_ns, latency=name, percent=percent)
            line = over_loads(xs, curve.figures, percentile, 1e-6, name=f"{name} p{percent}")
            if any(value is not None for value in line["values"]):
                colour = number if len(curves) > 1 else PERCENTILES.index(percent)
                series.append(Series(curve.named(f"p{percent}"), **line, style=style, colour=colour))
    note = f"{name}, {meaning}; percentiles only of points with enough requests."
    note += whiskers(curves, series)
    return Lines(capitalized(meaning), note, load_axis(curves[0].unit), [Axis(name, "ms")], list(xs), series)


def success_rates(xs: Sequence[float], curves: Sequence[Curve]) -> Iterator[Lines]:
    """Yield the success rate over the load; nothing if no request failed."""
    if not any(point.any_failed for curve in curves for point in curve.figures):
        return
    series = percent_series(xs, curves, {"success rate": lambda point: point.success_rate})
    note = "Requests that were answered, of all that were asked and not in flight when the run ended."
    yield Lines("Success rate", note, load_axis(curves[0].unit), [Axis("answered", "%")], list(xs), series)


def preempted(xs: Sequence[float], curves: Sequence[Curve]) -> Iterator[Lines]:
    """Yield the cost of a full KV pool; nothing if it cost nothing."""
    shares: dict[str, Value] = {
        "recomputed tokens": lambda point: point.summary.recomputed_share,
        "time short of KV blocks": lambda point: point.kv_share,
    }
    series = percent_series(xs, curves, shares)
    if not any(value for line in series for value in line.values):
        return
    note = "Shares of all scheduled tokens and of the busy time."
    yield Lines("Cost of a full KV pool", note, load_axis(curves[0].unit), [Axis("share", "%")], list(xs), series)


def cache_hits(xs: Sequence[float], curves: Sequence[Curve]) -> Iterator[Lines]:
    def share(point: PointFigures) -> float | None:
        return point.summary.prefix_cache.share if point.summary.prefix_cache else None

    lines = percent_series(xs, curves, {"hit rate": share})
    series = [line for curve, line in zip(curves, lines, strict=True) if curve.has_cache_hits]
    if series:
        note = "Share of the prompt tokens found when their request was first admitted; the rest was computed."
        axes = [Axis("hit rate", "%")]
        yield Lines("Prefix cache hit rate", note, load_axis(curves[0].unit), axes, list(xs), series)


def over_time(points: Sequence[SweptPoint]) -> Iterator[Chart]:
    """Yield the throughput of every point over time, and against KV occupancy."""
    paces: dict[str, list[Pace]] = {}
    curve_of: dict[str, int] = {}
    places = {label: place for place, label in enumerate(dict.fromkeys(point.label for point in points))}
    for point in sorted(points, key=lambda point: (places[point.label], point.load)):
        assert point.run is not None
        if output := pace(point.run.iterations, point.run.facts["kv"]["blocks"], PARTS_PER_LEVEL):
            paces.setdefault(point.name, []).append(output)
            curve_of[point.name] = places[point.label]
    if not paces:
        return
    xs = np.linspace(0, max(run.seconds[-1] for runs in paces.values() for run in runs), COMMON_MOMENTS)
    shades = shades_apart(curve_of)
    repeats = " Repeats of a level have its colour." if any(len(runs) > 1 for runs in paces.values()) else ""
    yield Lines(
        "Throughput over time, by level",
        f"Each point from its first step on, in sixtieths of its run.{repeats}",
        Axis("time", "s"),
        [OUTPUT],
        moments(xs),
        [
            Series(
                label,
                numbers(np.interp(xs, run.seconds, run.output_tokens_per_s, right=np.nan)),
                shade=shades[label],
                follows=number > 0,
            )
            for label, runs in paces.items()
            for number, run in enumerate(runs)
        ],
    )
    shares, rates = rates_by_occupancy(paces)
    yield Lines(
        "Throughput against KV occupancy",
        "One dot for each sixtieth of a run.",
        Axis("KV blocks in use", "%"),
        [OUTPUT],
        shares,
        [Series(label, values, style="dots", shade=shades[label]) for label, values in rates.items()],
    )


def shades_apart(curve_of: Mapping[str, int]) -> dict[str, float]:
    """Return the shade of each level, from 0 to 1: those of a curve follow each other, and curves lie apart."""
    apart = len(curve_of) // (1 + max(curve_of.values()))  # shades that are left out between two curves
    places = {name: number + apart * curve for number, (name, curve) in enumerate(curve_of.items())}
    most = max(1, *places.values())
    return {name: place / most for name, place in places.items()}


def rates_by_occupancy(paces: Mapping[str, list[Pace]]) -> tuple[list[float | None], dict[str, list[float | None]]]:
    """Return the ascending KV occupancy of all parts of all runs, in percent, and there the throughput by label."""
    runs = [(number, run) for number, runs in enumerate(paces.values()) for run in runs]
    owner = np.repeat([number for number, _ in runs], [len(run.kv_share) for _, run in runs])
    share = np.concatenate([run.kv_share for _, run in runs])
    rate = np.concatenate([run.output_tokens_per_s for _, run in runs])
    order = np.argsort(share, kind="stable")
    owner, share, rate = owner[order], share[order], rate[order]
    rates = {label: numbers(np.where(owner == number, rate, np.nan)) for number, label in enumerate(paces)}
    return numbers(share * 100), rates


def good_rate(point: PointFigures) -> float | None:
    return point.summary.goodput.requests_per_s if point.summary.goodput else None


def good_share(point: PointFigures) -> float | None:
    return point.summary.goodput.share if point.summary.goodput else None


def slo_charts(curves: Sequence[Curve]) -> Iterator[Lines]:
    """Yield for each curve with limits the answered requests/s, the goodput, and the share that met the limits."""
    for curve in curves:
        slo, xs = curve.slo, sorted({each.load for each in curve.figures})
        if slo is None or len(xs) < 2:
            continue
        answered = over_loads(xs, curve.figures, lambda each: each.summary.requests_per_s)
        good = over_loads(xs, curve.figures, good_rate)
        share = over_loads(xs, curve.figures, good_share, 100, most=1)["values"]
        found = most_load(curve.figures)
        regions = [Region("limits met", "spare", None, found.most)] if found and found.most is not None else []
        if found and found.beyond is not None:
            regions += [Region("limits missed", "overload", found.beyond, None)]
        note = f"Requests that met {slo.words}, and all that were answered.{WHISKERS if good['high'] else ''}"
        yield Lines(
            title=curve.named("Goodput"),
            note=f"{note} The highest load at which {slo.percentile:g}% meet them lies between the shaded parts.",
            x=load_axis(curve.unit),
            y=[Axis("requests", "requests/s"), Axis("share that met them", "%")],
            xs=list(xs),
            series=[
                Series("answered", **answered, style="dashed", colour=5),
                Series("met every limit", **good, style="both", colour=0),
                Series("share that met them", share, axis=1, style="both", colour=2),
            ],
            regions=regions,
        )
