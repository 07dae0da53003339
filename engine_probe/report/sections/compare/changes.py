"""The changes of a comparison as tables and as pictures: what stands for all of it, and every point."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial

from engine_probe.analysis.compare.changes import COMPARED, PERPLEXITY, Change
from engine_probe.evaluation.comparison import Comparison, Pair
from engine_probe.report.document import SURE, Cell, Column, Figure, Forest, Section, Table, says, table
from engine_probe.report.sections.compare.change_words import (
    TONES,
    chance_words,
    change_words,
    interval_words,
    largest_first,
    short_verdict,
    value_words,
    verdict_cell,
)
from engine_probe.text_format import capitalized

HEADLINES = ("output_tokens_per_s", "ttft_p50_ms", "tpot_p50_ms", "perplexity")
MOST_ROWS = 16
FIRST = 9  # rows that a terminal shows without --verbose
WITHIN = (
    "The 95% intervals are within the sweeps: Welch's of each single change, with the spread of rates and times pooled "
    "over all levels of a curve. All points together: geometric mean, each point a pair. They do not include how far "
    "two sweeps of one engine differ, so nothing is tested."
)
DRIFT = (
    "The 95% intervals are of a difference of two measurements (Student's t). Their spread is that of earlier "
    "measurements of the same engines on this machine ({} in all). All points together: geometric mean."
)
NOTE = "A dot is the change of the mean over the repeats, its bar the 95% interval of this single change."
ONE_AFTER = (
    "95% prediction interval of a single measurement, from the scatter of the {} before it (Student's t). The repeats "
    "of a point in one sweep are averaged. All metrics at single points are corrected together (Holm)."
)
BETWEEN = (
    "95% Welch interval between {} measurements before and {} after. The repeats of a point in one sweep are averaged, "
    "because they share the state of the machine. All points together: geometric mean of each sweep. Its throughput is "
    "tested at the 5% level; the other metrics, and the changes at single points, are Holm-corrected."
)
PAIRED = "Perplexity: mean difference per token over the windows that both sides scored, with its 95% interval."
SIDES = Column("before"), Column("after"), Column("change")


def changes_section(comparison: Comparison) -> Section:
    """Return what stands for the comparison: all points together, the only point, or the largest changes."""
    pair, rows = stands_for_all(comparison), foremost(comparison)
    if pair is None and not rows:
        return Section()
    heading = "What changed" if pair is None else capitalized(pair.name) or "Changes"
    figures = () if pair is None else tuple(headline_figures(pair))
    made = changes_table(rows, with_points=pair is None)
    charts = partial(forests, [("Change of each metric", comparison)])
    return Section(heading, figures, charts=charts, tables=(made,), details=doubts(comparison), shown="always")


def stands_for_all(comparison: Comparison) -> Pair | None:
    return comparison.together or (comparison.pairs[0] if len(comparison.pairs) == 1 else None)


def headline_figures(pair: Pair) -> Iterator[Figure]:
    """Yield the metrics that people ask for first."""
    for change in filter(None, map(pair.change, HEADLINES)):
        values = " → ".join(value_words(change.metric, value) for value in (change.before, change.after))
        yield Figure(change.metric.title, values, change_words(change))


def foremost(comparison: Comparison) -> list[tuple[Pair, Change]]:
    """Return the changes of what stands for all; else those shown to be real, or all, the largest first."""
    if comparison.together is not None:
        return [(comparison.together, change) for change in comparison.together.changes]
    rows = largest_first([(pair, change) for pair in comparison.pairs for change in pair.changes])
    if len(comparison.pairs) == 1:
        return rows
    rows = [row for row in rows if row[1].direction != "same"]
    return [row for row in rows if row[1].verdict in ("better", "worse")] or rows[:MOST_ROWS]


def doubts(comparison: Comparison) -> tuple[Section, ...]:
    """Fold the method, and the statistics where something is tested; where there is no interval there is neither."""
    whole = stands_for_all(comparison)
    changes = [change for pair in (*comparison.pairs, whole) if pair for change in pair.changes]
    if all(change.interval is None for change in changes):
        return ()
    tables = () if whole is None or untested(whole.changes) else (statistics_table(whole.changes),)
    return (Section(SURE, sentences=says([method_of(comparison)]), tables=tables),)


def forests(titled: Sequence[tuple[str, Comparison]]) -> Iterator[Forest]:
    for title, comparison in titled:
        alone = stands_for_all(comparison) is not None
        names = (
            (change.metric.title if alone else f"{change.metric.title}, {pair.name}", change)
            for pair, change in foremost(comparison)
        )
        yield from forest(title, method_of(comparison), names)


def method_of(comparison: Comparison) -> str:
    if comparison.occasions and 1 in comparison.occasions:
        return ONE_AFTER.format(comparison.occasions[0])
    if comparison.occasions:
        return BETWEEN.format(*comparison.occasions)
    if all(change.metric == PERPLEXITY for pair in comparison.pairs for change in pair.changes):
        return PAIRED
    return DRIFT.format(comparison.earlier) if comparison.drift_is_known else WITHIN


def forest(title: str, note: str, rows: Iterable[tuple[str, Change]]) -> Iterator[Forest]:
    drawn = tuple((name, change) for name, change in rows if change.relative is not None)
    if drawn:
        yield Forest(title, note, drawn)


def changes_table(rows: Sequence[tuple[Pair, Change]], with_points: bool) -> Table:
    """Return a row for each change, with the intervals and verdicts that all of them can have."""
    changes = [change for _, change in rows]
    columns = (
        Column("metric", words=True),
        *[Column("at", words=True)] * with_points,
        *SIDES,
        *interval_column(changes),
        verdict_column(changes),
    )
    cells = (
        (
            each.metric.title,
            *[pair.name] * with_points,
            *sides(each),
            *interval_cell(each, changes),
            verdict_cell(each, untested(changes)),
        )
        for pair, each in rows
    )
    return table(columns, cells, first=FIRST)


def interval_column(changes: Sequence[Change]) -> tuple[Column, ...]:
    """Return the column of intervals where nothing is tested: what they include is in its title."""
    if not untested(changes) or all(change.interval is None for change in changes):
        return ()
    if any(change.earlier for change in changes):
        return (Column("95% interval\nwith drift"),)
    return (Column("95% interval within the sweeps", short="95% interval\nwithin sweeps"),)


def interval_cell(change: Change, beside: Sequence[Change]) -> tuple[str, ...]:
    """Return an interval for its column, which has those with drift, or those without."""
    if not interval_column(beside):
        return ()
    alike = bool(change.earlier) == any(each.earlier for each in beside)
    return (interval_words(change) if alike else "-",)


def sides(change: Change) -> tuple[Cell | str, ...]:
    before, after = (value_words(change.metric, value) for value in (change.before, change.after))
    return before, after, Cell(change_words(change), TONES[change.verdict])


def verdict_column(changes: Sequence[Change]) -> Column:
    return Column("direction (not tested)" if untested(changes) else "verdict", words=True)


def untested(changes: Iterable[Change]) -> bool:
    return all(change.p is None for change in changes)


def statistics_table(changes: Iterable[Change]) -> Table:
    columns = Column("metric", words=True), Column("change"), Column("interval"), Column("p")
    rows = ((each.metric.title, change_words(each), interval_words(each), chance_words(each)) for each in changes)
    return table(columns, rows)


def whole_table(pair: Pair) -> Table:
    """Return one point with its statistics, where it has any."""
    if untested(pair.changes):
        return replace(changes_table([(pair, change) for change in pair.changes], with_points=False), first=0)
    columns = Column("metric", words=True), *SIDES, Column("interval"), Column("p"), verdict_column(pair.changes)
    rows = (
        (each.metric.title, *sides(each), interval_words(each), chance_words(each), verdict_cell(each))
        for each in pair.changes
    )
    return table(columns, rows)


def each_point(comparison: Comparison) -> Section:
    """Return every point with its statistics, folded."""
    points = (
        Section(
            pair.name,
            charts=partial(forest, "Change of each metric", NOTE, [(each.metric.title, each) for each in pair.changes]),
            tables=(whole_table(pair),),
        )
        for pair in comparison.pairs
    )
    return Section("Each point", details=tuple(points)) if len(comparison.pairs) > 1 else Section()


def side_by_side(found: Sequence[Comparison], names: Sequence[str]) -> Iterator[Section]:
    """Yield what stands for all, then each point, with every later measurement beside the first."""
    titled = [(f"Change of each metric, {name}", each) for name, each in zip(names[1:], found, strict=True)]
    charts = partial(forests, titled)
    points = dict.fromkeys(pair.name for comparison in found for pair in comparison.pairs)
    tables = {
        name: beside([next((pair for pair in each.pairs if pair.name == name), None) for each in found], names)
        for name in points
    }
    if len(tables) == 1:
        yield Section("Changes", charts=charts, tables=tuple(tables.values()), shown="always")
        return
    together = [each.together for each in found]
    if all(together):
        heading = f"All points together, against {names[0]}"
        shown = [beside(together, names, with_first=False)]
    else:  # points that cannot be pooled: the largest changes of each comparison
        moved = ((name, foremost(each)) for name, each in zip(names[1:], found, strict=True))
        shown = [replace(changes_table(rows, with_points=True), title=name) for name, rows in moved if rows]
        heading = "What changed"
    sure = tuple(replace(each, tables=()) for each in doubts(found[0]))
    yield Section(heading, charts=charts, tables=tuple(shown), details=sure, shown="always")
    yield Section("Each point", details=tuple(Section(name, tables=(made,)) for name, made in tables.items()))


def beside(pairs: Sequence[Pair | None], names: Sequence[str], with_first: bool = True) -> Table:
    """Return the changes of one point; the first measurement itself is left out where it is not the same for all."""
    metrics = dict.fromkeys(change.metric for pair in pairs if pair for change in pair.changes)
    rows: list[tuple[Cell | str, ...]] = []
    for metric in metrics:
        moved = [pair.change(metric.name) if pair else None for pair in pairs]
        first = next(change for change in moved if change)
        rows.append((metric.title, *[value_words(metric, first.before)] * with_first, *map(against, moved)))
    return table(("metric", *names[1 - with_first :]), rows)


def against(change: Change | None) -> Cell:
    if change is None:
        return Cell("-", "soft")
    words = f"{value_words(change.metric, change.after)} {change_words(change)} {short_verdict(change)}"
    return Cell(words, TONES[change.verdict])


def metric_names(found: Sequence[Comparison]) -> Section:
    """Return what --fail-if and JSON call the metrics, folded."""
    used = {change.metric.name for comparison in found for pair in comparison.pairs for change in pair.changes}
    rows = (
        (each.title, each.name, f"{each.better} is better", each.formula)
        for each in (*COMPARED, PERPLEXITY)
        if each.name in used
    )
    made = table(("metric", "name", "", "definition"), rows, words=range(4))
    return Section("For --fail-if and JSON", details=(Section("Names of the metrics", tables=(made,)),))
