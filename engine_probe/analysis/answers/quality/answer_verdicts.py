"""All verdicts on an answer."""

from dataclasses import dataclass, fields

from engine_probe.analysis.answers.quality.answer_words import holds, words
from engine_probe.analysis.answers.quality.choice_letter import chosen
from engine_probe.analysis.answers.quality.contradiction import contradicts_itself
from engine_probe.analysis.answers.quality.copied_text import copies_prompt, leaks_system_prompt
from engine_probe.analysis.answers.quality.language import LanguageDetector, is_in_wrong_language
from engine_probe.analysis.answers.quality.repetition import repeats_itself
from engine_probe.analysis.answers.quality.verdict import Verdict, not_judged
from engine_probe.workload.question_set.question_file import AskedQuestion, Question, matches
from engine_probe.workload.question_set.question_prompts import user_text


@dataclass(frozen=True)
class Verdicts:
    """The verdicts on one answer: whether it is right, and which faults it has."""

    correct: Verdict
    wrong_language: Verdict
    contradiction: Verdict
    leaked_prompt: Verdict
    copied_prompt: Verdict
    context_lost: Verdict
    repetitive: Verdict
    truncated: Verdict
    empty: Verdict


# Faults and what a reader calls them.
FAULTS = {
    "wrong_language": "wrong language",
    "contradiction": "contradicts its reasoning",
    "leaked_prompt": "system prompt leaked",
    "copied_prompt": "prompt copied",
    "context_lost": "context lost",
    "repetitive": "repetitive",
    "truncated": "cut at its longest length",
    "empty": "empty",
}


def judge(
    text: str, question: Question, turn: int, finish_reason: str | None, detector: LanguageDetector | None
) -> Verdicts:
    """Judge the answer to a turn of a question; `finish_reason` is vLLM's."""
    asked = question.asked[turn]
    visible = [user_text(question, number) for number in range(turn + 1)]
    correct = is_right(text, asked, last=question.eval == "teaching")
    silent = not words(text)
    return Verdicts(
        correct=correct,
        wrong_language=is_in_wrong_language(text, question.language, "\n".join(visible), detector),
        contradiction=contradicts_itself(text, asked.choices),
        leaked_prompt=leaks_system_prompt(text, question.system, visible),
        copied_prompt=copies_prompt(text, visible, [asked.question for asked in question.asked[: turn + 1]]),
        context_lost=Verdict(not correct.value, correct.reason) if turn else not_judged("a first turn"),
        repetitive=repeats_itself(text),
        truncated=was_cut(finish_reason),
        empty=Verdict(silent),
    )


def is_right(text: str, asked: AskedQuestion, last: bool = False) -> Verdict:
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
            given = words(text)
            return Verdict(any(given == words(right) for right in key.texts), f"exactly {' or '.join(key.texts)}")
    given = words(text)
    return Verdict(any(holds(given, words(right)) for right in key.texts), f"contains {' or '.join(key.texts)}")


def was_cut(finish_reason: str | None) -> Verdict:
    if finish_reason in ("length", "stop"):
        return Verdict(finish_reason == "length", f"vLLM's finish reason is {finish_reason}")
    return not_judged("how it ended is not recorded")


def all_not_judged(reason: str) -> Verdicts:
    """Return verdicts on an answer that cannot be judged."""
    return Verdicts(*(not_judged(reason) for _ in fields(Verdicts)))
