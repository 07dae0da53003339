"""Elements of a page: all text in them is escaped, whoever wrote it."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from engine_probe.text_format import plain

LONG = 20  # characters of a cell


class Html(str):
    """Markup that is safe as it stands."""

    __slots__ = ()


def element(tag: str, *children: str, **attributes: str) -> Html:
    """`class_` for class, `data_chart` for data-chart; a child that is no Html is escaped."""
    named = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{html.escape(plain(value))}"' for name, value in attributes.items()
    )
    return Html(f"<{tag}{named}>{joined(children)}</{tag}>")


def joined(children: Iterable[str]) -> Html:
    return Html("".join(child if isinstance(child, Html) else html.escape(plain(child)) for child in children))


def grid(titles: Sequence[str], rows: Iterable[Sequence[str]], text: Sequence[int] = (0,)) -> Html:
    """A table that scrolls by itself on a phone; columns of words are named by their numbers, long ones are wrapped."""
    told = [list(row) for row in rows]
    long = {number for row in told for number, cell in enumerate(row) if len(cell) > LONG}

    def line(tag: str, cells: Sequence[str]) -> Html:
        kinds = (
            "figure" if each not in text else "text long" if each in long else "text" for each in range(len(cells))
        )
        return element("tr", *(element(tag, cell, class_=kind) for cell, kind in zip(cells, kinds, strict=True)))

    head = element("thead", line("th", titles))
    body = element("tbody", *(line("td", row) for row in told))
    return element("div", element("table", head, body), class_="wide")


def tiles(pairs: Iterable[tuple[str, str]]) -> Html:
    """Figures at a glance: what, and how much."""
    made = (element("div", element("b", figure), element("span", what), class_="tile") for what, figure in pairs)
    return element("div", *made, class_="tiles")


def says(sentences: Iterable[str]) -> Html:
    return element("ul", *(element("li", sentence) for sentence in sentences), class_="says")
