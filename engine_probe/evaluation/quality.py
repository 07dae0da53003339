"""The quality of the answers to question sets, judged from the texts that a recording kept, and joined with load."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from engine_probe.analysis.answers.quality.answer_verdicts import FAULTS, Verdicts, all_not_judged, judge
from engine_probe.analysis.answers.quality.language import WITHOUT_LINGUA, LanguageDetector, language_detector
from engine_probe.analysis.answers.quality.quality_by_load import (
    ChangedShare,
    MeanShare,
    Shares,
    paired_changes,
    rate,
    shares,
)
from engine_probe.errors import InputError
from engine_probe.evaluation.scores import Scores
from engine_probe.recordings.run import Run
from engine_probe.recordings.sweep import Swept
from engine_probe.recordings.sweep_point import SweptPoint
from engine_probe.text_format import counted
from engine_probe.workload.question_set.question_file import Question

ANSWERED = "answered"
CORRECT = "correct"
ALL = "all"
NO_TEXT = 'no text was kept, so no answer is judged: set [answers] keep = "text" (--keep-answers text)'
ACCURACY = "accuracy"
GENERAL = {WITHOUT_LINGUA, NO_TEXT}  # notes that are the same for every run


@dataclass(frozen=True)
class JudgedAnswer:
    """One answer, and the verdicts on it."""

    request_id: str
    prompt_id: str
    question_id: str
    language: str
    subject: str
    outcome: str
    verdicts: Verdicts


@dataclass(frozen=True)
class RunQuality:
    """The answers of one run; `notes` say what was not judged."""

    answers: tuple[JudgedAnswer, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class QualityLevel:
    """The answers of all runs at one load."""

    load: float
    answers: tuple[JudgedAnswer, ...]

    def rate(self, name: str, group: tuple[str, str] = (ALL, ALL)) -> MeanShare | None:
        """Return the share of answers with a verdict, of a language and a subject. None if none was judged."""
        return rate(list(verdicts_of(in_group(self.answers, group), name)))


@dataclass(frozen=True)
class CurveQuality:
    """The levels of a curve in the order of loads, and how the answers differ between them."""

    unit: str
    levels: tuple[QualityLevel, ...]
    runs: Mapping[str, RunQuality]  # by the id of their point
    notes: tuple[str, ...]

    @property
    def groups(self) -> list[tuple[str, str]]:
        return groups_of([answer for level in self.levels for answer in level.answers])

    @cached_property
    def changes(self) -> tuple[ChangedShare, ...]:
        return paired_changes({name: self.shares(name) for name in (CORRECT, *FAULTS) if self.varies(name)})

    def shares(self, name: str) -> dict[float, Shares]:
        return {level.load: shares(verdicts_of(level.answers, name)) for level in self.levels}

    def varies(self, name: str) -> bool:
        """Return whether anything has the property: without that there is nothing to test."""
        return name == CORRECT or any(value for level in self.shares(name).values() for value in level.values())


class Judge:
    """Judges the answers of runs; equal answers to a question are judged once."""

    def __init__(self) -> None:
        self._detectors: dict[frozenset[str], LanguageDetector | None] = {}
        self._found: dict[tuple[str, str, str | None], Verdicts] = {}

    def run(self, run: Run) -> RunQuality | None:
        """Judge all answers of a run. None if it asked no questions of a set."""
        asked = run.questions
        if not asked:
            return None
        detector = self._detector(frozenset(question.language for question, _ in asked.values()))
        notes = [] if detector else [WITHOUT_LINGUA]
        finish = dict(zip(*(run.requests[name].to_pylist() for name in ("request_id", "finish_reason")), strict=True))
        columns = ("request_id", "prompt_id", "question_id", "outcome", "text")
        rows = run.answers.select(columns).to_pylist()
        answers = []
        for row in rows:
            if (known := asked.get(row["question_id"])) is None:
                continue
            verdicts = self._verdicts(row, *known, finish.get(row["request_id"]), detector)
            question = known[0]
            named = (row["request_id"], row["prompt_id"], row["question_id"], question.language, question.subject)
            answers.append(JudgedAnswer(*named, row["outcome"], verdicts))
        whole = [row["text"] for row in rows if row["outcome"] == ANSWERED]
        if whole and not any(text is not None for text in whole):
            notes = [NO_TEXT]
        elif unjudged := sum(answer.outcome != ANSWERED for answer in answers):
            notes.append(f"{counted(unjudged, 'request')} got no whole answer and were not judged")
        return RunQuality(tuple(answers), tuple(notes))

    def _detector(self, languages: frozenset[str]) -> LanguageDetector | None:
        if languages not in self._detectors:
            self._detectors[languages] = language_detector(sorted(languages))
        return self._detectors[languages]

    def _verdicts(
        self, row: dict[str, Any], question: Question, turn: int, finish: str | None, detector: LanguageDetector | None
    ) -> Verdicts:
        if row["outcome"] != ANSWERED:
            return all_not_judged(f"no whole answer: {row['outcome']}")
        if row["text"] is None:
            return all_not_judged(NO_TEXT)
        key = (row["question_id"], row["text"], finish)
        if key not in self._found:
            self._found[key] = judge(row["text"], question, turn, finish, detector)
        return self._found[key]


def curve_qualities(swept: Swept) -> dict[str, CurveQuality]:
    """Judge the answers of all points, curve by curve. Empty if no questions of a set were asked."""
    judging = Judge()
    found = {label: curve_quality(points, judging) for label, points in swept.curves.items()}
    return {label: quality for label, quality in found.items() if quality is not None}


def curve_quality(points: Sequence[SweptPoint], judging: Judge) -> CurveQuality | None:
    runs: dict[str, RunQuality] = {}
    by_load: dict[float, list[JudgedAnswer]] = {}
    notes: dict[str, None] = {}
    for point in points:
        if point.run is None or point.analysis is None:
            continue
        try:
            quality = judging.run(point.run)
        except InputError as error:
            notes[f"{point.name}: {error}"] = None
            continue
        if quality is not None:
            runs[point.id] = quality
            by_load.setdefault(point.load, []).extend(quality.answers)
            notes |= dict.fromkeys(note if note in GENERAL else f"{point.name}: {note}" for note in quality.notes)
    if not by_load and not notes:
        return None
    levels = tuple(QualityLevel(load, tuple(answers)) for load, answers in sorted(by_load.items()))
    return CurveQuality(points[0].unit, levels, runs, tuple(notes))


def with_accuracy(scores: Scores | None, qualities: Mapping[str, CurveQuality]) -> Scores | None:
    """Add the accuracy of each point to the scores whose trend over the load is tested."""
    accuracy = {
        point: right
        for quality in qualities.values()
        for point, run in quality.runs.items()
        if (right := right_answers(run))
    }
    return {**(scores or {}), ACCURACY: accuracy} if accuracy else scores


def right_answers(run: RunQuality) -> dict[str, float]:
    """Return 1 for each right answer and 0 for each wrong one, by request."""
    values = ((answer.request_id, answer.verdicts.correct.value) for answer in run.answers)
    return {request: float(value) for request, value in values if value is not None}


def groups_of(answers: Sequence[JudgedAnswer]) -> list[tuple[str, str]]:
    """Return the pairs of language and subject, and the whole."""
    pairs = sorted({(answer.language, answer.subject) for answer in answers})
    return [(ALL, ALL), *pairs] if len(pairs) > 1 else [(ALL, ALL)]


def in_group(answers: Sequence[JudgedAnswer], group: tuple[str, str]) -> Iterator[JudgedAnswer]:
    for answer in answers:
        if group == (ALL, ALL) or (answer.language, answer.subject) == group:
            yield answer


def verdicts_of(answers: Iterable[JudgedAnswer], name: str) -> Iterator[tuple[str, bool]]:
    """Yield question and verdict of each answer that was judged."""
    for answer in answers:
        value: bool | None = getattr(answer.verdicts, name).value
        if value is not None:
            yield answer.question_id, value
