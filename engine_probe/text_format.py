"""Names from outside, made harmless: what could move a cursor, colour a terminal or turn text around is spelled out."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from page_kit.plain_text import plain as plain

LONGEST_LINE = 1_000


def shortened(line: str) -> str:
    """Leave out the middle of a line that would fill a screen: the end says what to do."""
    return line if len(line) <= LONGEST_LINE else f"{line[: LONGEST_LINE // 2]} ... {line[-LONGEST_LINE // 2 :]}"


def suggestion(name: str, known: Iterable[str], otherwise: str = "") -> str:
    """`: did you mean ...?`, to end an error's sentence with."""
    near = difflib.get_close_matches(name, sorted(known), n=3, cutoff=0.6)
    return f": did you mean {' or '.join(near)}?" if near else otherwise


def duration(ns: float | None) -> str:
    """With three figures; "-" where the sample is too small to say."""
    if ns is None:
        return "-"
    for unit, size in (("s", 1e9), ("ms", 1e6)):
        if ns >= size:
            return f"{figures(ns / size)} {unit}"
    return f"{figures(ns / 1e3)} µs"


def model_name(name: str) -> str:
    """Leave out the folders of a path, and what caches add: a digest, or the snapshot of a model from the Hub."""
    if not name.startswith("/"):
        return name
    folders = name.rstrip("/").split("/")
    if "snapshots" in folders[-2:-1] and folders[-3].startswith("models--"):
        return folders[-3].removeprefix("models--").replace("--", "/")
    return re.sub(r"-[0-9a-f]{12}$", "", folders[-1])


def percent(share: float) -> str:
    """Whole percents; of less than one with two more digits."""
    return f"{share:.2%}" if 0 < share < 0.01 else f"{share:.0%}"


def figures(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
