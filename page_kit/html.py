"""Elements of a page; all text in them is escaped."""

import html
from collections.abc import Iterable, Sequence

from page_kit.plain_text import plain

LONG = 20  # characters of a cell


class Html(str):
    """Markup that needs no escaping."""

    __slots__ = ()


def element(tag: str, *children: str, **attributes: str | float) -> Html:
    """Return an element: `class_` becomes class, `data_chart` data-chart; a child that is not Html is escaped."""
    named = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{html.escape(plain(short(value)))}"'
        for name, value in attributes.items()
    )
    return Html(f"<{tag}{named}>{joined(children)}</{tag}>")


def joined(children: Iterable[str]) -> Html:
    return Html("".join(child if isinstance(child, Html) else html.escape(plain(child)) for child in children))


def grid(titles: Sequence[str], rows: Iterable[Sequence[str]], text: Sequence[int] = (0,)) -> Html:
    """Return a table that scrolls by itself on a phone.

    `text` holds the numbers of the columns of words, which stand to the left; long words are wrapped.
    """
    listed = [list(row) for row in rows]
    long = {number for row in listed for number, cell in enumerate(row) if len(cell) > LONG}

    def line(tag: str, cells: Sequence[str]) -> Html:
        kinds = (
            "figure" if column not in text else "text long" if column in long else "text"
            for column in range(len(cells))
        )
        return element("tr", *(element(tag, cell, class_=kind) for cell, kind in zip(cells, kinds, strict=True)))

    head = element("thead", line("th", titles))
    body = element("tbody", *(line("td", row) for row in listed))
    return element("div", element("table", head, body), class_="wide")


def figure(title: str, note: str, *content: str, heading: str = "h3") -> Html:
    """Return a chart or another picture below its title and a note on how to read it."""
    return element("figure", element(heading, title), element("figcaption", note), *content)


def tiles(pairs: Iterable[tuple[str, str]]) -> Html:
    """Return figures at a glance, from pairs of a label and a value."""
    elements = (element("div", element("b", value), element("span", label), class_="tile") for label, value in pairs)
    return element("div", *elements, class_="tiles")


def says(sentences: Iterable[str]) -> Html:
    return element("ul", *(element("li", sentence) for sentence in sentences), class_="says")


def fold(title: str, *content: str, printed: bool = False) -> Html:
    """Return content that its title opens; `printed` opens it on paper, too."""
    more = {"data_print": "open"} if printed else {}
    return element("details", element("summary", title), *content, **more)


def short(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.2f}".rstrip("0").rstrip(".")
