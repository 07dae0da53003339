"""Names from outside as text that a terminal and a browser only show."""

from __future__ import annotations


def plain(text: str) -> str:
    r"""Keep printable characters and escape the others: an ESC becomes the four characters \x1b."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
