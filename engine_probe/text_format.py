"""Names, numbers and durations as text; control characters in names from outside are spelled out."""

import difflib
import re
from collections.abc import Iterable

from page_kit.plain_text import plain as plain

LONGEST_LINE = 1_000


def shortened(line: str, most: int = LONGEST_LINE) -> str:
    """Leave out the middle of a line that would fill a screen; its end says what to do."""
    return line if len(line) <= most else f"{line[: most // 2]} ... {line[-most // 2 :]}"


def suggestion(name: str, known: Iterable[str], otherwise: str = "") -> str:
    """Return `: did you mean ...?` to end an error with, or `otherwise` if no known name is similar."""
    near = difflib.get_close_matches(name, sorted(known), n=3, cutoff=0.6)
    return f": did you mean {' or '.join(near)}?" if near else otherwise


def duration(ns: float | None) -> str:
    """Return nanoseconds with three figures and a unit, a few of them with two; "-" for None."""
    if ns is None:
        return "-"
    for unit, size in (("s", 1e9), ("ms", 1e6)):
        if ns >= size:
            return f"{figures(ns / size)} {unit}"
    return f"{figures(ns / 1e3)} µs" if ns >= 10 or ns <= 0 else f"{ns:.2g} ns"


def milliseconds(ms: float | None) -> str:
    """Return milliseconds as `duration` writes nanoseconds, also those below zero."""
    if ms is None:
        return "-"
    return f"-{duration(-ms * 1e6)}" if ms < 0 else duration(ms * 1e6)


def long_duration(seconds: float) -> str:
    """Return seconds as `0.5 s`, `42 s`, `1.5 min` or `2.5 h`."""
    if seconds < 60:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{seconds / 60:.0f} min" if seconds >= 600 else f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h"


def capitalized(words: str) -> str:
    """Return words with a capital first letter; unlike `str.capitalize`, the others stay as they are."""
    return f"{words[:1].upper()}{words[1:]}"


def counted(number: float, noun: str) -> str:
    """Return the number with the noun in singular or plural."""
    digits = f"{number:,}" if isinstance(number, int) else f"{number:,g}"
    return f"{digits} {noun}" if number == 1 else f"{digits} {noun}s"


def byte_size(size: float, digits: int = 3) -> str:
    """Return a size with this many significant figures in the largest unit that it fills."""
    for unit, power in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        scale = 1 << power
        if size >= scale:
            return f"{size / scale:.{digits}g} {unit}" if size < 1000 * scale else f"{size / scale:,.0f} {unit}"
    return counted(float(f"{size:.{digits}g}"), "byte")


def model_name(name: str) -> str:
    """Return a model's name without the folders of its path and without a cache's digest or Hub snapshot."""
    if not name.startswith("/"):
        return name
    folders = name.rstrip("/").split("/")
    if "snapshots" in folders[-2:-1] and folders[-3].startswith("models--"):
        return folders[-3].removeprefix("models--").replace("--", "/")
    return re.sub(r"-[0-9a-f]{12}$", "", folders[-1])


def percent(share: float) -> str:
    """Return a share in whole percent, below one percent with two decimals."""
    return f"{share:.2%}" if 0 < share < 0.01 else f"{share:.0%}"


def rate_words(value: float) -> str:
    """Return a rate with four significant figures and its thousands marked, and never as a power of ten."""
    if abs(value) >= 1000:
        return f"{float(f'{value:.4g}'):,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"


def figures(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
