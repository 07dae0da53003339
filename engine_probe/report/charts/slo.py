"""Goodput over the load, and the loads between which the limits are missed."""

from collections.abc import Iterator, Sequence

from engine_probe.analysis.curve.levels import PointFigures
from engine_probe.analysis.curve.slo_capacity import most_load
from engine_probe.recordings.curve import Curve
from engine_probe.report.charts.levels import over_loads
from engine_probe.report.charts.model import Axis, Lines, Region, Series, load_axis
from engine_probe.report.charts.sweep import WHISKERS


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
