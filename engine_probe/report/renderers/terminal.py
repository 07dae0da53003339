"""A document in a terminal: what is always shown and every caution; with `verbose` all but what only pages have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

from rich import box
from rich import table as rich_table
from rich.cells import cell_len
from rich.console import Console, JustifyMethod, RenderableType
from rich.text import Text

from engine_probe.report.document import SURE, Bar, Cell, Column, Document, Section, Sentence, Table
from engine_probe.text_format import plain

STYLES = {"plain": "", "soft": "dim", "good": "green", "caution": "yellow", "problem": "bold red"}
PAINTS = {
    "c0": "blue",
    "c1": "yellow",
    "c2": "green",
    "c2 pale": "bright_black",
    "c4": "magenta",
    "c5": "white",
    "c7 pale": "red",
    "none": "dim",
}
BAR_CELLS = 64
LONGEST_WORD = 24  # that a narrow terminal never breaks


def print_document(document: Document, console: Console, verbose: bool = False, more: str = "") -> None:
    """Print it; `more` is the last line where something was left out."""
    console.print(Text(plain(document.title), "bold"))
    if document.origin:
        console.print(Text(plain(document.origin), "dim"))
    for section in document.whole:
        lines = list(section_lines(section, verbose, console.width))
        if section.title and lines and (verbose or section.shown == "always"):
            console.print(Text(f"\n{plain(section.title)}", "bold"))
        for line in lines:
            if isinstance(line, Sentence):
                console.print(sentence_text(line), soft_wrap=line.command)
            else:
                console.print(line)
    if more and not verbose and any(map(leaves_out, document.whole)):
        console.print(Text(plain(more), "dim"))


def leaves_out(section: Section) -> bool:
    """Whether a terminal shows more of it when asked for everything."""
    if section.shown == "page":
        return False
    return section.shown == "verbose" or any(map(leaves_out, (*section.parts, *section.details)))


def section_lines(section: Section, verbose: bool, width: int) -> Iterator[Sentence | RenderableType]:
    """Without its title."""
    if section.shown == "page":
        return
    if not verbose and section.shown != "always":
        yield from cautions(section)
        return
    yield from section.sentences
    for bars in section.bars:
        for bar in bars.bars:
            yield from bar_lines(bar)
    for number, each in enumerate(section.tables):
        if number or section.sentences or section.bars:
            yield Text()
        yield table_view(each, verbose, width)
        if each.note:
            yield Text(plain(each.note), "dim")
    for part in (*section.parts, *section.details):
        lines = list(section_lines(part, verbose, width))
        titled = part.title and part.title != SURE and (part in section.parts or verbose)
        if lines and titled and (verbose or part.shown == "always"):
            yield Text(f"\n{plain(part.title)}", "bold")
        yield from lines


def cautions(section: Section) -> Iterator[Sentence]:
    """Yield what speaks against the figures: it is shown wherever it stands."""
    yield from (said for said in section.sentences if said.tone in ("caution", "problem"))
    for part in (*section.parts, *section.details):
        yield from cautions(part)


def sentence_text(said: Sentence) -> Text:
    label = f"{plain(said.label)}: " if said.label else ""
    return Text.assemble((label, "bold"), (plain(said.text), STYLES[said.tone]))


def table_view(said: Table, verbose: bool, width: int) -> rich_table.Table:
    """Draw a table in that many cells: columns of words give way first, then the spare ones are left out."""
    rows = said.rows if verbose or not said.first else said.rows[: said.first]
    kept = fitting(said, rows, width)
    title = Text(plain(said.title), "bold") if said.title else None
    drawn = rich_table.Table(
        box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), title=title, title_justify="left"
    )
    for place, cells in kept.items():
        column = said.columns[place]
        drawn.add_column(heading(column), justify=side(column), no_wrap=not column.words, width=cells)
    for row in rows:
        drawn.add_row(*(cell_text(row[place]) for place in kept))
    return drawn


GAP = 2  # cells between two columns


def fitting(said: Table, rows: Sequence[Sequence[Cell | str]], width: int) -> dict[int, int]:
    """Return the places of the columns that there is room for, and how wide each is."""
    kept = [place for place, column in enumerate(said.columns) if column.room != "page"]
    texts = {
        place: [heading(said.columns[place]).plain, *(cell_text(row[place]).plain for row in rows)] for place in kept
    }
    natural = {place: widest(line for text in texts[place] for line in text.split("\n")) for place in kept}
    least = {
        place: min(LONGEST_WORD, widest(word for text in texts[place] for word in text.split()))
        if said.columns[place].words
        else natural[place]
        for place in kept
    }
    spare = [place for place in kept if said.columns[place].room == "spare"]
    while spare and sum(least[place] + GAP for place in kept) > width:
        kept.remove(spare.pop())
    room = max(0, width - sum(least[place] + GAP for place in kept))
    widths = {}
    for place in kept:
        widths[place] = min(natural[place], least[place] + room)
        room -= widths[place] - least[place]
    return widths


def widest(pieces: Iterable[str]) -> int:
    return max(map(cell_len, pieces), default=0)


def heading(column: Column) -> Text:
    return Text("\n".join(map(plain, (column.short or column.title).split("\n"))))


def side(column: Column) -> JustifyMethod:
    return "left" if column.words else "right"


def cell_text(cell: Cell | str) -> Text:
    if isinstance(cell, str):
        return Text(plain(cell))
    return Text(plain(cell.text) + (f"\n{plain(cell.below)}" if cell.below else ""), STYLES[cell.tone])


def bar_lines(bar: Bar) -> Iterator[Text]:
    """The bar, and what its colours are."""
    edges, so_far = [0], 0.0
    for part in bar.parts:
        so_far += part.share
        edges.append(round(so_far * BAR_CELLS))
    drawn, key = Text(), Text()
    for part, (begin, end) in zip(bar.parts, pairwise(edges), strict=True):
        block, style = ("░" if part.paint == "none" else "█"), PAINTS[part.paint]
        drawn.append(block * (end - begin), style)
        key.append(f"{block} ", style)
        key.append(f"{plain(part.name)} {part.size}   ")
    yield drawn
    yield key
