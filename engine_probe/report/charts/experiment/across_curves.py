"""Charts across the curves of a sweep or an experiment: KV saturation by model size, throughput by KV occupancy."""

from collections.abc import Iterator, Mapping, Sequence

from engine_probe.analysis.run.timeline import Pace, pace
from engine_probe.recordings.curve import Curve
from engine_probe.recordings.run import Run
from engine_probe.recordings.sweep import Swept
from engine_probe.recordings.sweep_point import SweptPoint
from engine_probe.report.charts.model import Axis, Lines, Series, numbers
from engine_probe.report.charts.sweep import PARTS_PER_LEVEL, rates_by_occupancy
from engine_probe.text_format import plain
from engine_probe.workload.load import level_words

GIB = 2**30
BILLION = 1e9
MOST_LEVELS = 6  # of the charts that compare ranks at one load
PARALLEL = "parallel_config"
SATURATION_TITLES = BY_WEIGHTS, BY_PARAMETERS = "KV saturation by model size", "KV saturation by parameter count"

Points = Mapping[str, Sequence[SweptPoint]]  # the recorded points of each curve, by its name


def across_charts(swept: Swept, curves: Sequence[Curve]) -> Iterator[Lines]:
    """Yield the charts across curves; none for a single curve."""
    measured: Points = {
        curve.label: [point for point in swept.curves[curve.label] if point.run and point.analysis] for curve in curves
    }
    recorded = [curve for curve in curves if measured[curve.label]]
    if len(recorded) < 2:
        return
    for size, unit, title, axis in (
        ("weights_bytes", GIB, BY_WEIGHTS, Axis("weights of all ranks", "GiB")),
        ("parameters", BILLION, BY_PARAMETERS, Axis("parameters", "billion")),
    ):
        sizes = {curve.label: getattr(first_run(curve, measured), size) for curve in recorded}
        known = {label: found / unit for label, found in sizes.items() if found is not None}
        if chart := by_size(recorded, known, title, axis):
            yield chart
    if chart := by_occupancy(recorded, measured):
        yield chart
    yield from by_ranks(recorded, measured)


def first_run(curve: Curve, measured: Points) -> Run:
    (first, *_) = measured[curve.label]
    assert first.run is not None
    return first.run


def by_size(curves: Sequence[Curve], sizes: Mapping[str, float], title: str, axis: Axis) -> Lines | None:
    """Return KV saturation over a model's size. None unless models of different, known size were measured."""
    pairs = [(curve, sizes[curve.label]) for curve in curves if curve.label in sizes]
    known = [(curve, found, curve.found.kv) for curve, found in pairs if curve.found.kv.holds]
    xs = sorted({found for _, found, _ in known})
    if len(xs) < 2:
        return None
    series = []
    for number, (curve, found, kv) in enumerate(known):
        assert kv.holds is not None
        low, high = kv.holds
        label = f"{curve.label or 'model'}{', predicted' if kv.predicted else ''}"
        values, lows, highs = ([value if x == found else None for x in xs] for value in ((low + high) / 2, low, high))
        series.append(Series(label, numbers(values), 0, "dots", number, low=numbers(lows), high=numbers(highs)))
    note = (
        "Concurrent requests that fill the KV pool: peak running requests / peak share of the pool in use, from the "
        "lowest to the highest figure of the levels below; predicted if no level filled the pool."
    )
    return Lines(title, note, axis, [Axis("pool full at", "concurrent requests")], numbers(xs), series)


def paces_of(points: Sequence[SweptPoint]) -> list[Pace]:
    runs = (point.run for point in points if point.run)
    return list(filter(None, (pace(run.iterations, run.facts["kv"]["blocks"], PARTS_PER_LEVEL) for run in runs)))


def by_occupancy(curves: Sequence[Curve], measured: Points) -> Lines | None:
    paces = {curve.label: paces_of(measured[curve.label]) for curve in curves}
    note = "One dot for each sixtieth of each run, all levels together."
    return occupancy_lines("Throughput against KV occupancy, by setting", note, paces)


def occupancy_lines(title: str, note: str, paces: Mapping[str, list[Pace]]) -> Lines | None:
    """Return the throughput of each kind of run over its KV occupancy. None unless two kinds have steps enough."""
    if sum(map(bool, paces.values())) < 2:
        return None
    shares, rates = rates_by_occupancy(paces)
    series = [Series(label, line, 0, "dots", number) for number, (label, line) in enumerate(rates.items())]
    return Lines(title, note, Axis("KV blocks in use", "%"), [Axis("output", "tokens/s")], shares, series)


def by_ranks(curves: Sequence[Curve], measured: Points) -> Iterator[Lines]:
    """Yield, for each model on different numbers of tensor-parallel ranks, a chart for each load that they share."""
    alike: dict[tuple[str, str], dict[int, Curve]] = {}
    for curve in curves:
        run = first_run(curve, measured)
        size = (run.facts["engine"]["arguments"].get(PARALLEL) or {}).get("tensor_parallel_size")
        if isinstance(size, int):
            alike.setdefault((run.model_name, curve.unit), {}).setdefault(size, curve)
    for (model, unit), by_size_of_group in alike.items():
        if len(by_size_of_group) < 2:
            continue
        groups = {f"TP {size}": measured[curve.label] for size, curve in sorted(by_size_of_group.items())}
        shared = set.intersection(*({point.load for point in points} for points in groups.values()))
        for load in spread(sorted(shared), MOST_LEVELS):
            paces = {
                name: paces_of([point for point in points if point.load == load]) for name, points in groups.items()
            }
            title = plain(f"{model} at {level_words(load, unit)}: throughput against KV occupancy")
            if chart := occupancy_lines(title, "One dot for each sixtieth of each run.", paces):
                yield chart


def spread(values: Sequence[float], most: int) -> list[float]:
    """Return at most that many of the values, evenly chosen, the last among them."""
    if len(values) <= most:
        return list(values)
    return [values[round((number + 1) * len(values) / most) - 1] for number in range(most)]
