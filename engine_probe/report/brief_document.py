"""A document shortened until it fits a terminal: what is least missed goes first, and what still fits comes back.

Where sentences, rows or sections were taken away, --verbose shows them; pages and files are never shortened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from typing import Any

from engine_probe.report.document import EXTRA, USUAL, Document, Section, Sentence, Table, spread

LINES = 25  # of the report of one run, one sweep or one comparison in a terminal
KEPT_TONES = ("caution", "problem")
# Rows of the verdict's tables: as many as most sweeps have levels, then what still shows the shape of a curve.
VERDICT_ROWS = 8, 6, 4, 3
OTHER_ROWS = 5, 3
FEW = 2  # sentences, and cautions, that stay longest

Cut = Callable[[Document], Document]
Height = Callable[[Document], int]


@dataclass(frozen=True)
class Brief:
    """A shortened document, and how much was taken away."""

    document: Document
    is_shortened: bool
    cautions: int  # that were left out


def brief_document(document: Document, height: Height, lines: int) -> Brief:
    """Return the document at most `lines` high; one of several sweeps keeps a few lines of each, however many."""
    if any(map(has_reports, document.sections)):
        short = reports_in_short(document)
        return Brief(short, short != document, 0)
    cautions = len(all_cautions(document))

    def made(cuts: Sequence[Cut]) -> Document:
        return reduce(lambda found, cut: cut(found), cuts, document)

    def fits(cuts: Sequence[Cut]) -> bool:
        found = made(cuts)
        return height(found) + (len(all_cautions(found)) < cautions) <= lines

    brief = made(fewest_cuts(list(cuts_of(document)), fits))
    return Brief(brief, brief != document, cautions - len(all_cautions(brief)))


def fewest_cuts(cuts: list[Cut], fits: Callable[[Sequence[Cut]], bool]) -> list[Cut]:
    """Return the first of the cuts that are needed, without those that later ones made unnecessary."""
    low, high = 0, len(cuts)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(cuts[:middle]) else (middle + 1, high)
    needed = cuts[:low]
    for cut in reversed(needed[:-1]):
        others = [each for each in needed if each is not cut]
        if fits(others):
            needed = others
    return needed


def cuts_of(document: Document) -> Iterator[Cut]:
    """Yield what can be taken away, that which is least missed first; each cut is independent of the others."""
    sections = document.sections
    unasked = [place for place, section in enumerate(sections) if section.shown == "always" and not section.asked]
    asked = [place for place, section in enumerate(sections) if section.shown == "always" and section.asked]
    plain = [each for each in shown_sentences(document.verdict) if each.tone not in KEPT_TONES]
    extra, usual = ([each for each in plain if each.rank == rank] for rank in (EXTRA, USUAL))
    answers = sorted((each for each in plain if each.rank < USUAL), key=lambda each: each.rank)
    first_rows, *fewer_rows = (partial(in_verdict, change=partial(with_rows, rows=rows)) for rows in VERDICT_ROWS)
    first_others, *fewer_others = (partial(in_sections, change=partial(with_rows, rows=rows)) for rows in OTHER_ROWS)
    yield partial(map_sections, change=without_notes)
    yield partial(in_sections, change=lambda section: section if section.asked else with_one_line(section))
    yield first_others
    yield first_rows
    yield from map(without, reversed(extra))
    yield from (partial(with_section, place=place, shown="verbose") for place in reversed(unasked))
    yield partial(in_verdict, change=with_overview)
    yield partial(map_sections, change=with_one_line)
    yield from fewer_others
    yield fewer_rows[0]
    yield partial(in_sections, change=with_one_table)
    yield partial(in_sections, change=with_few_sentences)
    yield from map(without, reversed(usual[max(0, FEW - len(answers)) :]))
    yield fewer_rows[1]
    yield from map(without, reversed(answers[FEW:]))
    cautions = sorted(all_cautions(document), key=lambda each: each.tone == "caution")
    yield from map(without, reversed(cautions[FEW:]))
    yield partial(in_verdict, change=with_one_table)
    yield from map(without, reversed(cautions[1:FEW]))
    yield fewer_rows[2]
    yield from (partial(with_section, place=place, tables=(), bars=()) for place in reversed(asked))
    yield from map(without, reversed([*answers, *usual][1:]))
    yield from (partial(with_section, place=place, shown="verbose") for place in reversed(asked))


def map_sections(document: Document, change: Callable[[Section], Section]) -> Document:
    return in_sections(in_verdict(document, change), change)


def in_verdict(document: Document, change: Callable[[Section], Section]) -> Document:
    return replace(document, verdict=change(document.verdict))


def in_sections(document: Document, change: Callable[[Section], Section]) -> Document:
    return replace(document, sections=tuple(map(change, document.sections)))


def with_section(document: Document, place: int, **changes: Any) -> Document:
    """Return the document with these fields of one section replaced."""
    sections = list(document.sections)
    sections[place] = replace(sections[place], **changes)
    return replace(document, sections=tuple(sections))


def without(sentence: Sentence) -> Cut:
    """Return a cut that removes this very sentence."""
    return partial(map_sections, change=partial(deeply, sentences=partial(others_than, sentence)))


def others_than(sentence: Sentence, found: Sequence[Sentence]) -> list[Sentence]:
    return [each for each in found if each is not sentence]


def without_notes(section: Section) -> Section:
    """Return a section without the notes below its tables and without sentences in a pale colour."""
    return deeply(
        section,
        sentences=lambda found: [each for each in found if each.tone != "soft"],
        tables=lambda found: [replace(each, note="") for each in found],
    )


def with_rows(section: Section, rows: int) -> Section:
    """Return a section whose tables have at most so many rows: the most telling ones, in their order."""
    return deeply(section, tables=lambda found: [with_first(each, rows) for each in found])


def with_first(table: Table, rows: int) -> Table:
    shown = table.first or len(table.rows)
    ranked = tuple(range(len(table.rows)))
    telling = table.telling or (ranked if table.first else spread(len(ranked)))  # how many are left out is then said
    is_thinner = shown > rows and len(table.rows) > rows + 1  # the line that tells of one row takes as much as the row
    return replace(table, first=rows, telling=telling) if is_thinner else table


def with_one_line(section: Section) -> Section:
    """Return a section whose tables have one line for each row."""
    return deeply(section, tables=lambda found: [replace(each, one_line=True) for each in found])


def with_one_table(section: Section) -> Section:
    """Return a section with the first of its tables, and of its parts the cautions alone."""
    parts = tuple(replace(part, shown="page" if part.shown == "page" else "verbose") for part in section.parts)
    return replace(section, tables=section.tables[:1], parts=parts)


def with_few_sentences(section: Section) -> Section:
    plain = [each for each in section.sentences if each.tone not in KEPT_TONES]
    return reduce(lambda found, each: deeply(found, sentences=partial(others_than, each)), plain[FEW:], section)


def with_overview(section: Section) -> Section:
    """Return a section with one table in place of several, where it has one."""
    return replace(section, tables=(section.overview,)) if section.overview else section


def deeply(
    section: Section,
    sentences: Callable[[Sequence[Sentence]], Sequence[Sentence]] = tuple,
    tables: Callable[[Sequence[Table]], Sequence[Table]] = tuple,
) -> Section:
    """Return a section whose sentences and tables were changed, and those of all its parts and details."""
    overview = next(iter(tables((section.overview,)))) if section.overview else None
    return replace(
        section,
        sentences=tuple(sentences(section.sentences)),
        tables=tuple(tables(section.tables)),
        overview=overview,
        parts=tuple(deeply(part, sentences, tables) for part in section.parts),
        details=tuple(deeply(part, sentences, tables) for part in section.details),
    )


def all_cautions(document: Document) -> list[Sentence]:
    """Return the cautions and problems in the order in which a terminal shows them."""
    return [each for section in document.all_sections for each in cautions_of(section)]


def cautions_of(section: Section) -> Iterator[Sentence]:
    """Yield the cautions and problems of a section and of all that is in it, but not of what only pages show."""
    if section.shown != "page":
        yield from (each for each in section.sentences if each.tone in KEPT_TONES)
        for part in (*section.parts, *section.details):
            yield from cautions_of(part)


def shown_sentences(section: Section) -> Iterator[Sentence]:
    if section.shown == "always":
        yield from section.sentences
        for part in section.parts:
            yield from shown_sentences(part)


def has_reports(section: Section) -> bool:
    return section.answers > 0 or any(map(has_reports, section.parts))


def reports_in_short(document: Document) -> Document:
    """Return a document with the first caution and the answers of each report that it holds, each told once."""
    told: set[str] = {each.text for each in document.verdict.sentences}
    return in_sections(document, partial(in_short, told=told))


def in_short(section: Section, told: set[str]) -> Section:
    if not section.answers:
        return replace(section, parts=tuple(in_short(part, told) for part in section.parts), details=())
    fresh = [each for each in section.sentences if each.text not in told]
    cautions = [each for each in fresh if each.tone in KEPT_TONES][:1]
    plain = sorted((each for each in fresh if each.tone not in (*KEPT_TONES, "soft")), key=lambda each: each.rank)
    kept = [*cautions, *plain[: section.answers]]
    told.update(each.text for each in kept)
    sentences = tuple(each for each in section.sentences if any(each is other for other in kept))
    asked = (each for part in section.parts if part.asked for each in part.sentences[:1] if each.tone != "soft")
    return Section(section.title, sentences=(*sentences, *asked), shown="always")
