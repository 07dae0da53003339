"""Speculative decoding over the load: what was accepted at each level, beside its throughput."""

from collections.abc import Iterator, Sequence

from engine_probe.analysis.batch.speculation import Speculation
from engine_probe.analysis.curve.levels import PointFigures
from engine_probe.recordings.curve import Curve
from engine_probe.report.charts.levels import by_load
from engine_probe.report.document import Column, Section, Table, says, table

TITLE = "Speculative decoding over the load"
GAIN = (
    "What drafts gain or lose at a load is the difference from a sweep of the same loads without speculative_config: "
    "`engine_probe compare` of the two shows it."
)


def speculation_sections(curves: Sequence[Curve]) -> Iterator[Section]:
    """Yield a table for each curve whose points had drafts."""
    for curve in curves:
        rows = list(level_rows(curve.figures))
        if rows:
            yield Section(curve.named(TITLE), sentences=says([GAIN]), tables=(levels_table(curve.unit, rows),))


def levels_table(unit: str, rows: list[tuple[str, ...]]) -> Table:
    columns = (
        Column(unit, short=unit.replace(" ", "\n", 1)),
        Column("draft tokens accepted", short="draft tokens\naccepted"),
        Column("accepted length", short="accepted\nlength"),
        Column("first position accepted", short="at first\nposition"),
        Column("tokens per decode step", short="tokens per\ndecode step"),
        Column("output tokens/s", short="output\ntokens/s"),
    )
    return table(columns, rows)


def level_rows(points: Sequence[PointFigures]) -> Iterator[tuple[str, ...]]:
    """Yield the means over the repeats of each load, which count alike."""
    for level in by_load(points):
        found = [point.speculation for point in level if point.speculation]
        if len(found) < len(level):
            continue
        rate = sum(point.summary.output_tokens_per_s for point in level) / len(level)
        yield (f"{level[0].load:g}", *level_cells(found), f"{rate:,.1f}")


def level_cells(found: Sequence[Speculation]) -> tuple[str, ...]:
    def mean(values: Iterator[float]) -> float:
        return sum(values) / len(found)

    return (
        f"{mean(each.share for each in found):.1%}",
        f"{mean(each.accepted_length for each in found):.2f}",
        f"{mean(each.positions[0].share for each in found):.1%}",
        f"{mean(each.tokens_per_step for each in found):.2f}",
    )
