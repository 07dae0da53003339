"""The words of a text, in a form in which two spellings of a word are equal."""

import re
import unicodedata
from collections.abc import Sequence

# A letter of a script without spaces is a word of its own.
WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W_]+")


def words(text: str) -> list[str]:
    """Return the words without differences of case, of width, and of how accents and ligatures are encoded."""
    same = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return WORD.findall(same.replace("œ", "oe"))


def holds(text: Sequence[str], part: Sequence[str]) -> bool:
    """Return whether the words of `part` follow each other in `text`."""
    size = len(part)
    return size > 0 and any(text[at : at + size] == part for at in range(len(text) - size + 1))


def runs_of(text: Sequence[str], size: int) -> set[tuple[str, ...]]:
    """Return every sequence of `size` words that follow each other."""
    return {tuple(text[at : at + size]) for at in range(len(text) - size + 1)}
