"""The effect of load on failures, latency, answers and scores: what recordings give the tests, and its words."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from engine_probe.analysis.effect import (
    MARGIN,
    SHARE_MARGIN,
    UNSTABLE,
    Effect,
    Effects,
    Outcome,
    Reals,
    RunSeen,
    effects,
)
from engine_probe.analysis.metrics import LATENCIES, answered
from engine_probe.record.folder import ANSWERS_FILE
from engine_probe.report.html import Html, element, grid, joined, says
from engine_probe.report.scores import Scores
from engine_probe.report.swept import SweptPoint
from engine_probe.report.terminal import duration

FAILURES = Outcome("requests not answered", "", share=True)
ANSWERS = Outcome("answers other than at a lower load", "", share=True)
TESTED = ("TTFT", "TPOT", "E2EL")
LOWEST_PRECISION = (
    "Sums in BF16 and FP16 depend on what shares a batch: answers may differ between loads without a fault; repeats of "
    "the lowest load show how many do so by themselves."
)


def load_effects(points: Sequence[SweptPoint], scores: Scores | None = None) -> Effects:
    """Of one curve."""
    whole = sorted((point for point in points if point.run and point.anatomy), key=lambda point: point.load)
    first: dict[str, int] = {}  # each request's answer at the lowest load at which it was asked
    runs = [seen(point, first, scores or {}) for point in whole]
    latencies = [Outcome(f"{name}, median", "ms") for name in TESTED]
    return effects(runs, [FAILURES, *latencies, ANSWERS, *(Outcome(name, "") for name in scores or {})])


def seen(point: SweptPoint, first: dict[str, int], scores: Scores) -> RunSeen:
    assert point.run is not None
    assert point.anatomy is not None
    summary, run = point.anatomy.summary, point.run
    failed = sum(summary.requests_other.values())
    asked = summary.requests_answered + failed
    values: dict[str, float] = {FAILURES.name: failed / asked} if asked else {}
    samples: dict[str, Reals] = {}
    whole = answered(run.requests)
    for latency in LATENCIES:
        if latency.name in TESTED:
            sample = latency.sample_ns(run.iterations, whole)
            ms = sample.values / 1e6
            (median,) = sample.percentiles((50,))  # the one that the table of levels shows
            if median is not None:
                values[f"{latency.name}, median"] = median / 1e6
                samples[f"{latency.name}, median"] = ms
    mine = answers_of(point)
    both = mine.keys() & first.keys()
    if both:
        values[ANSWERS.name] = sum(mine[name] != first[name] for name in both) / len(both)
    first.update({name: answer for name, answer in mine.items() if name not in first})
    for name, given in scores.items():
        if point.id in given:
            samples[name] = np.array(list(given[point.id].values()))
            values[name] = float(samples[name].mean())
    began = run.facts["clock"]["wall_ns"] / 1e9
    counts = {FAILURES.name: asked, ANSWERS.name: len(both)}
    return RunSeen(point.name, point.load, began, values, samples, counts)


def answers_of(point: SweptPoint) -> dict[str, int]:
    """Checksums by request; empty where none were kept, or none can be read."""
    assert point.run is not None
    try:
        found = json.loads((Path(point.run.folder) / ANSWERS_FILE).read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def told(effect: Effect, value: float) -> str:
    if effect.outcome.unit == "ms":
        return duration(value * 1e6)
    return f"{value:.1%}" if effect.outcome.share else f"{value:,.4g}"


def size_of(effect: Effect) -> str:
    return f"rho {effect.size:+.2f}" if effect.question == "trend" else f"epsilon² {effect.size:.2f}"


def sentence(effect: Effect) -> str:
    """One test, with what it rests on."""
    name = effect.outcome.name[:1].upper() + effect.outcome.name[1:]
    ends = f"{told(effect, effect.lowest)} at the lowest load, {told(effect, effect.highest)} at the highest"
    tested = f"{size_of(effect)}, p {effect.p:.2g} over {effect.runs} runs at {effect.loads} loads"
    match effect.verdict:
        case "rises" | "falls" | "differs":
            verb = "differs between loads" if effect.verdict == "differs" else f"{effect.verdict} with load"
            return f"{name} {verb}: {ends} ({tested})."
        case "not different":
            return f"{name}: not different between loads, {within(effect)} ({tested})."
        case _:
            return f"{name}: cannot tell whether load matters: {ends} ({tested}); {within(effect)}."


def within(effect: Effect) -> str:
    """How far equivalence is shown."""
    margin = SHARE_MARGIN if effect.outcome.share else MARGIN
    if effect.bound is not None:
        most = f"{effect.bound:.1%}"
        return f"none was seen, so with 95 % at most {most} at the highest load (the margin is {margin:.0%})"
    if effect.furthest is None:
        return f"a difference below {margin:.0%} could only be shown with repeats of every load"
    low, high = effect.furthest
    return f"against the lowest load between {low:+.1%} and {high:+.1%} with 90 % (the margin is {margin:.0%})"


def effect_sentences(found: Effects) -> Iterator[str]:
    """For each outcome the test that says most; then what is unstable, and what weakens all of it."""
    best: dict[str, Effect] = {}
    for effect in found.tested:
        kept = best.setdefault(effect.outcome.name, effect)
        if effect.rejected and not kept.rejected:
            best[effect.outcome.name] = effect
    yield from map(sentence, best.values())
    if shaky := found.unstable:
        rows = ", ".join(f"{each.outcome.name} at {each.load:g} (range {each.range:.0%})" for each in shaky[:4])
        more = f" and {len(shaky) - 4} more" if len(shaky) > 4 else ""
        yield f"Unstable: repeats lie further apart than {UNSTABLE:.0%} of their mean: {rows}{more}."
    for note in found.notes:
        yield f"{note[:1].upper()}{note[1:]}."
    if ANSWERS.name in best:
        yield LOWEST_PRECISION


TITLES = ("outcome", "question", "lowest load", "highest load", "effect", "Cliff's delta", "p (Holm)", "verdict")


def effect_table(found: Effects, label: str = "") -> Html:
    if not found.tested:
        return Html()
    rows = (
        [
            effect.outcome.name,
            effect.question,
            told(effect, effect.lowest),
            told(effect, effect.highest),
            size_of(effect),
            "-" if effect.delta is None else f"{effect.delta:+.2f}",
            f"{effect.p:.2g}",
            effect.verdict,
        ]
        for effect in found.tested
    )
    note = (
        "H0: load has no effect. Runs are shuffled between loads, never the requests of a run, which are no "
        "independent sample; p is corrected for all tests here. Cliff's delta compares requests at the highest "
        "and the lowest load, and only describes."
    )
    head = element("h2", f"Does load change it? {label}".rstrip())
    return joined(
        (head, says(effect_sentences(found)), grid(TITLES, rows, text=(0, 1, 7)), element("p", note, class_="soft"))
    )
