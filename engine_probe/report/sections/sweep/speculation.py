"""Speculative decoding over the load: what was accepted at each level, beside its throughput."""

from collections.abc import Iterator, Sequence

import numpy as np

from engine_probe.analysis.batch.speculation import Speculation
from engine_probe.analysis.curve.drafts_gain import drafts_gain
from engine_probe.analysis.curve.levels import PointFigures, by_load
from engine_probe.analysis.curve.raised_limits import ChangedThroughput, MeasuredCurve
from engine_probe.recordings.curve import Curve
from engine_probe.report.document import Cell, Column, Section, Table, says, sure, table
from engine_probe.report.sections.sweep.raised_limits import change
from engine_probe.text_format import rate_words
from engine_probe.workload.load import level_words

TITLE = "Speculative decoding over the load"
GAIN_TITLE = "What drafts gain or lose over the load"
GAIN = (
    "What drafts gain or lose at a load is the difference from the same loads without speculative_config: make it an "
    "axis, with {} for none, or `engine_probe compare` two sweeps."
)
METHOD = (
    "Throughput with drafts over that without, less one, of points that are alike otherwise. Intervals are Welch's "
    "over repeats, with 95%; they do not include what changes from sweep to sweep."
)


def speculation_sections(curves: Sequence[Curve]) -> Iterator[Section]:
    """Yield what drafts gained, where the sweep measured it, and a table for each curve whose points had drafts."""
    gains = drafts_gain([MeasuredCurve(curve.settings, curve.unit, curve.figures) for curve in curves])
    yield from (gain_section(name, gained) for name, gained in gains.items())
    for curve in curves:
        rows = list(level_rows(curve.figures))
        if rows:
            hint = () if gains else says([GAIN])
            yield Section(curve.named(TITLE), sentences=hint, tables=(levels_table(curve.unit, rows),))


def gain_section(name: str, gained: Sequence[ChangedThroughput]) -> Section:
    """Return the gain at each load, and from which load on drafts cost more than they give."""
    unit = gained[0].unit
    rows: list[tuple[Cell | str, ...]] = []
    for each in gained:
        sides = (rate_words(float(np.mean(side))) for side in (each.before, each.after))
        rows.append((f"{each.load:g}", *sides, change(each)))
    without = Column("output tokens/s without drafts", short="tokens/s\nwithout")
    titles = (unit.replace(" ", "\n", 1), without, "with drafts", "gain")
    return Section(
        f"{GAIN_TITLE} ({name})",
        sentences=says(gain_words(gained)),
        tables=(table(titles, rows, words=()),),
        details=sure(METHOD),
        shown="always",
    )


def gain_words(gained: Sequence[ChangedThroughput]) -> Iterator[str]:
    """Say at which loads drafts gained and at which they lost, by their intervals; of single runs nothing is said."""
    sides: dict[str, list[ChangedThroughput]] = {"gained": [], "lost": [], "unsure": []}
    repeated = [(each, each.interval) for each in gained if each.interval is not None]
    for each, (low, high) in repeated:
        sides["gained" if low > 0 else "lost" if high < 0 else "unsure"].append(each)
    unsure = sides.pop("unsure")
    for word, some in sides.items():
        if some:
            loads = ", ".join(f"{abs(each.relative):.0%} at {level_words(each.load, each.unit)}" for each in some)
            yield f"Drafts {word} throughput: {loads}."
    if unsure:
        yield f"No difference is certain at {', '.join(level_words(each.load, each.unit) for each in unsure)}."
    if len(repeated) < len(gained):
        yield "Without repeats it is not known whether drafts gain or lose: the table may show chance."


def levels_table(unit: str, rows: list[tuple[str, ...]]) -> Table:
    first = Column("first position accepted", short="at first\nposition")
    accepted = ("draft tokens\naccepted", "accepted\nlength", first, "tokens per\ndecode step")
    return table((unit.replace(" ", "\n", 1), *accepted, "output\ntokens/s"), rows, words=())


def level_rows(points: Sequence[PointFigures]) -> Iterator[tuple[str, ...]]:
    """Yield the means over the repeats of each load, which count alike."""
    for level in by_load(points):
        found = [point.speculation for point in level if point.speculation]
        if len(found) < len(level):
            continue
        rate = sum(point.summary.output_tokens_per_s for point in level) / len(level)
        yield (f"{level[0].load:g}", *level_cells(found), rate_words(rate))


def level_cells(found: Sequence[Speculation]) -> tuple[str, ...]:
    def mean(values: Iterator[float]) -> float:
        return sum(values) / len(found)

    return (
        f"{mean(each.share for each in found):.1%}",
        f"{mean(each.accepted_length for each in found):.2f}",
        f"{mean(each.positions[0].share for each in found):.1%}",
        f"{mean(each.tokens_per_step for each in found):.2f}",
    )
