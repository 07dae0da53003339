"""Charts of the quality of answers over the load: accuracy by language and subject, and the shares of faults."""

from collections.abc import Iterator, Sequence

from engine_probe.analysis.answers.quality.answer_verdicts import FAULTS
from engine_probe.analysis.answers.quality.quality_by_load import MeanShare
from engine_probe.evaluation.quality import ALL, CORRECT, CurveQuality
from engine_probe.report.charts.model import Axis, Lines, Series, load_axis, short

NOTE = "Bars: 95% (Wilson's interval over questions)."


def quality_charts(found: CurveQuality) -> Iterator[Lines]:
    """Yield the charts of a curve with at least two loads."""
    xs = [level.load for level in found.levels]
    if len(xs) < 2:
        return
    accuracy = [
        rates(group_name(*group), [level.rate(CORRECT, group) for level in found.levels], number)
        for number, group in enumerate(found.groups)
    ]
    yield Lines("Accuracy over the load", NOTE, load_axis(found.unit), [Axis("right answers", "%")], list(xs), accuracy)
    faults = [
        rates(words, [level.rate(name) for level in found.levels], number)
        for number, (name, words) in enumerate(FAULTS.items())
        if found.varies(name)
    ]
    if faults:
        axes = [Axis("answers with the fault", "%")]
        yield Lines("Faults of answers over the load", NOTE, load_axis(found.unit), axes, list(xs), faults)


def group_name(language: str, subject: str) -> str:
    return "all" if language == ALL else f"{language}, {subject}"


def rates(label: str, levels: Sequence[MeanShare | None], colour: int) -> Series:
    """Return shares in percent with their intervals; the first line, of all answers, is the strongest."""

    def percent(value: float) -> float:
        return short(100 * value)

    return Series(
        label,
        [None if level is None else percent(level.share) for level in levels],
        style="both",
        colour=colour,
        low=[None if level is None else percent(level.interval[0]) for level in levels],
        high=[None if level is None else percent(level.interval[1]) for level in levels],
    )
