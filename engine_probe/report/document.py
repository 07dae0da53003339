"""A report as data: a verdict and sections, each with its sentences, tables and charts.

The topics in `sections/` make them; the renderers in `renderers/` draw a document in a terminal, as a page, in a
notebook or as Markdown. A section is read in the order figures, sentences, charts, tables, parts, details.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

from engine_probe.analysis.compare.changes import Change
from engine_probe.report.charts.model import Lines, Spans
from engine_probe.text_format import duration

# soft: in a pale colour; caution and problem: shown in a terminal even if their section is not.
Tone = Literal["plain", "soft", "good", "caution", "problem"]
# Where a section is shown: always, in a terminal only with --verbose, or on pages only.
Shown = Literal["always", "verbose", "page"]
# Where a column is shown: always, not in a narrow terminal, or on pages only.
Room = Literal["always", "spare", "page"]

# Ranks of sentences: what an option asked for, what the reader came for, the rest, and what is of use only to some.
ASKED, ANSWER, USUAL, EXTRA = range(4)


@dataclass(frozen=True)
class Sentence:
    text: str
    tone: Tone = "plain"
    label: str = ""  # printed before the text, in bold
    command: bool = False  # contains a command to copy, which a terminal must not break into lines
    rank: int = USUAL  # where a terminal has no room, those of the highest rank go first


@dataclass(frozen=True)
class Figure:
    """A figure shown large at the top of a page; a terminal has it in sentences and tables only."""

    label: str
    value: str
    mark: str = ""  # a caution in a word or two, such as "unstable"


@dataclass(frozen=True)
class Cell:
    text: str
    tone: Tone = "plain"
    below: str = ""  # on a second line: the interval of the figure, or its ratio to a baseline


@dataclass(frozen=True)
class Column:
    title: str  # with a line break where a terminal has one
    words: bool = False  # text: aligned left and wrapped if necessary; figures are aligned right and never wrapped
    short: str = ""  # another title in a terminal
    room: Room = "always"
    is_name: bool = False  # where it has to be cut, its middle is left out: names that begin alike end differently

    @property
    def name(self) -> str:
        """Return the title in one line."""
        return self.title.replace("\n", " ")


@dataclass(frozen=True)
class Table:
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell | str, ...], ...]
    title: str = ""
    note: str = ""
    first: int = 0  # number of rows that a terminal shows without --verbose; 0: all
    telling: tuple[int, ...] = ()  # places of rows, the most telling first, where they are not the first ones
    row: str = "row"  # what a row is
    one_line: bool = False  # a terminal gives each row one line: words are cut, and what stands below a figure left out


@dataclass(frozen=True)
class Part:
    """A part of a bar; `paint` is a colour name of `page.css`, optionally followed by "pale", or "none"."""

    name: str
    size: str
    share: float
    paint: str


@dataclass(frozen=True)
class Bar:
    name: str
    total: str
    parts: tuple[Part, ...]


def time_bar(name: str, spent_ns: Mapping[str, float], paints: Mapping[str, str], longest_ns: float) -> Bar:
    """Return how a time is divided; `longest_ns` has the full length."""
    parts = (Part(part, duration(ns), ns / longest_ns, paints[part]) for part, ns in spent_ns.items() if ns > 0)
    return Bar(name, duration(sum(spent_ns.values())), tuple(parts))


@dataclass(frozen=True)
class Bars:
    """Bars divided into parts, one below the other."""

    title: str
    note: str
    bars: tuple[Bar, ...]


@dataclass(frozen=True)
class Forest:
    """Changes with their intervals, one in a row."""

    title: str
    note: str
    rows: tuple[tuple[str, Change], ...]
    least: float = 0.05  # the axis extends at least this far to either side of no change


Picture = Lines | Spans | Forest
SURE = "How sure is this?"


@dataclass(frozen=True)
class Section:
    title: str = ""
    figures: tuple[Figure, ...] = ()
    sentences: tuple[Sentence, ...] = ()
    charts: Callable[[], Iterable[Picture]] = tuple  # a function, because a terminal draws no charts
    bars: tuple[Bars, ...] = ()
    tables: tuple[Table, ...] = ()
    parts: tuple[Section, ...] = ()
    details: tuple[Section, ...] = ()  # folded on a page: statistics, sources, formulas
    shown: Shown = "verbose"
    overview: Table | None = None  # in place of the tables, where a terminal has no room for them
    asked: bool = False  # by an option: where a terminal has no room, other sections go first
    answers: int = 0  # the report of sweeps among others: how many sentences of it a terminal shows without --verbose


@dataclass(frozen=True)
class Document:
    title: str
    origin: str  # the recording: versions, date and folder
    verdict: Section
    sections: tuple[Section, ...] = ()

    @property
    def all_sections(self) -> tuple[Section, ...]:
        return (self.verdict, *self.sections)


def cell_words(cell: Cell | str) -> str:
    """Return a cell in one line."""
    return cell if isinstance(cell, str) else f"{cell.text} {cell.below}".rstrip()


def says(texts: Iterable[str], tone: Tone = "plain") -> tuple[Sentence, ...]:
    return tuple(Sentence(text, tone) for text in texts)


def table(
    titles: Iterable[str | Column],
    rows: Iterable[Iterable[Cell | str]],
    words: Iterable[int] = (0,),
    title: str = "",
    note: str = "",
    first: int = 0,
) -> Table:
    """Return a table; `words` are the places of the text columns among the titles that are not columns already."""
    places = set(words)
    columns = (each if isinstance(each, Column) else Column(each, place in places) for place, each in enumerate(titles))
    return Table(tuple(columns), tuple(map(tuple, rows)), title, note, first)


def without_empty(made: Table) -> Table:
    """Return a table without the columns that have a value in no row."""
    kept = [place for place in range(len(made.columns)) if any(row[place] != "-" for row in made.rows)]
    rows = tuple(tuple(row[place] for place in kept) for row in made.rows)
    return replace(made, columns=tuple(made.columns[place] for place in kept), rows=rows)


def spread(count: int, telling: Sequence[int] = ()) -> tuple[int, ...]:
    """Return the places of so many rows: the ends, those that are known to be telling, then the middles of gaps."""
    found = dict.fromkeys([0, count - 1, *telling])
    while len(found) < count:
        low, high = max(pairwise(sorted(found)), key=lambda gap: gap[1] - gap[0])
        found[(low + high) // 2] = None
    return tuple(found)


def sure(*texts: str) -> tuple[Section, ...]:
    """Return a folded section of sentences about how certain the figures are. Empty if there are no sentences."""
    return (Section(SURE, sentences=says(texts)),) if texts else ()
