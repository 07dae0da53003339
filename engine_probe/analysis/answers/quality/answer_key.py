"""Is an answer right, by its question's key?"""

from engine_probe.analysis.answers.quality.answer_words import holds, words
from engine_probe.analysis.answers.quality.choice_letter import chosen
from engine_probe.analysis.answers.quality.verdict import Verdict
from engine_probe.workload.question_set.question_file import Asked, matches


def is_right(text: str, asked: Asked, last: bool = False) -> Verdict:
    """Judge an answer; `last` takes the last letter that it announces, as an explanation ends with its answer."""
    key = asked.answer
    match key.kind:
        case "choice":
            letter = chosen(text, asked.choices, last)
            if letter is None:
                return Verdict(False, "names none of the choices")
            return Verdict(letter == key.choice, f"chose {letter}, right is {key.choice}")
        case "regex":
            assert key.regex is not None
            return Verdict(matches(key.regex, text), f"expression {key.regex}")
        case "exact":
            said = words(text)
            return Verdict(any(said == words(right) for right in key.texts), f"exactly {' or '.join(key.texts)}")
    said = words(text)
    return Verdict(any(holds(said, words(right)) for right in key.texts), f"contains {' or '.join(key.texts)}")
