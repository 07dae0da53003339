"""A document shortened until it fits a terminal: what is least missed goes first, and cautions stay.

Where sentences, rows or sections were taken away, --verbose shows them; pages and files are never shortened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from engine_probe.report.document import Document, Section, Sentence, Table

LINES = 25  # of the report of one run, one sweep or one comparison in a terminal
KEPT_TONES = ("caution", "problem")
# Rows of the verdict's tables: as many as most sweeps have levels, then what still shows the shape of a curve.
VERDICT_ROWS = 8, 6, 4
OTHER_ROWS = 5
FEWEST_SENTENCES = 2  # of a verdict, cautions apart


def brief_document(document: Document, height: Callable[[Document], int], lines: int) -> tuple[Document, bool]:
    """Return the document at most `lines` high if that can be, and whether anything was taken away."""
    brief = map_sections(document, without_details)
    shortened = brief != document
    while height(brief) > lines:
        shorter = next((found for found in shorter_documents(brief) if height(found) < height(brief)), None)
        if shorter is None:
            break
        brief, shortened = shorter, True
    return brief, shortened


def shorter_documents(document: Document) -> Iterator[Document]:
    """Yield the document without one thing, that which is least missed first."""
    yield map_sections(document, without_notes)
    yield replace(document, sections=tuple(with_rows(section, OTHER_ROWS) for section in document.sections))
    verdict, *fewer = (with_rows(document.verdict, rows) for rows in VERDICT_ROWS)
    yield replace(document, verdict=verdict)
    for place in reversed(range(len(document.sections))):
        if document.sections[place].shown == "always":
            hidden = replace(document.sections[place], shown="verbose")
            yield replace(document, sections=(*document.sections[:place], hidden, *document.sections[place + 1 :]))
    yield from (replace(document, verdict=each) for each in fewer)
    plain = [place for place, each in enumerate(document.verdict.sentences) if each.tone not in KEPT_TONES]
    for place in reversed(plain[FEWEST_SENTENCES:]):
        sentences = document.verdict.sentences
        yield replace(document, verdict=replace(document.verdict, sentences=sentences[:place] + sentences[place + 1 :]))


def map_sections(document: Document, change: Callable[[Section], Section]) -> Document:
    return replace(document, verdict=change(document.verdict), sections=tuple(map(change, document.sections)))


def without_details(section: Section) -> Section:
    """Return a section without the sentences that explain others."""
    return deeply(section, sentences=lambda found: [each for each in found if not each.detail])


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
    return table if shown <= rows else replace(table, first=rows)


def deeply(
    section: Section,
    sentences: Callable[[Sequence[Sentence]], Sequence[Sentence]] = tuple,
    tables: Callable[[Sequence[Table]], Sequence[Table]] = tuple,
) -> Section:
    """Return a section whose sentences and tables were changed, and those of all its parts and details."""
    return replace(
        section,
        sentences=tuple(sentences(section.sentences)),
        tables=tuple(tables(section.tables)),
        parts=tuple(deeply(part, sentences, tables) for part in section.parts),
        details=tuple(deeply(part, sentences, tables) for part in section.details),
    )
