"""Names from outside, made harmless: what could move a cursor, colour a terminal or turn text around is spelled out."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine_probe.recordings.run import Run


LONGEST_LINE = 1_000


def plain(text: str) -> str:
    r"""Printable characters as they are, others by their escape: an ESC becomes the four characters \x1b."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def shortened(line: str) -> str:
    """Leave out the middle of a line that would fill a screen: the end says what to do."""
    return line if len(line) <= LONGEST_LINE else f"{line[: LONGEST_LINE // 2]} ... {line[-LONGEST_LINE // 2 :]}"


def model_name(run: Run) -> str:
    """Without the path that leads to it."""
    name: str = run.facts["model"]["name"]
    return name.rstrip("/").rpartition("/")[2] if name.startswith("/") else name
