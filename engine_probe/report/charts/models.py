"""Charts across the curves of a sweep: KV saturation by model size, throughput by KV occupancy."""

from collections.abc import Iterator, Sequence

from engine_probe.analysis.run.timeline import Pace, pace
from engine_probe.recordings.curve import Curve
from engine_probe.recordings.run import Run
from engine_probe.recordings.sweep import Swept
from engine_probe.report.charts.model import Axis, Lines, Series, numbers
from engine_probe.report.charts.sweep import PARTS_PER_LEVEL, rates_by_occupancy

GIB = 2**30


def across_charts(swept: Swept, curves: Sequence[Curve]) -> Iterator[Lines]:
    """Yield the charts across curves; none for a single curve."""
    measured = {
        curve.label: [point.run for point in swept.curves[curve.label] if point.run and point.analysis]
        for curve in curves
    }
    recorded = [curve for curve in curves if measured[curve.label]]
    if len(recorded) < 2:
        return
    if chart := by_model_size(recorded, measured):
        yield chart
    if chart := by_occupancy(recorded, measured):
        yield chart


def by_model_size(curves: Sequence[Curve], measured: dict[str, list[Run]]) -> Lines | None:
    """Return KV saturation by model size. None unless models of different, known size were measured."""
    sizes = [(curve, measured[curve.label][0].weights_bytes) for curve in curves]
    pairs = [(curve, size / GIB) for curve, size in sizes if size is not None]
    known = [(curve, size, curve.found.kv) for curve, size in pairs if curve.found.kv.derived or curve.found.kv.reached]
    xs = sorted({size for _, size, _ in known})
    if len(xs) < 2:
        return None
    series = []
    for number, (curve, size, kv) in enumerate(known):
        low, high = kv.derived or (kv.reached or 0.0, kv.reached or 0.0)
        label = f"{curve.label or 'model'}{', predicted' if kv.predicted else ''}"
        values, lows, highs = ([value if x == size else None for x in xs] for value in ((low + high) / 2, low, high))
        series.append(Series(label, numbers(values), 0, "dots", number, low=numbers(lows), high=numbers(highs)))
    note = (
        "Concurrent requests that fill the KV pool: peak running requests / peak share of the pool in use, from the "
        "lowest to the highest figure of the levels below; predicted if no level filled the pool."
    )
    return Lines(
        title="KV saturation by model size",
        note=note,
        x=Axis("weights of all ranks", "GiB"),
        y=[Axis("pool full at", "concurrent requests")],
        xs=numbers(xs),
        series=series,
    )


def by_occupancy(curves: Sequence[Curve], measured: dict[str, list[Run]]) -> Lines | None:
    paces: dict[str, list[Pace]] = {}
    for curve in curves:
        parts = (pace(run.iterations, run.facts["kv"]["blocks"], PARTS_PER_LEVEL) for run in measured[curve.label])
        paces[curve.label] = list(filter(None, parts))
    if sum(map(bool, paces.values())) < 2:
        return None
    shares, rates = rates_by_occupancy(paces)
    series = [Series(label, line, 0, "dots", number) for number, (label, line) in enumerate(rates.items())]
    return Lines(
        title="Throughput against KV occupancy, by setting",
        note="One dot for each sixtieth of each run, all levels together.",
        x=Axis("KV blocks in use", "%"),
        y=[Axis("output", "tokens/s")],
        xs=shares,
        series=series,
    )
