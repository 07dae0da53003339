"""Elements of a page: all text in them is escaped, whoever wrote it."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence


class Html(str):
    """Markup that is safe as it stands."""

    __slots__ = ()


def element(tag: str, *children: str, **attributes: str | float) -> Html:
    """`class_` for class, `data_chart` for data-chart; a child that is no Html is escaped."""
    named = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{html.escape(plain(short(value)))}"'
        for name, value in attributes.items()
    )
    return Html(f"<{tag}{named}>{joined(children)}</{tag}>")


def joined(children: Iterable[str]) -> Html:
    return Html("".join(child if isinstance(child, Html) else html.escape(plain(child)) for child in children))


def grid(titles: Sequence[str], rows: Iterable[Sequence[str]], text: Sequence[int] = (0,)) -> Html:
    """A table that scrolls by itself on a phone; columns of words are named by their numbers."""

    def line(tag: str, cells: Sequence[str]) -> Html:
        made = (element(tag, cell, class_="text" if at in text else "figure") for at, cell in enumerate(cells))
        return element("tr", *made)

    head = element("thead", line("th", titles))
    return element("div", element("table", head, element("tbody", *(line("td", row) for row in rows))), class_="wide")


def figure(title: str, note: str, *content: str) -> Html:
    return element("figure", element("h3", title), element("figcaption", note), *content)


def plain(text: str) -> str:
    """Without what a terminal or a printer would obey."""
    return "".join(character for character in text if character.isprintable() or character == "\n")


def short(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.2f}".rstrip("0").rstrip(".")
