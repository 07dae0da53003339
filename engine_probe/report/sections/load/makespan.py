"""Bursts: how long so many requests take together, against one after another."""

from collections.abc import Sequence

from engine_probe.analysis.curve.levels import makespans, speed_up
from engine_probe.recordings.curve import Curve
from engine_probe.report.document import Cell, Column, Section, Table, says, table
from engine_probe.workload.load import CONCURRENCY

TITLE = "Bursts"
MEANING = (
    "Makespan: first arrival to last answer of requests that come at once. Speed-up: makespan of one x how many they "
    "are / their makespan; 1 if they are answered one after another."
)
COLUMNS = (
    Column("requests at once", short="requests\nat once"),
    Column("makespan, s"),
    Column("one after another, s", short="one after\nanother, s"),
    Column("speed-up"),
    Column("requests/min"),
)


def burst_section(curves: Sequence[Curve]) -> Section:
    """Return the makespans over the size of bursts. Empty unless every point of a curve is one, and one is of 1."""
    tables = tuple(found for curve in curves if (found := burst_table(curve)))
    return Section(TITLE, sentences=says([MEANING]), tables=tables) if tables else Section()


def burst_table(curve: Curve) -> Table | None:
    spans = makespans(curve.figures)
    if curve.unit != CONCURRENCY or spans is None or len(spans) < 2 or 1 not in spans:
        return None
    alone = spans[1].mean
    rows = [
        (
            f"{load:g}",
            Cell(f"{span.mean:,.3g}", below="" if span.reach is None else f"± {span.reach:.2g}"),
            f"{load * alone:,.3g}",
            f"{speed_up(spans, load):.2f}",
            per_minute(60 * load / span.mean),
        )
        for load, span in spans.items()
    ]
    return table(COLUMNS, rows, title=curve.label)


def per_minute(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"
