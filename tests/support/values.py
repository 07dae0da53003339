"""The values in a sentence, which tests assert instead of the words around them."""

from __future__ import annotations

import re

VALUE = re.compile(r"[+-]?\d+(?:[.,]\d+)*%?")


def values(text: str) -> list[str]:
    """Return the numbers of a text as they are printed, in their order: `-5.0%`, `1,024`, `7.5`."""
    return VALUE.findall(text)


def has_values(text: str, *wanted: str) -> bool:
    """Return whether these numbers follow one another somewhere in the text."""
    found = values(text)
    return any(tuple(found[start : start + len(wanted)]) == wanted for start in range(len(found)))
