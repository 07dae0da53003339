"""A document as one self-contained page: the verdict, then the picture, then the table; statistics are folded."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

import msgspec

from engine_probe.report.charts.model import Chart, Lines, Spans
from engine_probe.report.charts.time_units import in_seconds
from engine_probe.report.document import Bar, Bars, Cell, Document, Forest, Part, Picture, Section, Sentence, Table
from engine_probe.report.renderers.forest_plot import forest
from page_kit import page as kit
from page_kit.chart_words import chart_words, line_words, number
from page_kit.html import Html, element, figure, grid, joined, tiles

BOXES = {"soft": "soft", "caution": "warning", "problem": "warning red", "good": "kept"}
COMMAND = re.compile(r"`(engine_probe [^`]+)`")
DEEPEST = 6  # levels of headings that HTML has
LABELLED = 0.13  # least share of a bar that has room for a figure


class Page:
    """Collects the charts while the body is written, and returns both as one HTML document."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._charts: list[Chart] = []

    def figure(self, chart: Chart, tag: str = "h3") -> Html:
        chart = in_seconds(chart) if isinstance(chart, Lines) else chart
        number = str(len(self._charts))
        self._charts.append(chart)
        place = element("div", class_="plot", data_chart=number, role="img", aria_label=described(chart))
        return figure(chart.title, with_commands(chart.note), place, heading=tag)

    def document(self, *body: str) -> str:
        # In a script element only "</" and "<!--" could end the data early.
        data = msgspec.json.encode(self._charts).decode().replace("<", "\\u003c")
        scripts = (
            element("script", Html(data), id="charts", type="application/json"),
            element("script", Html(f"/*\n{asset('uPlot.LICENSE')}*/\n{asset('uPlot.iife.min.js')}")),
            element("script", Html(asset("page.js"))),
        )
        return kit.document(self._title, *body, styles=map(asset, ("uPlot.min.css", "page.css")), scripts=scripts)


def html_page(document: Document) -> str:
    page = Page(f"engine_probe: {document.title}")
    body = (section_html(page, each) for each in document.all_sections)
    return page.document(kit.heading(document.title, document.origin), *body)


def section_html(page: Page, section: Section, level: int = 2) -> Html:
    """Return a section under a heading of that level. Empty if it has no content; without a title, only the content."""
    inner = level + 1 if section.title else level
    content = list(content_html(page, section, inner))
    folded = list(filter(None, (folded_html(page, part, inner) for part in section.details)))
    if not content and not folded:
        return Html()
    head = [element(tag(level), section.title)] if section.title else []
    html = joined((*head, *content, *folded))
    return html if content else element("section", html, class_="each")  # not printed while it is closed


def content_html(page: Page, section: Section, level: int) -> Iterator[Html]:
    if section.figures:
        yield tiles((f"{tile.label}{f' ({tile.mark})' if tile.mark else ''}", tile.value) for tile in section.figures)
    yield from sentences_html(section.sentences)
    for chart in section.charts():
        yield chart_html(page, chart, level)
    for bars in section.bars:
        yield bars_html(bars, level)
    for table in section.tables:
        yield table_html(table, level)
    yield from filter(None, (section_html(page, part, level) for part in section.parts))


def folded_html(page: Page, section: Section, level: int) -> Html:
    """Return a section that a click on its title opens. Empty if it has no content."""
    content = section_html(page, replace(section, title=""), level + 1)
    if not content:
        return Html()
    title = element(tag(level), section.title) if "<h" in content else section.title  # above the headings inside
    return element("details", element("summary", title), content)


def sentences_html(sentences: Iterable[Sentence]) -> Iterator[Html]:
    """Yield the sentences in their order: plain ones as a list, cautions in boxes, soft ones as paragraphs."""
    listed: list[Html] = []
    for sentence in sentences:
        label = (element("b", f"{sentence.label}: "),) if sentence.label else ()
        words = joined((*label, with_commands(sentence.text)))
        if sentence.tone == "plain":
            listed.append(element("li", words))
            continue
        if listed:
            yield element("ul", *listed, class_="says")
            listed = []
        yield element("p" if sentence.tone == "soft" else "div", words, class_=BOXES[sentence.tone])
    if listed:
        yield element("ul", *listed, class_="says")


def with_commands(text: str) -> Html:
    """Set this package's commands, which sentences have in backticks, as code; a name of the user's stays as it is."""
    return joined(element("code", part) if place % 2 else part for place, part in enumerate(COMMAND.split(text)))


def chart_html(page: Page, chart: Picture, level: int) -> Html:
    if isinstance(chart, Forest):
        plot = forest(chart.rows, chart.title, chart.least)
        return figure(chart.title, with_commands(chart.note), plot, heading=tag(level))
    return page.figure(chart, tag(level))


def bars_html(bars: Bars, level: int) -> Html:
    pieces = (piece for bar in bars.bars for piece in bar_html(bar))
    return figure(bars.title, with_commands(bars.note), *pieces, key(bars), heading=tag(level))


def table_html(table: Table, level: int) -> Html:
    titles = [column.name for column in table.columns]
    rows = ([cell_html(cell) for cell in row] for row in table.rows)
    body = grid(titles, rows, text=[place for place, column in enumerate(table.columns) if column.words])
    head = [element(tag(level), table.title)] if table.title else []
    return joined((*head, body, *([element("div", with_commands(table.note), class_="soft")] if table.note else [])))


def cell_html(cell: Cell | str) -> str:
    if isinstance(cell, str):
        return cell
    words = cell.text if cell.tone == "plain" else element("span", cell.text, class_=f"tone {cell.tone}")
    return joined((words, " ", element("span", cell.below, class_="soft"))) if cell.below else words


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
    description = ", ".join(f"{part.name} {part.size}" for part in bar.parts)
    yield element("div", *pieces, class_="bar", role="img", aria_label=description)


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


def asset(name: str) -> str:
    return kit.asset("engine_probe.report.renderers", f"assets/{name}")


def described(chart: Chart) -> str:
    """Describe the course of each line, or how long each kind of span lasts."""
    if isinstance(chart, Spans):
        return span_words(chart)
    descriptions = []
    for line in chart.series:
        if not line.follows:
            pairs = zip(chart.xs, line.values, strict=True)
            points = [(x, y) for x, y in pairs if x is not None and y is not None]
            unit = chart.y[line.axis].unit
            descriptions.append(line_words(line.label, points, chart.x.unit or chart.x.label, unit))
    return chart_words(chart.title, descriptions)


def span_words(chart: Spans) -> str:
    seconds = [0.0] * len(chart.kinds)
    for _, kind, begin, end in chart.spans:
        seconds[kind] += end - begin
    rows = f" in {len(chart.rows):,} rows" if len(chart.rows) > 1 else ""
    totals = (f"{name} {number(total)} s" for name, total in zip(chart.kinds, seconds, strict=True))
    return chart_words(chart.title, [f"Seconds{rows}: {', '.join(totals)}"])
