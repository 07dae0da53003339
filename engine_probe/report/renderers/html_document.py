"""A document as one self-contained page: the verdict, then the picture, then the table; statistics are folded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from engine_probe.report.document import (
    Bar,
    Bars,
    Cell,
    Document,
    Forest,
    Part,
    Picture,
    Section,
    Sentence,
    Table,
    cell_words,
)
from engine_probe.report.renderers.forest_plot import forest
from engine_probe.report.renderers.html_page import Page, heading
from page_kit.html import Html, element, grid, joined, tiles

BOXES = {"soft": "soft", "caution": "warning", "problem": "warning red", "good": "kept"}
DEEPEST = 6  # levels of headings that HTML has
LABELLED = 0.13  # of a bar: room for a figure


def html_page(document: Document) -> str:
    page = Page(f"engine_probe: {document.title}")
    body = (section_html(page, each) for each in document.whole)
    return page.document(heading(document.title, document.origin), *body)


def section_html(page: Page, section: Section, level: int = 2) -> Html:
    """Its content below a heading of that level, or nothing; without a title its content takes the heading's place."""
    inner = level + 1 if section.title else level
    content = list(content_html(page, section, inner))
    folded = [each for each in (folded_html(page, part, inner) for part in section.details) if each]
    if not content and not folded:
        return Html()
    head = [element(tag(level), section.title)] if section.title else []
    whole = joined((*head, *content, *folded))
    return whole if content else element("section", whole, class_="each")  # left out of print while it is closed


def content_html(page: Page, section: Section, level: int) -> Iterator[Html]:
    if section.figures:
        yield tiles((f"{each.label}{f' ({each.mark})' if each.mark else ''}", each.value) for each in section.figures)
    yield from sentences_html(section.sentences)
    for chart in section.charts():
        yield chart_html(page, chart, level)
    for bars in section.bars:
        yield bars_html(bars, level)
    for each in section.tables:
        yield table_html(each, level)
    yield from filter(None, (section_html(page, part, level) for part in section.parts))


def folded_html(page: Page, section: Section, level: int) -> Html:
    """Its title opens it."""
    content = section_html(page, replace(section, title=""), level)
    return element("details", element("summary", section.title), content) if content else Html()


def sentences_html(sentences: Iterable[Sentence]) -> Iterator[Html]:
    """Plain ones as a list, what is to be noticed in a box, the pale as paragraphs; in their order."""
    listed: list[Html] = []
    for said in sentences:
        words = joined((element("b", f"{said.label}: "), said.text)) if said.label else said.text
        if said.tone == "plain":
            listed.append(element("li", words))
            continue
        if listed:
            yield element("ul", *listed, class_="says")
            listed = []
        yield element("p" if said.tone == "soft" else "div", words, class_=BOXES[said.tone])
    if listed:
        yield element("ul", *listed, class_="says")


def chart_html(page: Page, chart: Picture, level: int) -> Html:
    if isinstance(chart, Forest):
        drawn = forest(chart.rows, chart.title, chart.least)
        return element("figure", element(tag(level), chart.title), element("figcaption", chart.note), drawn)
    return page.figure(chart, tag(level))


def bars_html(bars: Bars, level: int) -> Html:
    title, note = element(tag(level), bars.title), element("figcaption", bars.note)
    return element("figure", title, note, *(piece for each in bars.bars for piece in bar_html(each)), key(bars))


def table_html(table: Table, level: int) -> Html:
    titles = [column.title.replace("\n", " ") for column in table.columns]
    rows = ([cell_html(cell) for cell in row] for row in table.rows)
    made = grid(titles, rows, text=[place for place, column in enumerate(table.columns) if column.words])
    head = [element(tag(level), table.title)] if table.title else []
    return joined((*head, made, *([element("div", table.note, class_="soft")] if table.note else [])))


def cell_html(cell: Cell | str) -> str:
    words = cell_words(cell)
    if isinstance(cell, str) or cell.tone == "plain":
        return words
    return element("span", words, class_=f"tone {cell.tone}")


def bar_html(bar: Bar) -> Iterator[Html]:
    yield element("div", f"{bar.name}, {bar.total}", class_="soft")
    pieces = (
        element(
            "span",
            part.size if part.share >= LABELLED else "",
            title=f"{part.name}: {part.size}, {part.share:.1%}",
            style=f"flex: {part.share:.6f} 0 0; {paint(part.paint)}",
        )
        for part in bar.parts
    )
    told = ", ".join(f"{part.name} {part.size}" for part in bar.parts)
    yield element("div", *pieces, class_="bar", role="img", aria_label=told)


def paint(words: str) -> str:
    colour, _, pale = words.partition(" ")
    if colour == "none":
        return "background: var(--card)"
    if pale:
        return f"background: color-mix(in srgb, var(--{colour}) 30%, var(--card))"
    return f"background: var(--{colour}); color: var(--card)"


def key(chart: Bars) -> Html:
    used: dict[str, Part] = {part.name: part for bar in chart.bars for part in bar.parts}
    items = (element("span", element("i", style=paint(part.paint)), name) for name, part in used.items())
    return element("div", *items, class_="key")


def tag(level: int) -> str:
    return f"h{min(level, DEEPEST)}"
