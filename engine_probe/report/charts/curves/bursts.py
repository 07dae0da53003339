"""Makespans over the size of bursts, against the same requests one after another."""

from collections.abc import Iterator, Sequence

from engine_probe.analysis.curve.levels import makespans
from engine_probe.recordings.curve import Curve
from engine_probe.report.charts.levels import over_loads
from engine_probe.report.charts.model import Axis, Lines, Series, load_axis
from engine_probe.workload.load import CONCURRENCY

MAKESPAN = "Makespan of a burst"


def burst_charts(curves: Sequence[Curve]) -> Iterator[Lines]:
    """Yield for each curve of bursts, one of them of a single request, their makespans."""
    for curve in curves:
        spans = makespans(curve.figures) if curve.unit == CONCURRENCY else None
        if spans is None or len(spans) < 2 or 1 not in spans:
            continue
        xs = list(spans)
        alone = spans[1].mean
        measured = over_loads(xs, curve.figures, lambda each: each.summary.makespan_seconds)
        yield Lines(
            title=curve.named(MAKESPAN),
            note="First arrival to last answer of requests that come at once; dashed: as long as one after another.",
            x=load_axis(curve.unit),
            y=[Axis("makespan", "s")],
            xs=list(xs),
            series=[
                Series("together", **measured, style="both", colour=0),
                Series("one after another", [load * alone for load in xs], style="dashed", colour=5),
            ],
        )
