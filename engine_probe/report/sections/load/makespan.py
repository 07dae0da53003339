"""Bursts: how long so many requests take together, against one after another."""

from collections.abc import Iterator, Sequence

from engine_probe.analysis.curve.levels import makespans, speed_up
from engine_probe.analysis.statistics.repeats import Repeated
from engine_probe.recordings.curve import Curve
from engine_probe.report.charts.level_means import over_loads
from engine_probe.report.charts.model import Axis, Lines, Series, load_axis
from engine_probe.report.document import Cell, Section, Table, says, table
from engine_probe.text_format import rate_words
from engine_probe.workload.load import CONCURRENCY

TITLE = "Bursts"
MEANING = (
    "Makespan: first arrival to last answer of requests that come at once. Speed-up: makespan of one x how many they "
    "are / their makespan; 1 if they are answered one after another."
)
TITLES = ("requests\nat once", "makespan, s", "one after\nanother, s", "speed-up", "requests/min")
MAKESPAN = "Makespan of a burst"


def burst_section(curves: Sequence[Curve]) -> Section:
    """Return the makespans over the size of bursts. Empty unless every point of a curve is one, and one is of 1."""
    tables = tuple(found for curve in curves if (found := burst_table(curve)))
    return Section(TITLE, sentences=says([MEANING]), tables=tables) if tables else Section()


def spans_of(curve: Curve) -> dict[float, Repeated] | None:
    """Return the makespans of a curve of bursts, one of them of a single request. None of another curve."""
    spans = makespans(curve.figures) if curve.unit == CONCURRENCY else None
    return spans if spans and len(spans) > 1 and 1 in spans else None


def burst_table(curve: Curve) -> Table | None:
    if (spans := spans_of(curve)) is None:
        return None
    alone = spans[1].mean
    rows = [
        (
            f"{load:g}",
            Cell(f"{span.mean:,.3g}", below="" if span.reach is None else f"± {span.reach:.2g}"),
            f"{load * alone:,.3g}",
            f"{speed_up(spans, load):.2f}",
            rate_words(60 * load / span.mean),
        )
        for load, span in spans.items()
    ]
    return table(TITLES, rows, words=(), title=curve.label)


def burst_charts(curves: Sequence[Curve]) -> Iterator[Lines]:
    """Yield for each curve of bursts, one of them of a single request, their makespans."""
    for curve in curves:
        if (spans := spans_of(curve)) is None:
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
