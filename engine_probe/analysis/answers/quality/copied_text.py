"""Words that an answer has from its prompt: instructions that it gives away, and a passage that it copies.

Only words that follow each other as in the prompt count, so instructions in other words are not noticed.
"""

from collections.abc import Iterable

from engine_probe.analysis.answers.quality.answer_words import runs_of, words
from engine_probe.analysis.answers.quality.verdict import Verdict, not_judged

LEAKED_WORDS = 7  # of the system prompt in a row; the model answers to the shipped questions have at most 2
FEWEST_LEAKED = 5  # of a shorter system prompt
COPIED_RUN = 8  # words in a row that count as copied
COPIED_SHARE = 0.6  # of the answer
FEWEST_ASKED = 5  # words of a question that an answer can repeat
ADDED_SHARE = 0.5  # of a repeated question: an answer that adds fewer words is the question again
FEWEST_COPIED = 25  # words: a sentence or two are a fair quotation


def leaks_system_prompt(text: str, system: str | None, visible: Iterable[str]) -> Verdict:
    """Judge whether the answer repeats a run of the system prompt that what the user wrote (`visible`) lacks."""
    if not system:
        return not_judged("no system prompt")
    instructed = words(system)
    size = min(LEAKED_WORDS, len(instructed))
    if size < FEWEST_LEAKED:
        return not_judged("the system prompt is too short")
    secret = runs_of(instructed, size).difference(*(runs_of(words(each), size) for each in visible))
    answered = words(text)
    places = [at for at in range(len(answered) - size + 1) if tuple(answered[at : at + size]) in secret]
    if not places:
        return Verdict(False)
    end = places[0]
    while end + 1 in places:
        end += 1
    return Verdict(True, f"repeats {' '.join(answered[places[0] : end + size])!r}")


def copies_prompt(text: str, visible: Iterable[str], questions: Iterable[str] = ()) -> Verdict:
    """Judge whether most of the answer is copied from what the user wrote: a passage, or a question asked so far."""
    if repeated := repeated_question(text, questions):
        return Verdict(True, f"repeats the question {repeated!r}")
    sources = [source for each in visible if len(source := words(each)) >= FEWEST_COPIED]
    if not sources:
        return not_judged("no passage to copy")
    answered = words(text)
    if not answered:
        return not_judged("no words")
    given = set[tuple[str, ...]]().union(*(runs_of(source, COPIED_RUN) for source in sources))
    copied = {
        place
        for at in range(len(answered) - COPIED_RUN + 1)
        if tuple(answered[at : at + COPIED_RUN]) in given
        for place in range(at, at + COPIED_RUN)
    }
    share = len(copied) / len(answered)
    return Verdict(len(copied) >= FEWEST_COPIED and share >= COPIED_SHARE, f"{share:.0%} of its words are copied")


def repeated_question(text: str, questions: Iterable[str]) -> str | None:
    """Return the question that the answer begins with and adds little to. None if there is none."""
    answered = words(text)
    for question in questions:
        asked = words(question)
        added = len(answered) - len(asked)
        if len(asked) >= FEWEST_ASKED and answered[: len(asked)] == asked and added < ADDED_SHARE * len(asked):
            return question
    return None
