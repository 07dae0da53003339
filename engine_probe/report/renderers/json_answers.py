"""The verdicts on answers as JSON: of a run, and of each point of a sweep."""

from dataclasses import fields
from typing import Any

from engine_probe.analysis.answers.quality.verdicts import Verdicts
from engine_probe.evaluation.quality import Judge, JudgedAnswer, RunQuality, curve_qualities
from engine_probe.recordings.run import Run
from engine_probe.recordings.sweep import Swept

ANSWER_QUALITY = "answer_quality"
JUDGED_NAMES = ("request_id", "prompt_id", "question_id", "language", "subject", "outcome")


def run_quality(run: Run) -> dict[str, Any]:
    """Return the verdicts on a run's answers. Empty if it asked no questions of a set."""
    found = Judge().run(run)
    return {} if found is None else {ANSWER_QUALITY: judged_answers(found)}


def sweep_quality(swept: Swept) -> dict[str, Any]:
    """Return the verdicts on each point's answers. Empty if no questions of a set were asked."""
    runs = {point: run for quality in curve_qualities(swept).values() for point, run in quality.runs.items()}
    return {ANSWER_QUALITY: {point: judged_answers(run) for point, run in runs.items()}} if runs else {}


def judged_answers(found: RunQuality) -> dict[str, Any]:
    """Return the verdicts on each answer: true, false, or null where it was not judged, and why."""
    return {"notes": found.notes, "requests": [judged_answer(answer) for answer in found.answers]}


def judged_answer(answer: JudgedAnswer) -> dict[str, Any]:
    named = {name: getattr(answer, name) for name in JUDGED_NAMES}
    verdicts = {each.name: getattr(answer.verdicts, each.name) for each in fields(Verdicts)}
    reasons = {name: verdict.reason for name, verdict in verdicts.items() if verdict.reason}
    return {**named, "verdicts": {name: verdict.value for name, verdict in verdicts.items()}, "reasons": reasons}
