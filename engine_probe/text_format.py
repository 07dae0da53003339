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


def duration(ns: float | None) -> str:
    """With three figures; "-" where the sample is too small to say."""
    if ns is None:
        return "-"
    for unit, size in (("s", 1e9), ("ms", 1e6)):
        if ns >= size:
            return f"{figures(ns / size)} {unit}"
    return f"{figures(ns / 1e3)} µs"


def percent(share: float) -> str:
    """Whole percents; of less than one with two more digits."""
    return f"{share:.2%}" if 0 < share < 0.01 else f"{share:.0%}"


def figures(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def model_name(run: Run) -> str:
    """Without the path that leads to it."""
    name: str = run.facts["model"]["name"]
    return name.rstrip("/").rpartition("/")[2] if name.startswith("/") else name
