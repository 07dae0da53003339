"""The quality of answers over the load: is accuracy kept, and which faults come with load?"""

from collections.abc import Iterator
from functools import partial

from engine_probe.analysis.answers.quality.answer_verdicts import FAULTS
from engine_probe.analysis.answers.quality.quality_by_load import ChangedShare
from engine_probe.evaluation.quality import CORRECT, NO_TEXT, CurveQuality, QualityLevel
from engine_probe.report.charts.quality import group_name, quality_charts
from engine_probe.report.document import Cell, Column, Section, Sentence, Table, Tone, says, sure, table
from engine_probe.report.sections.run.quality import HOW, NOT_FOUND, TITLE, interval, rate_cell
from engine_probe.text_format import counted
from engine_probe.workload.load import level_words

TESTED = (
    "Each load is compared with the lowest, question by question (exact sign test; p is corrected for {count} tests, "
    "Holm). A question counts once, however often it was asked; intervals are Wilson's over {questions} questions."
)


def curve_quality_section(found: CurveQuality, label: str) -> Section:
    """Return what load does to the answers of one curve."""
    title = f"{TITLE}{f': {label}' if label else ''}"
    if found.notes == (NO_TEXT,):
        return Section(title, sentences=says(found.notes))  # as asked, and no caution
    notes = says(found.notes, "caution")
    if not any(level.rate(CORRECT) for level in found.levels):
        return Section(title, sentences=notes, shown="always", asked=True)
    return Section(
        title,
        sentences=(*verdict(found), *notes),
        charts=partial(quality_charts, found),
        tables=(accuracy_table(found), *fault_tables(found)),
        details=sure(HOW, *tests(found), NOT_FOUND),
        shown="always",
        asked=True,
    )


def verdict(found: CurveQuality) -> Iterator[Sentence]:
    """Yield what load does to accuracy, and each fault that comes or goes with it."""
    yield accuracy_sentence(found)
    seen = [name for name in FAULTS if found.varies(name)]
    judged = [name for name in FAULTS if any(level.rate(name) for level in found.levels)]
    for name in seen:
        worst = strongest(found, name)
        if worst is not None and worst.significant:
            yield Sentence(fault_words(found, name, worst), "problem" if worst.more > worst.less else "plain")
    significant = {change.name for change in found.changes if change.significant}
    quiet = [FAULTS[name] for name in seen if name not in significant]
    if quiet and len(found.levels) > 1:
        yield Sentence(f"Seen, but with no shown effect of load: {', '.join(quiet)}.")
    elif quiet:
        yield Sentence(f"Seen: {', '.join(quiet)}.")
    if len(seen) < len(judged):
        yield Sentence(f"Never seen: {', '.join(FAULTS[name] for name in judged if name not in seen)}.")


def accuracy_sentence(found: CurveQuality) -> Sentence:
    levels = [(level.load, level.rate(CORRECT)) for level in found.levels]
    known = [(load, rate) for load, rate in levels if rate is not None]
    (first, low), (last, high) = known[0], known[-1]
    words = f"{low.share:.0%} of the answers are right at {level_words(first, found.unit)}"
    if first == last:
        return Sentence(f"{words} ({interval(low)}).")
    words += f", {high.share:.0%} at {last:g}"
    change = strongest(found, CORRECT)
    if change is None:
        return Sentence(f"{words}.")
    moved = f"{change.less} of {low.questions} questions do worse at {change.load:g} and {change.more} better"
    if not change.significant:
        return Sentence(f"{words}: no effect of load is shown ({moved}, p = {change.p:.2g}).", "good")
    better = change.more > change.less
    effect = "load raises accuracy" if better else "load costs accuracy"
    return Sentence(f"{words}: {effect} ({moved}, p = {change.p:.2g}).", "good" if better else "problem")


def strongest(found: CurveQuality, name: str) -> ChangedShare | None:
    """Return the comparison with the lowest p, of equal ones that with the highest load."""
    changes = [change for change in found.changes if change.name == name]
    return min(changes, key=lambda change: (change.p, -change.load), default=None)


def fault_words(found: CurveQuality, name: str, change: ChangedShare) -> str:
    by_load = {level.load: level.rate(name) for level in found.levels}
    known = [(load, rate) for load, rate in by_load.items() if rate is not None]
    low, high = known[0], (change.load, by_load[change.load])
    assert high[1] is not None
    way = "more" if change.more > change.less else "less"
    return (
        f"{FAULTS[name].capitalize()}: {low[1].share:.1%} at {low[0]:g}, {high[1].share:.1%} at {high[0]:g}: {way} "
        f"with load ({counted(change.more, 'question')} more often, {change.less} less often, p = {change.p:.2g})."
    )


def accuracy_table(found: CurveQuality) -> Table:
    rows = [
        [group_name(*group), *(rate_cell(level.rate(CORRECT, group)) for level in found.levels)]
        for group in found.groups
    ]
    return table(load_columns("right answers", found), rows)


def fault_tables(found: CurveQuality) -> tuple[Table, ...]:
    """Return the shares of the faults that were seen at any load. Empty if none was."""
    rows = [
        [words, *(fault_cell(found, name, level) for level in found.levels)]
        for name, words in FAULTS.items()
        if found.varies(name)
    ]
    return (table(load_columns("answers with a fault", found), rows),) if rows else ()


def load_columns(title: str, found: CurveQuality) -> list[Column]:
    return [Column(title, words=True), *(Column(f"{level.load:g}") for level in found.levels)]


def fault_cell(found: CurveQuality, name: str, level: QualityLevel) -> Cell | str:
    rate = level.rate(name)
    if rate is None:
        return "-"
    changes = [change for change in found.changes if (change.name, change.load) == (name, level.load)]
    worse = any(change.significant and change.more > change.less for change in changes)
    tone: Tone = "problem" if worse else "plain"
    return Cell(f"{rate.share:.1%}", tone, f"{rate.count} of {rate.judged}")


def tests(found: CurveQuality) -> Iterator[str]:
    rates = [rate for level in found.levels if (rate := level.rate(CORRECT))]
    if found.changes:
        yield TESTED.format(count=len(found.changes), questions=max(rate.questions for rate in rates))
