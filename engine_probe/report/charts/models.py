"""Charts across the curves of a sweep: models by their size, settings (one card beside two) by how full the pool is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from engine_probe.analysis.run.timeline import Pace, pace
from engine_probe.recordings.curve import Curve
from engine_probe.recordings.run import Run
from engine_probe.recordings.sweep import Swept
from engine_probe.report.charts.model import Axis, Lines, Series, numbers
from engine_probe.report.charts.sweep import PARTS_PER_LEVEL

GIB = 2**30


def across_charts(swept: Swept, curves: Sequence[Curve]) -> Iterator[Lines]:
    """Nothing where there is one curve: then the charts of its levels say it."""
    measured = {
        curve.label: [point.run for point in swept.curves[curve.label] if point.run and point.analysis]
        for curve in curves
    }
    drawn = [curve for curve in curves if measured[curve.label]]
    if len(drawn) < 2:
        return
    if chart := by_model_size(drawn, measured):
        yield chart
    if chart := by_occupancy(drawn, measured):
        yield chart


def by_model_size(curves: Sequence[Curve], measured: dict[str, list[Run]]) -> Lines | None:
    """Where the weights of all are told, and differ."""
    sizes = {curve.label: weights_gib(measured[curve.label][0]) for curve in curves}
    full = [(curve, size, curve.found.kv) for curve in curves if (size := sizes[curve.label]) is not None]
    told = [(curve, size, kv) for curve, size, kv in full if kv.derived or kv.reached]
    xs = sorted({size for _, size, _ in told})
    if len(xs) < 2:
        return None
    series = []
    for number, (curve, size, kv) in enumerate(told):
        low, high = kv.derived or (kv.reached or 0.0, kv.reached or 0.0)
        words = f"{curve.label or 'model'}{', predicted' if kv.predicted else ''}"
        values, lows, highs = ([value if x == size else None for x in xs] for value in ((low + high) / 2, low, high))
        series.append(Series(words, numbers(values), 0, "dots", number, low=numbers(lows), high=numbers(highs)))
    note = (
        "Concurrent requests that fill the KV pool: most running / most of the pool in use, from the lowest to the "
        "highest of the levels below it; predicted where no level filled it."
    )
    return Lines(
        title="KV saturation by model size",
        note=note,
        x=Axis("weights of all ranks", "GiB"),
        y=[Axis("pool full at", "concurrent requests")],
        xs=numbers(xs),
        series=series,
    )


def weights_gib(run: Run) -> float | None:
    ranks = run.facts.get("memory") or []
    sizes = [rank["weights_bytes"] for rank in ranks]
    return sum(sizes) / GIB if sizes and all(size is not None for size in sizes) else None


def by_occupancy(curves: Sequence[Curve], measured: dict[str, list[Run]]) -> Lines | None:
    paces: dict[str, list[Pace]] = {}
    for curve in curves:
        made = (pace(run.iterations, run.facts["kv"]["blocks"], PARTS_PER_LEVEL) for run in measured[curve.label])
        paces[curve.label] = [each for each in made if each]
    dots = [
        (number, 100 * share, rate)
        for number, several in enumerate(paces.values())
        for each in several
        for share, rate in zip(each.kv_share.tolist(), each.output_tokens_per_s.tolist(), strict=True)
    ]
    if len({number for number, _, _ in dots}) < 2:
        return None
    dots.sort(key=lambda dot: dot[1])
    lines = [numbers([rate if number == mine else np.nan for mine, _, rate in dots]) for number in range(len(paces))]
    series = [
        Series(label, line, 0, "dots", number) for number, (label, line) in enumerate(zip(paces, lines, strict=True))
    ]
    return Lines(
        title="Throughput against KV occupancy, by setting",
        note="One dot for each sixtieth of each run, all levels together.",
        x=Axis("KV blocks in use", "%"),
        y=[Axis("output", "tokens/s")],
        xs=numbers([share for _, share, _ in dots]),
        series=series,
    )
