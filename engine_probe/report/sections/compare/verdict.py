"""What a comparison came to: bounds, settings that differ, what is better or worse, and what was not compared."""

from collections.abc import Iterator, Sequence

from engine_probe.analysis.compare.changes import PERPLEXITY, Change, Verdict
from engine_probe.analysis.compare.gates import Gate
from engine_probe.evaluation.comparison import Comparison, Pair
from engine_probe.evaluation.setting_differences import OTHER_WORKLOAD, SettingDifference
from engine_probe.report.document import Section, Sentence, Tone, says
from engine_probe.report.sections.compare.bounds import bound_sentences, bounds_table
from engine_probe.report.sections.compare.change_words import change_words, enumerated, largest_first, point_names
from engine_probe.text_format import counted, model_name

MOST_METRICS = 3  # named in a sentence
MOST_SETTINGS = 6
MOST_UNMEASURED = 3
ONE_EACH = "Not tested: one measurement on each side"
TO_TEST = "To test: `sweep A --against B`, several of each in turns."
TO_KNOW = "To add the drift: `--history FOLDER ...`."
NO_ROUNDS = "each was measured once, or its repeats one after another"
NO_DRIFT = "{} showed none: at least two of one side are needed, and they must differ."
ONE_WINDOW = "Not tested: a text of a single window does not tell how perplexity varies. Score a longer text."

WORKLOAD_DIFFERS: tuple[Tone, str, bool] = ("problem", OTHER_WORKLOAD, True)
SETTINGS_DIFFER: tuple[Tone, str, bool] = ("plain", "Settings that differ", False)
Row = tuple[Pair, Change]


def compare_verdict(comparison: Comparison, gates: Sequence[Gate], title: str = "") -> Section:
    held = list(comparison.held(gates))
    sentences = (
        *bound_sentences(held),
        *setting_sentences(comparison.differences),
        *says((*comparison.unlike, *comparison.left_out[:MOST_UNMEASURED]), "caution"),
        *change_sentences(comparison),
        *not_compared(comparison),
    )
    rest = {
        "Other points without figures": comparison.unmeasured[MOST_UNMEASURED:],
        "Others that are no earlier measurements": comparison.left_out[MOST_UNMEASURED:],
    }
    others = (Section(heading, sentences=says(lines)) for heading, lines in rest.items() if lines)
    return Section(title, sentences=sentences, details=(*bounds_table(held), *others), shown="always")


def setting_sentences(differences: Sequence[SettingDifference] | None) -> Iterator[Sentence]:
    """Yield what else differs; None: nothing was recorded of it."""
    if differences is None:
        return
    if not differences:
        yield Sentence("All settings that are recorded are the same on both sides.", "soft")
    for tone, label, of_workload in (WORKLOAD_DIFFERS, SETTINGS_DIFFER):
        alike = [each for each in differences if each.of_workload == of_workload]
        if alike:
            words = [f"{each.title} {on(each.before)} → {on(each.after)}" for each in alike]
            yield Sentence(enumerated(words, MOST_SETTINGS), tone, label)


def on(value: str) -> str:
    return {"True": "on", "False": "off"}.get(value, model_name(value))


def change_sentences(comparison: Comparison) -> Iterator[Sentence]:
    """Yield what is better and what is worse, or what is higher and lower where that is not tested."""
    whole = comparison.together
    rows = [(pair, change) for pair in comparison.pairs for change in pair.changes]
    over_all = [(whole, change) for change in whole.changes] if whole else []
    tested, others = ([row for row in rows if (row[1].p is not None) == is_tested] for is_tested in (True, False))
    where = " at single points" if len(comparison.pairs) > 1 else ""
    if whole and comparison.occasions:
        yield from judged_sentences(over_all, f" over {whole.name}")
    if tested:
        yield from judged_sentences(tested, where)
    if others and all(change.metric == PERPLEXITY for _, change in others):
        yield Sentence(ONE_WINDOW, "caution")
        yield from untested_sentences(others, where)
    elif others:
        yield Sentence(drift_words(comparison, [*over_all, *others]), "caution")
        yield Sentence(TO_TEST if comparison.drift_is_known else f"{TO_TEST} {TO_KNOW}", "soft")
        yield from untested_sentences(over_all or others, f" over {whole.name}" if whole else where)


def drift_words(comparison: Comparison, rows: Sequence[Row]) -> str:
    """Return why nothing is tested, and what the intervals include."""
    of = counted(comparison.earlier, "earlier measurement")
    if comparison.drift_is_known:
        return f"{ONE_EACH}. The intervals include the drift between measurements, from {of}."
    no_intervals = all(change.interval is None for pair, change in rows if not pair.is_whole)
    caution = f"{ONE_EACH}, and the drift between measurements on this machine is not known."
    if comparison.earlier:
        caution = f"{caution} {NO_DRIFT.format(of)}"
    if all(change.interval is None for _, change in rows):
        return f"{caution} There is no interval: {NO_ROUNDS}."
    alone = f" Single points have none: {NO_ROUNDS}." if no_intervals else ""
    return f"{caution} The intervals are within the sweeps only.{alone}"


def untested_sentences(rows: Sequence[Row], where: str) -> Iterator[Sentence]:
    within = [row for row in rows if row[1].is_within_drift]
    if within:
        metrics = dict.fromkeys(change.metric.title for _, change in largest_first(within))
        yield Sentence(foremost_of(list(metrics)), label=f"The drift is larger than the change{where}")
    for direction in ("lower", "higher"):
        alike = [row for row in rows if row[1].direction == direction and not row[1].is_within_drift]
        if alike:
            yield Sentence(phrases(alike), label=f"{direction.capitalize()}{where}, not tested")
    if not within and all(change.direction == "same" for _, change in rows):
        yield Sentence("Every metric is the same on both sides.")


def judged_sentences(rows: Sequence[Row], where: str) -> Iterator[Sentence]:
    verdicts: dict[Verdict, Tone] = {"worse": "problem", "better": "good"}
    for verdict, tone in verdicts.items():
        alike = [row for row in rows if row[1].verdict == verdict]
        if alike:
            yield Sentence(phrases(alike), tone, f"{verdict.capitalize()}{where}")
    others = {change.metric for _, change in rows if change.verdict == "not shown to differ"}
    real = {change.metric for _, change in rows if change.verdict in verdicts}
    if not real:
        yield Sentence(f"No significant change{where} ({counted(len(others), 'metric')}).")
    elif others - real and (not where or rows[0][0].is_whole):
        yield Sentence(f"{counted(len(others - real), 'other metric')}: no significant change{where}.", "soft")


def phrases(rows: Sequence[Row]) -> str:
    """Return the metrics that changed most, each at the point at which it changed most."""
    metrics = dict.fromkeys(change.metric for _, change in largest_first(rows))
    named = [metric_phrase([row for row in rows if row[1].metric == metric]) for metric in metrics]
    return foremost_of(named)


def foremost_of(metrics: Sequence[str]) -> str:
    rest = len(metrics) - MOST_METRICS
    more = f"; and {counted(rest, 'other metric')}" if rest > 0 else ""
    return "; ".join(metrics[:MOST_METRICS]) + more


def metric_phrase(rows: Sequence[Row]) -> str:
    (pair, most), *others = largest_first(rows)
    if others:
        return f"{most.metric.title} at {len(rows)} points, up to {change_words(most)}"
    at = f" at {pair.name}" if pair.name and not pair.is_whole else ""
    return f"{most.metric.title} {change_words(most)}{at}"


def not_compared(comparison: Comparison) -> Iterator[Sentence]:
    for place, names in ((comparison.before, comparison.only_before), (comparison.after, comparison.only_after)):
        if names:
            yield Sentence(enumerated(point_names(names)), "caution", f"Only in {place}")
    yield from says(comparison.unmeasured[:MOST_UNMEASURED], "caution")
