"""Text from outside made safe for a terminal and a browser."""

from __future__ import annotations


def plain(text: str) -> str:
    r"""Keep printable characters and escape the others: an ESC becomes the four characters \x1b."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
