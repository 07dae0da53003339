"""The letters of choices that an answer names: as its answer, or as the one that its reasoning argues for.

English, French and Malay (with the Indonesian that models mix into it) are understood; in other languages only a letter
alone or after a colon is found.
"""

import re
from collections.abc import Sequence
from string import ascii_uppercase
from typing import NamedTuple

from engine_probe.analysis.answers.quality.answer_words import holds, words

# (language, words) that announce an answer before a colon.
MARKERS = (("en", r"answers?"), ("fr", r"r[ée]ponses?"), ("ms", r"jawapan|jawaban"))
# A letter, perhaps in brackets, bold, or after the number of the question ("6. C").
LETTER = r"""[\s(\[*"'«“_]*(?:\d+\s*[.)]\s*)?(?P<letter>[A-Z])(?![\w'’])"""
MARKED = re.compile(rf"(?i:\b(?:{'|'.join(form for _, form in MARKERS)}))[\s*_]*[:：]{LETTER}")
ALONE = re.compile(rf"^{LETTER}[\s)\]*\"'»”_.!]*$")
FIRST = re.compile(r"^[\s(\[*_]*(?P<letter>[A-Z])[)\]*_]*(?:[.):,]|\s[-–])\s")
# "A" and "I" are words, too: as letters they end the clause, or one of these follows.
WORD_LIKE = re.compile(
    r"\s+(?!because|as|since|and|is|car|parce|puisque|et|est|kerana|karena|sebab|dan|ialah|adalah)[a-zà-ÿ]"
)
CLAIM_FORMS = {
    "en": (
        r"(?:correct|right|best)\s+(?:answer|choice|option)\s+(?:is|was|must be|should be|would be){letter}",
        r"\b(?:so|thus|hence|therefore),?\s+the\s+answer\s+is{letter}",
        r"\bthe\s+answer\s+is{letter}",
        r"\b(?:option|choice|answer){letter}\s+is\s+(?:the\s+)?(?:correct|right)\b",
        r"(?:^|[\s,.:]){letter}\s+is\s+(?:the\s+)?(?:correct|right)\s+(?:answer|choice|option)",
        r"\bwhy{letter}\s+is\s+(?:the\s+)?(?:correct|right)\b",
    ),
    "fr": (
        r"(?:bonne|juste)\s+réponse\s+est(?:\s+donc|\s+bien)?(?:\s+la|\s+l'option|\s+le\s+choix)?{letter}",
        r"(?:bon|juste)\s+choix\s+est(?:\s+donc|\s+bien)?(?:\s+le)?{letter}",
        r"réponse\s+(?:correcte|exacte|juste)\s+est(?:\s+donc|\s+bien)?(?:\s+la)?{letter}",
        r"\bla\s+réponse\s+est(?:\s+donc|\s+bien)?(?:\s+la)?{letter}",
        r"(?:^|[\s,.:']){letter}\s+est\s+(?:donc\s+|bien\s+)?(?:la\s+bonne\s+réponse|le\s+bon\s+choix|juste\b|correcte?\b)",
    ),
    "ms": (
        r"(?:jawapan|jawaban|pilihan|opsyen)(?:nya)?\s+(?:yang\s+)?(?:betul|benar|tepat)(?:\s+ialah|\s+adalah|,|:)?{letter}",
        r"(?:jawapan|jawaban)(?:nya)?\s+(?:ialah|adalah){letter}",
        r"\b(?:pilihan|opsyen|jawapan){letter}\s+(?:ialah\s+|adalah\s+)?(?:yang\s+)?(?:betul|benar|tepat)\b",
        r"(?:^|[\s,.:]){letter}\s+(?:ialah|adalah)\s+(?:jawapan|jawaban|pilihan)\s+(?:yang\s+)?(?:betul|benar|tepat)",
    ),
}
IN_CLAIM = (
    r"""(?-i:[\s(\[*"'«“:_]*(?:(?i:option|choice|letter|pilihan|opsyen|huruf)\s+)?(?:\d+\s*[.)]\s*)?"""
    r"""(?P<letter>[A-Z])(?![\w'’])[)\]*"'»”_]*)"""
)
CLAIMS = {
    language: [re.compile(form.format(letter=IN_CLAIM), re.IGNORECASE | re.MULTILINE) for form in forms]
    for language, forms in CLAIM_FORMS.items()
}
SUPPOSED = re.compile(
    r"\b(?:if|whether|si|jika|kalau|sekiranya|sama ada)\s+(?:the\s+|la\s+|option\s+|pilihan\s+)?$", re.I
)


class Named(NamedTuple):
    """Holds a letter and where the words that name it begin and end."""

    letter: str
    start: int
    end: int


def marked(text: str, number: int) -> list[Named]:
    """Return the letters that are announced as the answer, in their order; a letter that begins the text is one, too.

    A list of choices announces none.
    """
    letters = ascii_uppercase[:number]
    first = text.strip().partition("\n")[0]
    listed = {line["letter"] for each in text.splitlines() if (line := FIRST.match(each))}
    if (alone := ALONE.match(first) or FIRST.match(first)) and alone["letter"] in letters and len(listed) < 2:
        begins = [Named(alone["letter"], 0, len(text) - len(text.lstrip()) + alone.end("letter"))]
    else:
        begins = []
    return begins + [
        Named(found["letter"], found.start(), found.end())
        for found in MARKED.finditer(text)
        if found["letter"] in letters and not is_word(text, found)
    ]


def argued(text: str, number: int) -> list[Named]:
    """Return the letters that the text calls the right one, in their order."""
    letters = ascii_uppercase[:number]
    named = {
        Named(found["letter"], found.start(), found.end())
        for forms in CLAIMS.values()
        for form in forms
        for found in form.finditer(text)
        if found["letter"] in letters and not is_word(text, found) and not SUPPOSED.search(text[: found.start()])
    }
    return sorted(named, key=lambda each: each.start)


def is_word(text: str, found: re.Match[str]) -> bool:
    """Return whether the letter is the word A or I, as in "the answer is A long story"."""
    return found["letter"] in "AI" and WORD_LIKE.match(text, found.end("letter")) is not None


def chosen(text: str, choices: Sequence[str], last: bool = False) -> str | None:
    """Return the letter of the choice that an answer settles on: the first that it announces, or the last.

    Without an announcement it is the last letter that it argues for, or else the only choice whose words it holds.
    """
    announced = marked(text, len(choices))
    if announced:
        return announced[-1 if last else 0].letter
    if claims := argued(text, len(choices)):
        return claims[-1].letter
    given = words(text)
    held = [letter for letter, choice in zip(ascii_uppercase, choices, strict=False) if holds(given, words(choice))]
    return held[0] if len(held) == 1 else None
