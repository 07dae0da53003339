"""A self-contained HTML document, whose content security policy forbids loading anything."""

import re
from collections.abc import Iterable
from importlib.resources import files

from page_kit.html import Html, element

POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:"


def document(title: str, *body: str, styles: Iterable[str] = (), scripts: Iterable[Html] = ()) -> str:
    """Return a whole page; style sheets and script elements of its own come after those that all pages share."""
    head = element(
        "head",
        Html('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
        Html(f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'),
        element("title", title),
        element("style", Html("".join((asset("page_kit", "base.css"), *styles)))),
    )
    theme = element("script", Html(asset("page_kit", "theme.js")))
    main = outlined(element("main", *body))
    whole = element("html", head, element("body", main, theme, *scripts), lang="en")
    return f"<!doctype html>\n{whole}\n"


def outlined(body: str) -> Html:
    """Number headings by their depth in the outline, so that none skips a level on the way down."""
    above: list[int] = []

    def numbered(match: re.Match[str]) -> str:
        level = int(match[1])
        while above and above[-1] >= level:
            above.pop()
        above.append(level)
        return f"<h{len(above)}{match[2]}</h{len(above)}>"

    return Html(re.sub(r"<h([1-6])\b(.*?)</h\1>", numbered, body, flags=re.DOTALL))


def heading(title: str, below: str) -> Html:
    """Return the head of a page: its title, where it comes from, and the switch between light and dark."""
    switch = element("button", "light / dark", id="theme", type="button")
    return element("header", element("h1", title), switch, element("div", below, class_="soft"))


def asset(package: str, name: str) -> str:
    """Read a style sheet or a script that lies in a package."""
    return (files(package) / name).read_text(encoding="utf-8")
