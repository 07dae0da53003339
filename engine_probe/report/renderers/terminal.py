"""A document in a terminal: the sections that are always shown, and all cautions; with `verbose` nearly all of it."""

from collections.abc import Iterator, Sequence
from io import StringIO
from itertools import accumulate, pairwise

from rich import table as rich_table
from rich.cells import cell_len
from rich.console import Console, JustifyMethod
from rich.text import Text

from engine_probe.report.brief_document import brief_document, cautions_of
from engine_probe.report.document import SURE, Bar, Cell, Column, Document, Section, Sentence, Table
from engine_probe.report.renderers.plain_table import plain_table
from engine_probe.text_format import counted, plain

STYLES = {"plain": "", "soft": "dim", "good": "green", "caution": "yellow", "problem": "bold red"}
PAINTS = {
    "c0": "blue",
    "c0 pale": "bright_blue",
    "c1": "yellow",
    "c1 pale": "bright_yellow",
    "c2": "green",
    "c2 pale": "bright_black",
    "c3": "bright_red",
    "c4": "magenta",
    "c4 pale": "bright_magenta",
    "c5": "white",
    "c6": "cyan",
    "c6 pale": "bright_cyan",
    "c7 pale": "red",
    "none": "dim",
}
BAR_CELLS = 64
KEY_GAP = "   "
GAP = 2  # cells between two columns
SHORTEST_NAME = 8  # cells
LONGEST_WORD = 24  # cells; longer words may be broken in a narrow terminal

Line = Sentence | Table | Text


def print_document(
    document: Document, console: Console, verbose: bool = False, more: str = "", lines: int | None = None
) -> None:
    """Print a document, shortened to so many lines unless `verbose`; if something is left out, `more` is the last."""
    is_shortened, cautions = False, 0
    last = Text(plain(more), "dim")
    if lines is not None and not verbose:
        heights = Heights(console.width)
        brief = brief_document(document, heights.document, lines - (heights.line(last) if more else 0))
        document, is_shortened, cautions = brief.document, brief.is_shortened, brief.cautions
    for line in document_lines(document, verbose, console.width):
        print_line(line, console, verbose)
    if cautions:
        console.print(Text(f"{counted(cautions, 'more caution')}: --verbose", STYLES["caution"]))
    if more and not verbose and (is_shortened or any(map(leaves_out, document.all_sections))):
        console.print(last)


class Heights:
    """Counts the lines of a terminal that are filled without --verbose; what several documents share is drawn once."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._known: dict[Sentence | Table | str, int] = {}

    def document(self, document: Document) -> int:
        return sum(map(self.line, document_lines(document, False, self._width)))

    def line(self, line: Line) -> int:
        key = line.plain if isinstance(line, Text) else line
        if key not in self._known:
            self._known[key] = self._filled(line)
        return self._known[key]

    def _filled(self, line: Line) -> int:
        file = StringIO()
        console = Console(file=file, width=self._width, color_system=None, legacy_windows=False)
        print_line(line, console, verbose=False)
        return sum(max(1, -(-cell_len(text) // self._width)) for text in file.getvalue().splitlines())


def document_lines(document: Document, verbose: bool, width: int) -> Iterator[Line]:
    yield Text(plain(document.title), "bold")
    if document.origin:
        yield Text(plain(document.origin), "dim")
    shown_before = False
    for section in document.all_sections:
        lines = list(section_lines(section, verbose, width))
        shown = verbose or section.shown == "always"
        if section.title and lines and shown:
            yield Text(f"\n{plain(section.title)}", "bold")
        elif lines and shown_before and not shown:
            yield Text()  # cautions of a section that is not shown do not belong to the one above them
        shown_before = shown if lines else shown_before
        yield from lines


def print_line(line: Line, console: Console, verbose: bool) -> None:
    if isinstance(line, Sentence):
        console.print(sentence_text(line), soft_wrap=line.command)
    else:
        console.print(table_view(line, verbose, console.width) if isinstance(line, Table) else line)


def leaves_out(section: Section) -> bool:
    """Return whether `verbose` would show more of a section."""
    if section.shown == "page":
        return False
    return section.shown == "verbose" or any(map(leaves_out, (*section.parts, *section.details)))


def section_lines(section: Section, verbose: bool, width: int) -> Iterator[Line]:
    """Yield the lines of a section without its title."""
    if section.shown == "page":
        return
    if not verbose and section.shown != "always":
        yield from cautions_of(section)
        return
    yield from section.sentences
    for bars in section.bars:
        for bar in bars.bars:
            if len(bars.bars) > 1:
                yield Text(f"{plain(bar.name)}, {bar.total}", "dim")
            yield from bar_lines(bar, width)
    for number, table in enumerate(section.tables):
        if number or section.sentences or section.bars:
            yield Text()
        yield table
        if table.telling and not verbose and (left := len(table.rows) - len(first_rows(table))):
            yield Text(f"{counted(left, f'more {table.row}')}: --verbose", "dim")
        if table.note:
            yield Text(plain(table.note), "dim")
    for part in (*section.parts, *section.details):
        lines = list(section_lines(part, verbose, width))
        titled = part.title and part.title != SURE and (part in section.parts or verbose)
        if lines and titled and (verbose or part.shown == "always"):
            yield Text(f"\n{plain(part.title)}", "bold")
        yield from lines


def sentence_text(sentence: Sentence) -> Text:
    label = f"{plain(sentence.label)}: " if sentence.label else ""
    return Text.assemble((label, "bold"), (plain(sentence.text), STYLES[sentence.tone]))


def table_view(table: Table, verbose: bool, width: int) -> rich_table.Table:
    """Draw a table at most `width` cells wide: text columns are wrapped first, then spare columns are left out."""
    rows = table.rows if verbose else first_rows(table)
    widths = column_widths(table, rows, width)
    title = Text(plain(table.title), "bold") if table.title else None
    view = plain_table(title=title)
    for place, cells in widths.items():
        column = table.columns[place]
        justify: JustifyMethod = "left" if column.words else "right"
        no_wrap = table.one_line or not column.words
        view.add_column(heading(column), justify=justify, no_wrap=no_wrap, width=cells)
    for row in rows:
        texts = {place: cell_text(row[place], table.one_line) for place in widths}
        names = {place for place in texts if table.one_line and table.columns[place].is_name}
        view.add_row(*(cut_name(text, widths[place]) if place in names else text for place, text in texts.items()))
    return view


def first_rows(table: Table) -> Sequence[Sequence[Cell | str]]:
    """Return the rows that are shown without --verbose."""
    if not 0 < table.first < len(table.rows):
        return table.rows
    places = sorted(table.telling[: table.first]) if table.telling else range(table.first)
    return [table.rows[place] for place in places]


def column_widths(table: Table, rows: Sequence[Sequence[Cell | str]], width: int) -> dict[int, int]:
    """Return the places and widths of the columns that fit into `width` cells; long text columns share what is left."""
    shown = [place for place, column in enumerate(table.columns) if column.room != "page"]
    least = {place: least_width(table, rows, place) for place in shown}
    spare = [place for place in shown if table.columns[place].room == "spare"]
    asked = {place: natural_width(table, rows, place) for place in shown} if table.one_line else least
    while spare and sum(asked[place] + GAP for place in shown) > width:
        shown.remove(spare.pop())
    room = max(0, width - sum(least[place] + GAP for place in shown))
    wanted = {place: natural_width(table, rows, place) - least[place] for place in shown}
    extra = {}
    for count, place in zip(range(len(shown), 0, -1), sorted(shown, key=wanted.__getitem__), strict=True):
        extra[place] = min(wanted[place], room // count)
        room -= extra[place]
    widths = {place: least[place] + extra[place] for place in shown}
    over = sum(cells + GAP for cells in widths.values()) - width
    for place in widths if over > 0 and table.one_line else ():
        if table.columns[place].is_name:  # its middle is cut, where figures and titles would lose their ends
            widths[place] = max(SHORTEST_NAME, widths[place] - over)
    return widths


def least_width(table: Table, rows: Sequence[Sequence[Cell | str]], place: int) -> int:
    """Return the least width of a column: its longest word if it holds words, or else its longest line."""
    if not table.columns[place].words:
        return natural_width(table, rows, place)
    words = (word for text in column_texts(table, rows, place) for word in text.split())
    return min(LONGEST_WORD, max(map(cell_len, words), default=0))


def natural_width(table: Table, rows: Sequence[Sequence[Cell | str]], place: int) -> int:
    return max(cell_len(line) for text in column_texts(table, rows, place) for line in text.split("\n"))


def column_texts(table: Table, rows: Sequence[Sequence[Cell | str]], place: int) -> list[str]:
    return [heading(table.columns[place]).plain, *(cell_text(row[place], table.one_line).plain for row in rows)]


def heading(column: Column) -> Text:
    return Text("\n".join(map(plain, (column.short or column.title).split("\n"))))


def cell_text(cell: Cell | str, one_line: bool) -> Text:
    if isinstance(cell, str):
        return Text(plain(cell))
    below = f"\n{plain(cell.below)}" if cell.below and not one_line else ""
    return Text(plain(cell.text) + below, STYLES[cell.tone])


def cut_name(name: Text, cells: int) -> Text:
    """Return a name without its middle where it is longer than so many cells."""
    if name.cell_len <= cells:
        return name
    end = (cells - 1) * 2 // 3
    return Text(f"{name.plain[: cells - 1 - end]}…{name.plain[len(name.plain) - end :]}", name.style)


def bar_lines(bar: Bar, width: int) -> Iterator[Text]:
    """Yield a bar, and a key to its colours that is broken into lines between its entries."""
    cells = min(BAR_CELLS, width)
    edges = [round(share * cells) for share in accumulate((part.share for part in bar.parts), initial=0.0)]
    blocks, key = Text(), Text()
    for part, (begin, end) in zip(bar.parts, pairwise(edges), strict=True):
        block, style = ("░" if part.paint == "none" else "█"), PAINTS[part.paint]
        blocks.append(block * (end - begin), style)
        entry = Text.assemble((f"{block} ", style), f"{plain(part.name)} {part.size}")
        last_line = key.plain.rpartition("\n")[2]
        if key and cell_len(last_line) + len(KEY_GAP) + entry.cell_len > width:
            key.append("\n")
        elif key:
            key.append(KEY_GAP)
        key.append_text(entry)
    yield blocks
    yield key
