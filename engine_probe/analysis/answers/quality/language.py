"""Is an answer in the language of its question? By lingua (the extra `quality`), sentence by sentence.

Malay and Indonesian count as one language, because no detector tells them apart in a sentence or two. lingua loads the
languages of the questions and those that models slip into most. Its smaller models take 18 MiB and 0.4 s, its larger
ones 194 MiB, 7 s and four times as long for each sentence. Of 404 sentences in the right language (shipped questions,
their model answers, docs/) the smaller models misjudge 2, both lists of hardware, and the larger ones none; of
sentences in a wrong language the smaller find 96 %, the larger 67 %. Quotations and short sentences are not judged.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from engine_probe.analysis.answers.quality.choice_letter import CLAIMS, MARKERS
from engine_probe.analysis.answers.quality.verdict import Verdict, not_judged

LOADED = ("en", "fr", "ms", "id", "de", "es", "pt", "it", "nl", "zh", "ja", "ko", "ru", "ar", "hi")
ALIKE = {"id": "ms"}
FEWEST_LETTERS, FEWEST_WORDS = 20, 4  # of a sentence that is judged
SURE, UNLIKELY = 0.9, 0.05  # confidence in another language, and in the expected one
WRONG_SHARE = 1 / 3  # of the letters in judged sentences
SENTENCE = re.compile(r"(?<=[.!?。！？])\s+|\n+")
QUOTED = re.compile(r"«[^»]*»|“[^”]*”|\"[^\"]*\"")
MARKER_FORMS = {language: re.compile(rf"(?i:\b(?:{form}))[\s*_]*[:：]") for language, form in MARKERS}
WITHOUT_LINGUA = "the language of answers is not judged without lingua: pip install 'engine-probe[quality]'"


@dataclass(frozen=True)
class LanguageDetector:
    """Finds the language of sentences; `lingua` loads a language's model when it first needs it."""

    lingua: Any

    def confidences(self, sentence: str) -> dict[str, float]:
        """Return the confidence in each language, of those that are alike in their sum."""
        found: dict[str, float] = {}
        for each in self.lingua.compute_language_confidence_values(sentence):
            language = group(each.language.iso_code_639_1.name.lower())
            found[language] = found.get(language, 0.0) + each.value
        return found


def group(language: str) -> str:
    return ALIKE.get(language, language)


def language_detector(languages: Iterable[str]) -> LanguageDetector | None:
    """Return a detector that knows these languages besides its own. None without lingua."""
    try:
        from lingua import IsoCode639_1, LanguageDetectorBuilder
    except ImportError:
        return None
    known = [getattr(IsoCode639_1, name.upper(), None) for name in dict.fromkeys((*LOADED, *languages))]
    codes = [code for code in known if code is not None]
    builder = LanguageDetectorBuilder.from_iso_codes_639_1(*codes).with_low_accuracy_mode()
    return LanguageDetector(builder.build())


def is_in_wrong_language(text: str, expected: str, prompt: str, detector: LanguageDetector | None) -> Verdict:
    """Judge whether the answer, or a third of it, is in another language than expected.

    Words that announce an answer ("Jawapan: B") tell the language even of a letter, unless the prompt has them.
    """
    if detector is None:
        return not_judged(WITHOUT_LINGUA)
    if evidence := foreign_announcement(text, expected, prompt):
        return Verdict(True, evidence)
    letters: dict[str, int] = {}
    for sentence in sentences(text):
        language = language_of(sentence, group(expected), detector)
        if language is not None:
            letters[language] = letters.get(language, 0) + count_letters(sentence)
    if not letters:
        return not_judged("no sentence that is long enough to tell")
    other = {language: count for language, count in letters.items() if language != group(expected)}
    if sum(other.values()) < WRONG_SHARE * sum(letters.values()):
        return Verdict(False)
    return Verdict(True, f"{max(other, key=lambda each: other[each])} in place of {expected}")


def language_of(sentence: str, expected: str, detector: LanguageDetector) -> str | None:
    """Return the expected language, or another that is likely enough. None if it cannot be told."""
    found = detector.confidences(sentence)
    best = max(found, key=lambda each: found[each])
    if best == expected:
        return expected
    return best if found[best] >= SURE and found.get(expected, 0.0) <= UNLIKELY else None


def sentences(text: str) -> list[str]:
    found = SENTENCE.split(QUOTED.sub(" ", text))
    return [each for each in found if count_letters(each) >= FEWEST_LETTERS and len(each.split()) >= FEWEST_WORDS]


def count_letters(text: str) -> int:
    return sum(map(str.isalpha, text))


def foreign_announcement(text: str, expected: str, prompt: str) -> str | None:
    """Return words of another language that announce an answer. None if there are none."""
    if group(expected) not in CLAIMS:
        return None
    for language, form in MARKER_FORMS.items():
        if language != group(expected) and not form.search(prompt) and (found := form.search(text)):
            return f"{found[0]!r} ({language}) in place of {expected}"
    for language, claims in CLAIMS.items():
        if language != group(expected):
            for claim in claims:
                if found := claim.search(text):
                    return f"{found[0].strip()!r} ({language}) in place of {expected}"
    return None
