"""A document as Markdown, for pull requests: the verdict, then what a terminal shows; the rest is folded."""

from collections.abc import Iterator

from engine_probe.report.document import Bars, Cell, Column, Document, Section, Sentence, Table, cell_words
from engine_probe.text_format import plain

MARKS = {"plain": "", "soft": "", "good": ":white_check_mark: ", "caution": ":warning: ", "problem": ":x: "}
STRONG = ("good", "problem")
SPECIAL = "<>&`*_[]|\\#@~"
DEEPEST = 6  # levels of headings that Markdown has


def markdown(document: Document) -> str:
    """Return everything but what only pages show, and the charts."""
    lines = [f"## {quoted(document.title)}", "", quoted(document.origin)]
    for section in document.all_sections:
        lines += section_lines(section, 3) if section.shown == "always" else folded_lines(section, 3)
    return "\n".join(lines) + "\n"


def section_lines(section: Section, level: int) -> Iterator[str]:
    """Yield a heading and its content; nothing where there is no content."""
    content = list(content_lines(section, level + 1 if section.title else level))
    if content and section.title:
        yield from ("", f"{'#' * min(level, DEEPEST)} {quoted(section.title)}")
    yield from content


def content_lines(section: Section, level: int) -> Iterator[str]:
    if section.shown == "page":
        return
    if section.sentences:
        yield ""
    for words in section.sentences:
        yield f"- {sentence(words)}"
    for bars in section.bars:
        yield from bar_lines(bars)
    for each in section.tables:
        yield from table_lines(each)
    for part in section.parts:
        yield from (section_lines if part.shown == "always" else folded_lines)(part, level)
    for part in section.details:
        yield from folded_lines(part, level)


def folded_lines(section: Section, level: int) -> Iterator[str]:
    """Yield a section that its title opens; without a title only its folded parts are there."""
    content = list(content_lines(section, level))
    if not content or not section.title:
        yield from content
        return
    yield from ("", f"<details><summary>{quoted(section.title)}</summary>", *content, "", "</details>")


def sentence(content: Sentence) -> str:
    label = f"**{quoted(content.label)}:** " if content.label else ""
    return f"{MARKS[content.tone]}{label}{code(content.text) if content.command else quoted(content.text)}"


def bar_lines(bars: Bars) -> Iterator[str]:
    yield from ("", f"**{quoted(bars.title)}**", "")
    for bar in bars.bars:
        parts = ", ".join(f"{part.name} {part.size} ({part.share:.1%})" for part in bar.parts)
        yield f"- {quoted(f'{bar.name}, {bar.total}: {parts}')}"


def table_lines(table: Table) -> Iterator[str]:
    yield ""
    if table.title:
        yield from (f"**{quoted(table.title)}**", "")
    yield row(quoted(column.name) for column in table.columns)
    yield row(map(alignment, table.columns))
    yield from (row(map(cell, cells)) for cells in table.rows)
    if table.note:
        yield from ("", quoted(table.note))


def row(cells: Iterator[str]) -> str:
    return f"| {' | '.join(cells)} |"


def alignment(column: Column) -> str:
    return "---" if column.words else "--:"


def cell(content: Cell | str) -> str:
    words = quoted(cell_words(content))
    return f"**{words}**" if isinstance(content, Cell) and content.tone in STRONG else words


def quoted(text: str) -> str:
    r"""Escape what Markdown, HTML and a forge would take for theirs: a name is only a name."""
    return "".join(f"&#{ord(each)};" if each in SPECIAL else each for each in plain(text))


def code(text: str) -> str:
    """Return a command as it is typed; a fence is longer than every run of backticks in it."""
    fence = "`"
    while fence in text:
        fence += "`"
    return f"{fence} {plain(text)} {fence}"
