"""The levels of a sweep as tables: a row for each load of each curve, over its repeats."""

from collections.abc import Sequence
from dataclasses import replace
from statistics import mean

from engine_probe.analysis.batch.prediction_interval import RATE
from engine_probe.analysis.curve.levels import PointFigures, by_load, while_held, whole_run_rate
from engine_probe.analysis.curve.regions import MEANINGS, letter
from engine_probe.analysis.run.success import summed
from engine_probe.recordings.curve import Curve
from engine_probe.report.charts.level_means import limits_cell, rate_and_latencies
from engine_probe.report.document import Cell, Column, Table, Tone, spread, table
from engine_probe.report.sections.sweep.prefix_cache import cache_cell
from engine_probe.text_format import rate_words

MEANS = (("output tokens/s", "tokens/s"), ("TTFT p50", "TTFT p50"), ("TPOT p50", "TPOT p50"))
WHOLE_RUN = Column("whole run, output tokens/s", short="whole\nrun", room="page")
COUNTS = (
    Column("highest, output tokens/s", short="highest", room="page"),
    Column("running mean", room="page"),
    Column("waiting\npeak", room="spare"),
    Column("KV\npeak", room="spare"),
    Column("preempted", room="page"),
    Column("recomputed", short="re-\ncomputed", room="spare"),
)
SUCCESS = Column("success\nrate")
CACHED = Column("prefix cache hit rate", short="cache\nhits", room="spare")
TONES: dict[str, Tone] = {
    "spare": "good",
    "unclear": "plain",
    "shared": "plain",
    "plateau": "caution",
    "overload": "problem",
}
FEWEST_LEVELS = 2  # of each curve, for tables of their own


def level_tables(curves: Sequence[Curve]) -> tuple[Table, ...]:
    """Return a table for each curve, or one for all where curves have few levels; a note explains the regions."""
    measured = [curve for curve in curves if curve.figures]
    if not measured:
        return ()
    if all(len(by_load(curve.figures)) >= FEWEST_LEVELS for curve in measured):
        tables = [level_table([curve], labelled=False) for curve in measured]
    else:
        tables = [level_table(measured, labelled=any(curve.label for curve in measured))]
    kinds = {kind for curve in measured if curve.found.growth for kind in curve.found.growth.shape}
    note = " ".join(f"{meaning}." for kind, meaning in MEANINGS.items() if kind in kinds)
    return (*tables[:-1], replace(tables[-1], note=note))


def overview_table(curves: Sequence[Curve]) -> Table:
    """Return one table of all curves, of which the levels of the highest throughput are the most telling."""
    found = level_table([curve for curve in curves if curve.figures], labelled=True)
    best = [place for place, (curve, load) in enumerate(level_loads(curves)) if is_best(curve, load)]
    return replace(found, telling=tuple(dict.fromkeys((*best, *found.telling))), one_line=True)


def level_loads(curves: Sequence[Curve]) -> list[tuple[Curve, float]]:
    return [(curve, repeats[0].load) for curve in curves for repeats in by_load(curve.figures)]


def is_best(curve: Curve, load: float) -> bool:
    """Return whether a load is that of a curve's highest throughput, or its highest where that is not known."""
    best = curve.found.best
    return load == (best.load if best is not None else max(each.load for each in curve.figures))


def level_table(curves: Sequence[Curve], labelled: bool) -> Table:
    """Return one table of these curves, without the columns that say nothing of them."""
    cached = any(curve.has_cache_hits for curve in curves)
    failed = any(point.any_failed for curve in curves for point in curve.figures)
    held = any(while_held(curve.figures) for curve in curves)
    figures = rate_and_latencies([curve.figures for curve in curves])
    means = [(names, mean) for names, mean in zip(MEANS, figures, strict=True) if set(mean.cells) != {"-"}]
    regions = any(curve.worth_words for curve in curves)
    units = list(dict.fromkeys(curve.unit for curve in curves))
    load = units[0] if len(units) == 1 else "load"
    columns = (
        *[Column("settings", words=True, is_name=True)] * labelled,
        Column(load, words=len(units) > 1, short=short_load(load)),
        *(mean_column(*names, mean.reach) for names, mean in means),
        *[WHOLE_RUN] * held,
        *[SUCCESS] * failed,
        *COUNTS,
        *[CACHED] * cached,
        Column("bottleneck", words=True),
        *[Column("region", words=True)] * regions,
    )
    levels = [(curve, repeats) for curve in curves for repeats in by_load(curve.figures)]
    rows = (
        (
            *[curve.label] * labelled,
            load_cell(repeats, "" if load == curve.unit else " " + curve.unit.removeprefix("requests ")),
            *mean_cells,
            *[whole_run_cell(repeats)] * held,
            *[success_cell(repeats)] * failed,
            *level_figures(repeats),
            *[cache_cell(repeats)] * cached,
            limits_cell(repeats),
            *[region_cell(curve, repeats[0].load)] * regions,
        )
        for (curve, repeats), *mean_cells in zip(levels, *(mean.cells for _, mean in means), strict=True)
    )
    title = curves[0].label if len(curves) == 1 and not labelled else ""
    return replace(table(columns, rows, title=title), telling=telling_places(levels), row="level")


def telling_places(levels: Sequence[tuple[Curve, Sequence[PointFigures]]]) -> tuple[int, ...]:
    """Return the places of the levels, the most telling first: the ends, where growth ends, then those between."""
    loads = [(curve, repeats[0].load) for curve, repeats in levels]
    ends = [place for place, (curve, load) in enumerate(loads) if load in growth_ends(curve)]
    return spread(len(levels), ends)


def growth_ends(curve: Curve) -> set[float]:
    """Return the loads of the highest throughput and of the saturation point."""
    ends = (curve.found.best, curve.found.saturation)
    return {end.load for end in ends if end is not None}


def whole_run_cell(repeats: Sequence[PointFigures]) -> str:
    """Return the rate over the whole run; of a prediction also how far a measurement may lie from it."""
    rate = mean(map(whole_run_rate, repeats))
    found = repeats[0].summary.interval(RATE, rate)
    return rate_words(rate) + (f" ± {found[1] / rate - 1:.0%}" if found and rate else "")


def load_cell(repeats: Sequence[PointFigures], unit: str) -> Cell:
    """Return the load, marked where the throughput of a repeat never settled or was still warming up."""
    changing = any(later.changing for repeat in repeats if (later := repeat.summary.after_warm_up))
    return Cell(f"{repeats[0].load:g}{unit}", *(("caution", "still changing") if changing else ()))


def mean_column(title: str, short: str, reach: str) -> Column:
    """Return the column of a mean over repeats; its title has the interval where that is the same at all loads."""
    return Column(f"{title} {reach.replace(' ', '')}".rstrip(), short=f"{short}\n{reach}".rstrip())


def short_load(unit: str) -> str:
    return unit.removeprefix("requests ").replace(" ", "\n").replace("/", "\n/")


def level_figures(repeats: Sequence[PointFigures]) -> tuple[str, ...]:
    """Return the cells of the COUNTS columns, for the repeats of one load."""
    highest = [repeat.summary.highest_output_tokens_per_s for repeat in repeats]
    peaks = [value for value in highest if value is not None]
    return (
        rate_words(mean(peaks)) if len(peaks) == len(repeats) else "-",
        f"{mean(repeat.summary.mean_running for repeat in repeats):.1f}",
        f"{max(repeat.summary.peak_waiting for repeat in repeats):,}",
        f"{max(repeat.summary.peak_kv_share for repeat in repeats):.0%}",
        f"{mean(repeat.summary.preemptions for repeat in repeats):,.1f}".removesuffix(".0"),
        f"{mean(repeat.summary.recomputed_share for repeat in repeats):.1%}",
    )


def success_cell(repeats: Sequence[PointFigures]) -> Cell:
    """Return the success rate over all repeats of a load."""
    known = [found for repeat in repeats if (found := repeat.summary.success)]
    if len(known) < len(repeats):
        return Cell("-")
    together = summed(known)
    return Cell(f"{together.rate:.1%}", "problem" if together.any_failed else "plain")


def region_cell(curve: Curve, load: float) -> Cell:
    if curve.found.levels and all(level.load != load for level in curve.found.levels):
        return Cell("too short", "caution")  # the notes say why
    region = curve.found.region(load)
    return Cell(letter(curve.found, load), TONES[region] if region else "plain")
