"""Word perplexity as the task `wikitext` of lm_eval counts it: documents, their words, and rolling windows.

exp(sum of -ln p over all documents / number of words). A document is a page of WikiText, from one heading of the first
level to the next; a text without such headings is one document. Words are counted in the file's own text, split on
whitespace (so an empty one at either end counts, too), while the model is given the text as people write it, without
the spaces that WikiText puts around punctuation. All tokens of a document are predicted, each once.
"""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from engine_probe.perplexity.text import Window

HEADING = re.compile(r"^ = [^=\n]+ = *$", re.MULTILINE)
PAIRS = (("(", ")"), ("[", "]"), ("{", "}"), ('"', '"'), ("'", "'"))


class ScoredDocument(NamedTuple):
    text: str  # as the model is given it
    words: int


def documents(text: str) -> list[ScoredDocument]:
    """Return the documents of a text; what is blank before the first heading is none."""
    starts = [found.start() for found in HEADING.finditer(text)]
    if not starts:
        return [ScoredDocument(text, count_words(text))]
    pages = [text[start:end] for start, end in zip([0, *starts], [*starts, len(text)], strict=True)]
    return [ScoredDocument(as_written(page), count_words(page)) for page in pages if page.strip()]


def count_words(text: str) -> int:
    return len(re.split(r"\s+", text))


def as_written(text: str) -> str:
    """Undo WikiText's tokenization: the order of the steps is part of the definition."""
    text = text.replace("s '", "s'")
    for mark in "-,.":
        text = text.replace(f" @{mark}@ ", mark)
    for mark in ":;.!?,":
        text = text.replace(f" {mark} ", f"{mark} ")
    for left, right in PAIRS:
        inside = rf"{re.escape(left)}\s*([^{re.escape(right)}]*?)\s*{re.escape(right)}"
        text = re.sub(inside, rf"{left}\1{right}", text)
    for level in (4, 3, 2):
        text = text.replace(" ".join("=" * level), "=" * level)
    for before, after in ((" ° ", "°"), (" \n", "\n"), ("\n ", "\n"), (" N ", " 1 "), (" 's", "'s")):
        text = text.replace(before, after)
    return text


def rolling(token_ids: Sequence[int], prefix: int, size: int) -> Iterator[Window]:
    """Yield windows of at most `size` tokens that score each token of a document once, the first after `prefix`.

    Each window but the first begins with the last token scored before it; the last one reaches back as far as it can.
    """
    scored = size - 1
    text = [prefix, *token_ids]
    for start in range(0, len(token_ids), scored):
        end = min(start + scored, len(token_ids)) + 1  # in `text`
        first = max(0, end - size)
        yield Window(text[first:end], start + 1 - first)
