"""Names from outside, made harmless: what could move a cursor, colour a terminal or turn text around is spelled out."""

from __future__ import annotations


def plain(text: str) -> str:
    r"""Printable characters as they are, others by their escape: an ESC becomes the four characters \x1b."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
