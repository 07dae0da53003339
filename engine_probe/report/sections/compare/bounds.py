"""The bounds of --fail-if: failed and open ones first, and the answer at every point."""

from collections.abc import Iterator, Sequence

from engine_probe.evaluation.comparison import ANSWERS, GateResult, Outcome, after_words
from engine_probe.report.document import Cell, Section, Sentence, Tone, table
from engine_probe.report.sections.compare.change_words import change_words, enumerated, point_names

TONES: dict[Outcome, Tone] = {"broken": "problem", "not measured": "problem", "open": "caution", "holds": "good"}


def bound_sentences(held: Sequence[GateResult]) -> Iterator[Sentence]:
    """Yield a sentence for each bound and answer, in the order in which they matter."""
    for answer, tone in TONES.items():
        for gate in dict.fromkeys(each.gate for each in held):
            alike = [each for each in held if (each.gate, each.answer) == (gate, answer)]
            if len(alike) == 1 and (answer != "holds" or not alike[0].point):
                yield Sentence(alike[0].said, tone)
            elif alike:
                yield Sentence(f"{ANSWERS[answer]} {gate.text}: {places(alike)}", tone)


def places(held: Sequence[GateResult]) -> str:
    """Return the points, and how far each moved where the bound did not pass."""
    moved = ("" if each.answer == "holds" else moved_words(each) for each in held)
    names = point_names([each.point for each in held])
    return enumerated([f"{name} ({each})" if each else name for name, each in zip(names, moved, strict=True)])


def moved_words(held: GateResult) -> str:
    if held.gate.is_level and held.pair is not None and held.pair.success is not None:
        return held.pair.success.words
    change = held.pair.change(held.gate.metric) if held.pair else None
    if change is None:
        return ""
    return change_words(change) if held.gate.limit is None else after_words(change)


def bounds_table(held: Sequence[GateResult]) -> tuple[Section, ...]:
    """Fold a table of every answer; nothing where a single one has its sentence already."""
    if len(held) <= 1:
        return ()
    rows = (
        (
            each.gate.text,
            each.point,
            moved_words(each) or "-",
            "-" if each.p is None else f"{each.p:.2g}",
            Cell(ANSWERS[each.answer], TONES[each.answer]),
        )
        for each in held
    )
    made = table(("bound", "at", "change", "one-sided p", "answer"), rows, words=(0, 1, 4))
    return (Section("Every bound at every point", tables=(made,)),)
