"""What a trend came to: what changed between which occasions, the bounds of the last one, and every figure."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from engine_probe.analysis.compare.gates import Gate
from engine_probe.analysis.compare.trend import FEWEST, Shift, Trend
from engine_probe.evaluation.trend import TIME, TrendOver
from engine_probe.report.charts.model import Axis, Lines, Mark, Series, numbers
from engine_probe.report.document import Cell, Column, Section, Sentence, Table, Tone, says, table
from engine_probe.report.sections.compare.bounds import bound_sentences
from engine_probe.report.sections.compare.change_words import point_names, signed, value_words
from engine_probe.text_format import counted

METHOD = (
    "A change begins or ends the stretch of measurements that differs most from the others by Student's t (circular "
    "binary segmentation). Its p is that of the most different stretch in 20,000 simulated sequences of as many "
    "measurements without a change, corrected for the number of tests (Holm). If the machine drifts, a change says "
    "that the mean moved, and not that it moved at once."
)
UNITS = (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0), ("seconds", 1.0))  # of an axis of time
LEAST_SPAN = 2.0  # of an axis, in its unit


def trend_verdict(found: TrendOver, gates: Sequence[Gate]) -> Section:
    """Return the bounds of the last measurement, and what changed where."""
    where = f" over all {counted(len(found.points), 'point')}" if found.together else ""
    # What single points show where all of them changed is in their own section.
    shown = {shift.at for trend in found.together for shift in trend.shifts}
    sentences = (
        *bound_sentences(list(found.last.held(gates))),
        *changed_sentences(found, found.main, where),
        *(
            sentence
            for name, trends in single(found)
            for sentence in changed_sentences(found, trends, f" at {name}", shown)
        ),
        *nothing_changed(found),
        *says(found.settings, "soft"),
    )
    return Section(sentences=sentences, tables=(occasion_table(found),), shown="always")


def single(found: TrendOver) -> Iterator[tuple[str, tuple[Trend, ...]]]:
    """Yield the trends of each point, if there are several."""
    if found.together:
        names = point_names(list(found.points))
        yield from zip(names, found.points.values(), strict=True)


def changed_sentences(
    found: TrendOver, trends: Sequence[Trend], where: str, without: Collection[int] = ()
) -> Iterator[Sentence]:
    """Yield a sentence for each place at which figures became worse, and one for each at which they became better."""
    places = sorted({shift.at for trend in trends for shift in trend.shifts} - set(without))
    tones: tuple[tuple[bool, Tone, str], ...] = ((True, "problem", "Worse"), (False, "good", "Better"))
    for at in places:
        shifts = [(trend, shift) for trend in trends for shift in trend.shifts if shift.at == at]
        for is_worse, tone, label in tones:
            words = [shift_words(trend, shift) for trend, shift in shifts if trend.is_worse(shift) == is_worse]
            if words:
                yield Sentence(f"{'; '.join(words)}.", tone, f"{label} from {found.occasions[at].label} on{where}")


def shift_words(trend: Trend, shift: Shift) -> str:
    values = f"{value_words(trend.metric, shift.before)} → {value_words(trend.metric, shift.after)}"
    change = "" if shift.relative is None else f"{signed(shift.relative, 1)}, "
    return f"{trend.metric.title} {values} ({change}p {shift.p:.2g})"


def nothing_changed(found: TrendOver) -> Iterator[Sentence]:
    """Say that no change is shown, or why none can be."""
    trends = [*found.main, *(each for _, several in single(found) for each in several)]
    count = counted(len(found.occasions), "measurement")
    if not any(each.tested for each in trends):
        few = f"{count} are too few to test: at least {FEWEST} are needed" if len(found.occasions) < FEWEST else ""
        yield Sentence(f"Not tested: {few or 'no figure differs between the measurements'}.", "caution")
    elif not any(each.shifts for each in trends):
        yield Sentence(f"No change is shown over {count}.")


def occasion_table(found: TrendOver) -> Table:
    """Return a row for each measurement, with a mark where a figure changed."""
    columns = (
        Column("measurement", words=True),
        Column(found.axis if found.axis != "labels" else "label", words=True),
        *(Column(trend.metric.title) for trend in found.main),
    )
    rows: list[tuple[Cell | str, ...]] = [
        (each.name, each.label, *(figure_cell(trend, place) for trend in found.main))
        for place, each in enumerate(found.occasions)
    ]
    note = "Figures are geometric means over all points." if found.together else ""
    return table(columns, rows, note=note)


def figure_cell(trend: Trend, place: int) -> Cell:
    words = value_words(trend.metric, trend.values[place])
    shift = next((each for each in trend.shifts if each.at == place), None)
    if shift is None:
        return Cell(words)
    change = "changed" if shift.relative is None else signed(shift.relative, 1)
    return Cell(words, "problem" if trend.is_worse(shift) else "good", change)


def points_section(found: TrendOver) -> Section:
    """Return what changed at single points."""
    parts = []
    # Full names: under a heading of its own "20" would not tell what it counts.
    for name, trends in found.points.items() if found.together else ():
        changed = tuple(replace(each, tone="plain") for each in changed_sentences(found, trends, ""))
        parts.append(Section(name, sentences=changed or says(["No change is shown."], "soft")))
    return Section("Single points", parts=tuple(parts))


def trend_charts(found: TrendOver) -> Iterator[Lines]:
    """Yield a chart for each figure: over all points, or of each point if there is only one."""
    axis, xs = axis_of(found)
    place = "Of the geometric mean over all points. " if found.together else ""
    names = "" if found.axis == TIME else f" {labels(found)}."
    for trend in found.main:
        note = f"{place}Whiskers: 95% interval of one measurement, by the scatter between changes.{names}"
        marks = [
            Mark(f"changed, p {shift.p:.2g}", (xs[shift.at - 1] + xs[shift.at]) / 2, names_its_place=False)
            for shift in trend.shifts
        ]
        relative = trend.values[0] > 0
        unit = Axis("against the first", "%") if relative else Axis(trend.metric.title, trend.metric.unit)
        yield Lines(trend.metric.title, note, axis, [unit], numbers(xs), [*series(trend, relative)], marks=marks)


def series(trend: Trend, relative: bool) -> Iterator[Series]:
    """Yield the figure, or its change against the first occasion in percent."""

    def drawn(value: float) -> float:
        return (value / trend.values[0] - 1) * 100 if relative else value

    known = [each for each in trend.intervals if each is not None]
    low, high = ([drawn(ends[side]) for ends in known] for side in (0, 1))
    whole = len(known) == len(trend.values)
    yield Series(
        trend.metric.title,
        numbers([drawn(value) for value in trend.values]),
        style="both",
        low=numbers(low) if whole else [],
        high=numbers(high) if whole else [],
    )


def axis_of(found: TrendOver) -> tuple[Axis, list[float]]:
    """Return the axis of time since the first occasion, or the numbers of the occasions."""
    if found.axis != TIME:
        return Axis("measurement", whole=True), [number + 1.0 for number in range(len(found.occasions))]
    first = found.occasions[0].started_ns
    seconds = [(each.started_ns - first) / 1e9 for each in found.occasions]
    name, unit = next((each for each in UNITS if seconds[-1] > LEAST_SPAN * each[1]), UNITS[-1])
    return Axis(f"since {found.occasions[0].label} UTC", name), [round(each / unit, 4) for each in seconds]


def labels(found: TrendOver) -> str:
    return ", ".join(f"{number} is {each.label}" for number, each in enumerate(found.occasions, 1))
