"""A report as data: a verdict and sections, which say their sentences, tables and charts once.

The topics in `sections/` make them; the renderers in `renderers/` draw a document in a terminal, as a page, in a
notebook or as Markdown. A section is read in the order figures, sentences, charts, tables, parts, details.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from engine_probe.analysis.compare.changes import Change
from engine_probe.report.charts.model import Lines, Spans

# soft: in a pale colour; caution and problem are shown in a terminal even where their section is not.
Tone = Literal["plain", "soft", "good", "caution", "problem"]
# Where a section is shown: always, in a terminal only with --verbose, or on pages only.
Shown = Literal["always", "verbose", "page"]
# Where a column is shown: always, not in a narrow terminal, or on pages only.
Room = Literal["always", "spare", "page"]


@dataclass(frozen=True)
class Sentence:
    text: str
    tone: Tone = "plain"
    label: str = ""  # stands before it in bold
    command: bool = False  # holds a command to be copied: a terminal breaks it into no lines


@dataclass(frozen=True)
class Figure:
    """One figure at a glance; a terminal leaves it out, because sentences and tables have it too."""

    label: str
    value: str
    mark: str = ""  # what is to be said against it, in a word


@dataclass(frozen=True)
class Cell:
    text: str
    tone: Tone = "plain"
    below: str = ""  # how sure the figure is, or what it is relative to


@dataclass(frozen=True)
class Column:
    title: str
    words: bool = False  # to the left, and broken into lines where room is scarce; figures are neither
    short: str = ""  # the title where room is scarce
    room: Room = "always"


@dataclass(frozen=True)
class Table:
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell | str, ...], ...]
    title: str = ""
    note: str = ""
    first: int = 0  # rows that a terminal shows without --verbose; 0 is all


@dataclass(frozen=True)
class Part:
    """A piece of a bar; `paint` is a colour of `page.css`, followed by "pale", or "none"."""

    name: str
    size: str
    share: float
    paint: str


@dataclass(frozen=True)
class Bar:
    name: str
    total: str
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Bars:
    """Wholes and their parts, one bar under the other."""

    title: str
    note: str
    bars: tuple[Bar, ...]


@dataclass(frozen=True)
class Forest:
    """Changes with their intervals, a row each."""

    title: str
    note: str
    rows: tuple[tuple[str, Change], ...]
    least: float = 0.05  # what the axis reaches at least to either side of no change


Picture = Lines | Spans | Forest
SURE = "How sure is this?"


@dataclass(frozen=True)
class Section:
    title: str = ""
    figures: tuple[Figure, ...] = ()
    sentences: tuple[Sentence, ...] = ()
    charts: Callable[[], Iterable[Picture]] = tuple  # made when they are drawn: a terminal draws none
    bars: tuple[Bars, ...] = ()
    tables: tuple[Table, ...] = ()
    parts: tuple[Section, ...] = ()
    details: tuple[Section, ...] = ()  # folded: statistics, sources, formulas
    shown: Shown = "verbose"


@dataclass(frozen=True)
class Document:
    title: str
    origin: str  # where it comes from
    verdict: Section
    sections: tuple[Section, ...] = ()

    @property
    def whole(self) -> tuple[Section, ...]:
        return (self.verdict, *self.sections)


def cell_words(cell: Cell | str) -> str:
    """Return a cell in one line."""
    return cell if isinstance(cell, str) else f"{cell.text} {cell.below}".rstrip()


def says(texts: Iterable[str], tone: Tone = "plain") -> tuple[Sentence, ...]:
    return tuple(Sentence(text, tone) for text in texts)


def table(titles: Iterable[str | Column], rows: Iterable[Iterable[Cell | str]], words: Iterable[int] = (0,)) -> Table:
    """Return a table; columns of words are named by their places, except those given as columns."""
    places = set(words)
    columns = (each if isinstance(each, Column) else Column(each, place in places) for place, each in enumerate(titles))
    return Table(tuple(columns), tuple(map(tuple, rows)))


def sure(*texts: str, title: str = SURE) -> tuple[Section, ...]:
    """Fold sentences away that say how sure a section is; nothing where there are none."""
    return (Section(title, sentences=says(texts)),) if texts else ()
