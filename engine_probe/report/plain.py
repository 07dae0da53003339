"""Names from outside, made harmless: what could move a cursor, colour a terminal or turn text around is spelled out."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine_probe.run import Run


def plain(text: str) -> str:
    r"""Printable characters as they are, others by their escape: an ESC becomes the four characters \x1b."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def model_name(run: Run) -> str:
    """Without the path that leads to it."""
    name: str = run.facts["model"]["name"]
    return name.rstrip("/").rpartition("/")[2] if name.startswith("/") else name
