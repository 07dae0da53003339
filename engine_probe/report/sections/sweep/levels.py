"""The levels of a sweep as one table: a row for each load of each curve, over its repeats."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean

from engine_probe.analysis.curve.levels import PointFigures
from engine_probe.analysis.curve.regions import MEANINGS, letter
from engine_probe.recordings.curve import Curve
from engine_probe.report.charts.levels import by_load, limits_cell, rate_and_latencies
from engine_probe.report.document import Cell, Column, Table, Tone, table
from engine_probe.report.sections.sweep.prefix_cache import cache_cell, worth_a_column

MEANS = (("output tokens/s", "tokens/s"), ("TTFT p50", "TTFT p50"), ("TPOT p50", "TPOT p50"))
COUNTS = (
    Column("running mean", wide=True),
    Column("waiting peak", short="waiting\npeak"),
    Column("KV peak", short="KV\npeak"),
    Column("preempted", wide=True),
    Column("computed twice", short="computed\ntwice"),
)
CACHED = Column("from prefix cache", short="from\ncache")
TONES: dict[str, Tone] = {"spare": "good", "shared": "caution", "plateau": "caution", "overload": "problem"}


def level_table(curves: Sequence[Curve]) -> Table:
    """Return the table of all curves; columns that would say nothing are left out."""
    cached, labelled = worth_a_column(curves), any(curve.label for curve in curves)
    found = rate_and_latencies([curve.figures for curve in curves])
    units = list(dict.fromkeys(curve.unit for curve in curves))
    load = units[0] if len(units) == 1 else "load"
    columns = (
        Column(load, words=len(units) > 1, short=short_load(load)),
        *(mean_column(*names, told.reach) for names, told in zip(MEANS, found, strict=True)),
        *COUNTS,
        *[CACHED] * cached,
        Column("limited most by", words=True, short="limited\nmost by"),
        Column("region", words=True, short="\nregion"),
        *[Column("settings", words=True, short="\nsettings")] * labelled,
    )
    levels = [(curve, same) for curve in curves for same in by_load(curve.figures)]
    rows = (
        (
            f"{same[0].load:g}{'' if load == curve.unit else ' ' + curve.unit.removeprefix('requests ')}",
            *told,
            *level_figures(same),
            *[cache_cell(same)] * cached,
            limits_cell(same),
            region_cell(curve, same[0].load),
            *[curve.label] * labelled,
        )
        for (curve, same), *told in zip(levels, *(each.cells for each in found), strict=True)
    )
    made = table(columns, rows)
    kinds = {kind for curve in curves if curve.found.growth for kind in curve.found.growth.shape}
    note = " ".join(f"{meaning}." for kind, meaning in MEANINGS.items() if kind in kinds)
    return Table(made.columns, made.rows, note=note)


def mean_column(title: str, short: str, reach: str) -> Column:
    """Return one of a mean over repeats, with half its interval where that is the same at all loads."""
    return Column(f"{title} {reach.replace(' ', '')}".rstrip(), short=f"{short}\n{reach}".rstrip())


def short_load(unit: str) -> str:
    return unit.removeprefix("requests ").replace(" ", "\n").replace("/", "\n/")


def level_figures(same: Sequence[PointFigures]) -> tuple[str, ...]:
    """Return the figures below COUNTS, of one load over its repeats."""
    return (
        f"{mean(each.summary.mean_running for each in same):.1f}",
        f"{max(each.summary.peak_waiting for each in same):,}",
        f"{max(each.summary.peak_kv_share for each in same):.0%}",
        f"{mean(each.summary.preemptions for each in same):,.4g}",
        f"{mean(each.summary.recomputed_share for each in same):.1%}",
    )


def region_cell(curve: Curve, load: float) -> Cell:
    region = curve.found.region(load)
    return Cell(letter(curve.found, load), TONES[region] if region else "plain")
