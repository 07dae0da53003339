"""Does an answer repeat itself?"""

from collections.abc import Sequence

from engine_probe.analysis.answers.quality.answer_words import runs_of, words
from engine_probe.analysis.answers.quality.verdict import Verdict, not_judged

LONGEST_PHRASE = 60  # words of a phrase that is repeated
FEWEST_COPIES = 4  # in a row
FEWEST_WORDS = 12  # of all copies together
ENOUGH_WORDS = 60  # for the share of different runs of words
RUN = 3
FEWEST_DIFFERENT = 0.5  # of the runs of three words; 40 long paragraphs and tables of docs/ have at least 0.58


def repeats_itself(text: str) -> Verdict:
    """Judge whether a phrase comes again and again in a row, or most runs of three words come more than once."""
    answered = words(text)
    if len(answered) < FEWEST_WORDS:
        return not_judged(f"fewer than {FEWEST_WORDS} words") if not answered else Verdict(False)
    if phrase := loop(answered):
        return Verdict(True, f"repeats {' '.join(phrase)!r}")
    different = len(runs_of(answered, RUN)) / (len(answered) - RUN + 1)
    return Verdict(
        len(answered) >= ENOUGH_WORDS and different < FEWEST_DIFFERENT, f"{different:.0%} of its runs differ"
    )


def loop(answered: Sequence[str]) -> list[str] | None:
    """Return the shortest phrase that is repeated often enough in a row. None if there is none."""
    for period in range(1, min(LONGEST_PHRASE, len(answered) // FEWEST_COPIES) + 1):
        alike = 0
        for at in range(period, len(answered)):
            alike = alike + 1 if answered[at] == answered[at - period] else 0
            if alike >= period * (FEWEST_COPIES - 1) and alike + period >= FEWEST_WORDS:
                return list(answered[at - period + 1 : at + 1])
    return None
