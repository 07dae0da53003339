"""The quality of one run's answers to a question set, in words that the report of a sweep has in common."""

from engine_probe.analysis.answers.quality.answer_verdicts import FAULTS
from engine_probe.analysis.answers.quality.quality_by_load import MeanShare
from engine_probe.errors import InputError
from engine_probe.evaluation.quality import CORRECT, Judge, QualityLevel, RunQuality, groups_of
from engine_probe.recordings.run import Run
from engine_probe.report.charts.quality import group_name
from engine_probe.report.document import Cell, Section, Table, says, sure, table

TITLE = "Quality of the answers"
NOT_FOUND = (
    "What a reader would have to understand to notice is not found: false statements beside a right answer, reasoning "
    "that argues for a choice without naming it, and instructions given away in other words."
)
HOW = (
    "Right: by each question's key. Wrong language: a third of the letters in sentences that can be told, or an answer "
    "announced in another language. Contradiction: the letter answered and those the text calls right. Leak: seven "
    "words in a row of the system prompt alone. Copy: 60% of an answer from its prompt, or the question again. "
    "Repetitive: a phrase four times in a row, or half of the runs of three words seen before. Context lost: a later "
    "turn's key is missed."
)


def quality_section(run: Run) -> Section:
    """Return the accuracy and the faults of a run's answers. Empty if it asked no questions of a set."""
    try:
        found = Judge().run(run)
    except InputError as error:
        return Section(TITLE, sentences=says([str(error)], "caution"), shown="always")
    if found is None:
        return Section()
    notes = says(found.notes, "caution")
    level = QualityLevel(0, found.answers)
    right = level.rate(CORRECT)
    if right is None:
        return Section(TITLE, sentences=notes, shown="always", asked=True)
    words = f"{right.count} of {right.judged} answers are right: {right.share:.0%} ({interval(right)})."
    return Section(
        TITLE,
        sentences=(*says([words, *fault_sentences(level)]), *notes),
        tables=(group_table(level, found),),
        details=sure(HOW, "Intervals are Wilson's with 95%, over questions.", NOT_FOUND),
        shown="always",
        asked=True,
    )


def fault_sentences(level: QualityLevel) -> list[str]:
    """Return which faults were seen, and which were judged and never seen."""
    rates = {words: rate for name, words in FAULTS.items() if (rate := level.rate(name))}
    seen = [f"{words} {rate.count} of {rate.judged}" for words, rate in rates.items() if rate.count]
    never = [words for words, rate in rates.items() if not rate.count]
    found = [f"Faults: {', '.join(seen)}."] if seen else []
    return found + ([f"Never seen: {', '.join(never)}."] if never else [])


def group_table(level: QualityLevel, found: RunQuality) -> Table:
    rows = [[group_name(*group), rate_cell(level.rate(CORRECT, group))] for group in groups_of(found.answers)]
    return table(("answers", "right"), rows)


def rate_cell(rate: MeanShare | None) -> Cell | str:
    return "-" if rate is None else Cell(f"{rate.share:.0%}", below=interval(rate))


def interval(rate: MeanShare) -> str:
    low, high = rate.interval
    return f"{low:.0%} to {high:.0%}"
