"""Parts of the figures as JSON: the verdicts on answers, and the costs of curves, levels and hardware options."""

from dataclasses import fields
from typing import Any

from engine_probe.analysis.answers.quality.answer_verdicts import Verdicts
from engine_probe.evaluation.money.compared_options import ComparedHardware
from engine_probe.evaluation.money.costs import Money, worth_showing
from engine_probe.evaluation.quality import Judge, JudgedAnswer, RunQuality, curve_qualities
from engine_probe.recordings.run import Run
from engine_probe.recordings.sweep import Swept

ANSWER_QUALITY = "answer_quality"
JUDGED_NAMES = ("request_id", "prompt_id", "question_id", "language", "subject", "outcome")


def picked(value: object, *names: str) -> dict[str, Any]:
    """Return these attributes, which JSON has under the same names."""
    return {name: getattr(value, name) for name in names}


def accounted(money: Money) -> dict[str, Any] | None:
    if not worth_showing(money):
        return None
    return {
        "currency": money.currency,
        "prices": money.prices,
        "curves": [
            {
                **picked(curve, "label", "unit", "cards"),
                "levels": curve.costs.levels,
                "energy_in_cost": curve.costs.with_energy,
                "energy_from": curve.costs.energy_sources,
                "break_even": curve.costs.break_even,
                "notes": curve.costs.notes,
            }
            for curve in money.curves
        ],
        "cards": [{"fewer": pair.fewer.cards, "more": pair.more.cards, "levels": pair.rows} for pair in money.cards],
        **compared_options(money.hardware),
    }


def compared_options(found: ComparedHardware | None) -> dict[str, Any]:
    """Return the hardware options, the cheapest by demand, and what a token costs on one against another."""
    if found is None:
        return {"options": [], "cheapest_by_demand": []}
    return {
        "options": found.offered,
        "cheapest_by_demand": found.steps,
        "demand": found.demand,
        "choices": [
            {
                "option": choice.option.name,
                "engines": choice.count,
                "engines_by_the_upper_end": choice.hoped,
                "in_time": choice.latency,
                "per_month": choice.per_month,
            }
            for choice in found.choices
        ],
        "rules": found.rules,
        "cost_ratios": [
            {
                "option": ratio.option.name,
                "serves": ratio.option.serves,
                "against": ratio.first.name,
                **picked(ratio, "low", "high"),
                "published": ratio.option.claimed_ratio,
                "published_follows": ratio.follows,
            }
            for ratio in found.ratios
        ],
    }


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
    verdicts = picked(answer.verdicts, *(each.name for each in fields(Verdicts)))
    reasons = {name: verdict.reason for name, verdict in verdicts.items() if verdict.reason}
    return {
        **picked(answer, *JUDGED_NAMES),
        "verdicts": {name: verdict.value for name, verdict in verdicts.items()},
        "reasons": reasons,
    }
