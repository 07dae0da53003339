"""Published figures beside measured ones in a table, always labelled as published."""

from collections.abc import Callable, Iterator, Sequence

from engine_probe.evaluation.published.published_comparison import Beside, other_units
from engine_probe.evaluation.published.reference import Published, Reference
from engine_probe.recordings.curve import Curve
from engine_probe.recordings.run import Run
from engine_probe.report.charts.published import own_settings
from engine_probe.report.document import Column, Section, says, table

MEASURED, PREDICTED = "measured", "predicted"


def titles(how: str) -> tuple[Column | str, ...]:
    ratio, differs = Column(f"{how} / published", short="ratio"), Column("settings that differ", True, "differs in")
    return ("figure", "at", "published", how, ratio, differs, "doubts")


def reference_rows(found: Sequence[Beside], how: str = MEASURED) -> list[list[str]]:
    return [
        [
            name,
            "-" if pair.published.at is None else f"{pair.published.at:g}",
            published_words(pair.published, pair.figure.form),
            f"not {how}" if pair.measured is None else pair.figure.form(pair.measured),
            ratio_words(pair),
            ", ".join(pair.differs) or "none known",
            pair.published.doubt,
        ]
        for name, pair in named_pairs(found)
    ]


def named_pairs(found: Sequence[Beside]) -> Iterator[tuple[str, Beside]]:
    """Yield each figure with its name and that of its curve; one that none of several curves gives only once."""
    told: list[Published] = []
    for pair in found:
        own = own_settings(pair)
        words = pair.figure.words + ("" if own.removeprefix(", ") in pair.curve.label else own)
        alike = [each for each in found if each.published == pair.published]
        if len(alike) == 1 or any(each.measured is not None for each in alike):
            yield pair.curve.named(words), pair
        elif pair.published not in told:
            told.append(pair.published)
            yield words, pair


def published_words(published: Published, form: Callable[[float], str]) -> str:
    """Return the value, or the band: `3,000 to 5,000`, `at most 80`."""
    if published.value is not None:
        return form(published.value)
    if published.low is not None and published.high is not None:
        return f"{form(published.low)} to {form(published.high)}"
    return " ".join(f"{name} {form(number)}" for name, number in published.ends.items())


def ratio_words(pair: Beside) -> str:
    if pair.measured is None:
        return "-"
    return "within" if pair.ratio is None else f"{pair.ratio:.2f}"


def nothing_beside(reference: Reference, how: str) -> str:
    models = ", ".join(dict.fromkeys(figure.model for figure in reference.figures))
    return f"None of it is about what was {how} here: it is about {models}, over {reference.load_in}."


def unit_words(reference: Reference, others: Sequence[str]) -> str:
    return (
        f"Its loads are in {reference.load_in}, those measured here in {' and '.join(others)}: nothing is set beside "
        "them (load_in of the table says what it counts)."
    )


def reference_section(
    reference: Reference, found: Sequence[Beside], curves: Sequence[Curve], runs: Sequence[Run]
) -> Section:
    """Return the published figures with their source, and what cannot be set beside them. Empty if there are none."""
    if not reference.figures:
        return Section()
    how = PREDICTED if any(run.predicted for run in runs) else MEASURED
    source = says([f"{reference.source}. {reference.doubt}"], "soft")
    others = other_units(reference, curves)
    nothing = says([unit_words(reference, others)] if others else [], "caution")
    nothing += says([] if found or others else [nothing_beside(reference, how)])
    tables = (table(titles(how), reference_rows(found, how), words=(0, 6)),) if found else ()
    return Section(
        f"Published: {reference.title}", sentences=(*source, *nothing), tables=tables, shown="always", asked=True
    )
