"""Does an answer to a multiple-choice question contradict its own reasoning?

Only letters and the words of choices are compared: the letter that is answered, the letters that the text calls right,
and the choice whose words stand behind the answered letter. Reasoning that argues for a choice without naming it is
not found out.
"""

from collections.abc import Sequence
from string import ascii_uppercase

from engine_probe.analysis.answers.quality.answer_words import words
from engine_probe.analysis.answers.quality.choice_letter import argued, marked
from engine_probe.analysis.answers.quality.verdict import Verdict, not_judged


def contradicts_itself(text: str, choices: Sequence[str]) -> Verdict:
    if not choices:
        return not_judged("no choices")
    announced, claims = marked(text, len(choices)), argued(text, len(choices))
    letters = list(dict.fromkeys(each.letter for each in announced))
    if len(letters) > 1:
        return Verdict(True, f"answers {' and '.join(letters)}")
    for each in announced:
        behind = choice_behind(text[each.end :], choices)
        if behind is not None and behind != each.letter:
            return Verdict(True, f"answers {each.letter} with the words of {behind}")
    for_letters = list(dict.fromkeys(each.letter for each in claims))
    if not letters:
        if len(for_letters) > 1:
            return Verdict(True, f"calls {' and '.join(for_letters)} right")
        return not_judged("announces no letter")
    if not for_letters:
        return not_judged("argues for no letter")
    if letters[0] not in for_letters:
        return Verdict(True, f"answers {letters[0]}, argues for {' and '.join(for_letters)}")
    return Verdict(False)


def choice_behind(text: str, choices: Sequence[str]) -> str | None:
    """Return the letter of the longest choice with whose words the text begins. None if it begins with none."""
    given = words(text)
    fits = [
        (len(form), letter)
        for letter, choice in zip(ascii_uppercase, choices, strict=False)
        if (form := words(choice)) and given[: len(form)] == form
    ]
    return max(fits)[1] if fits else None
