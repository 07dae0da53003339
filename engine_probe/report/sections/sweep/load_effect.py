"""The effect of load on failures, latency, answers and scores: what recordings give the tests, and its words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from engine_probe.analysis.compare.load_effect import (
    MARGIN,
    SHARE_MARGIN,
    UNSTABLE,
    Effect,
    Effects,
    Outcome,
    RunSeen,
    effects,
)
from engine_probe.analysis.run.latencies import LATENCIES, answered
from engine_probe.analysis.statistics.rank_tests import Reals
from engine_probe.errors import InputError
from engine_probe.evaluation.scores import Scores
from engine_probe.files.safe_read import read_json
from engine_probe.record.run_folder import ANSWERS_FILE
from engine_probe.recordings.sweep_point import SweptPoint
from engine_probe.report.document import Column, Section, Sentence, Table, sure, table
from engine_probe.text_format import duration

FAILURES = Outcome("requests not answered", "", share=True)
ANSWERS = Outcome("answers that changed", "", share=True)
ENOUGH_ANSWERS = 30
TESTED = ("TTFT", "TPOT", "E2EL")
OF_ANSWERS = (
    "Answers are held against those of the lowest load with enough of them. Sums in BF16 and FP16 depend on what "
    "shares a batch, so that some may change without a fault: repeats of that load show how many do by themselves."
)


def load_effects(points: Sequence[SweptPoint], scores: Scores | None = None) -> Effects:
    """Of one curve."""
    whole = sorted((point for point in points if point.run and point.analysis), key=lambda point: point.load)
    first = reference(whole)
    runs = [seen(point, first, scores or {}) for point in whole]
    latencies = [Outcome(f"{name}, median", "ms") for name in TESTED]
    return effects(runs, [FAILURES, *latencies, ANSWERS, *(Outcome(name, "") for name in scores or {})])


def reference(whole: Sequence[SweptPoint]) -> SweptPoint | None:
    """The run whose answers all runs at its load and above are held against: the same requests everywhere.

    The first at the lowest load with enough answers, or with the most; two loads have to be left above it.
    """
    below = sorted({point.load for point in whole})[:-2]
    told = [(len(answers_of(point)), point) for point in whole if point.load in below]
    most = max((count for count, _ in told), default=0)
    return next((point for count, point in told if count >= min(most, ENOUGH_ANSWERS) > 0), None)


def seen(point: SweptPoint, first: SweptPoint | None, scores: Scores) -> RunSeen:
    assert point.run is not None
    assert point.analysis is not None
    summary, run = point.analysis.summary, point.run
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
    both = set[str]()
    if first is not None and point is not first and point.load >= first.load:
        mine, theirs = answers_of(point), answers_of(first)
        both = mine.keys() & theirs.keys()
        if both:
            values[ANSWERS.name] = sum(mine[name] != theirs[name] for name in both) / len(both)
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
        found = read_json(Path(point.run.folder) / ANSWERS_FILE)
    except InputError:
        return {}
    return found if isinstance(found, dict) else {}


def told(effect: Effect, value: float) -> str:
    if effect.outcome.unit == "ms":
        return duration(value * 1e6)
    return f"{value:.1%}" if effect.outcome.share else f"{value:,.4g}"


def size_of(effect: Effect) -> str:
    return f"rho {effect.size:+.2f}" if effect.question == "trend" else f"epsilon² {effect.size:.2f}"


def verdict(effect: Effect) -> str:
    """In words; where nothing was shown, how far that reaches."""
    match effect.verdict:
        case "rises" | "falls":
            return f"{effect.verdict} with load"
        case "differs":
            return "differs between loads, without a trend"
        case "not different":
            return f"not different: {within(effect)}"
        case _:
            return f"cannot tell: {within(effect)}"


def within(effect: Effect) -> str:
    """How far equivalence is shown."""
    margin = SHARE_MARGIN if effect.outcome.share else MARGIN
    if effect.bound is not None:
        return f"none seen, with 95 % at most {effect.bound:.1%} at the highest load (margin {margin:.0%})"
    if effect.furthest is None:
        return f"below {margin:.0%} could only be shown with repeats of every load"
    low, high = effect.furthest
    return f"{low:+.1%} to {high:+.1%} of the lowest load's, with 90 % (margin {margin:.0%})"


def caveats(found: Effects) -> Iterator[str]:
    """Yield what was tested and how, and what weakens it."""
    if not found.tested:
        return
    runs, loads = (max(getattr(effect, name) for effect in found.tested) for name in ("runs", "loads"))
    yield (
        f"H0: load has no effect. {runs} runs at {loads} loads are shuffled, never the requests of a run, which are no "
        f"independent sample; p is corrected for {len(found.tested)} tests (Holm)."
    )
    for note in found.notes:
        yield f"{note[:1].upper()}{note[1:]}."
    if any(effect.outcome == ANSWERS for effect in found.tested):
        yield OF_ANSWERS


def unstable_lines(found: Effects) -> Iterator[str]:
    if shaky := found.unstable:
        by_name: dict[str, list[str]] = {}
        for each in shaky:
            by_name.setdefault(each.outcome.name, []).append(f"{each.load:g} ({each.range:.0%})")
        rows = "; ".join(f"{name} at {', '.join(places)}" for name, places in by_name.items())
        yield f"Unstable, repeats further apart than {UNSTABLE:.0%} of their mean: {rows}."


DESCRIBED = "Cliff's delta compares the requests of the highest with those of the lowest load, and only describes."


def effect_section(found: Effects, label: str = "") -> Section:
    """Return what load changes; nothing where nothing could be tested."""
    title = f"Does load change it? {label}".rstrip()
    if not found.tested:
        return Section(title)
    unstable = tuple(Sentence(line, "caution", label) for line in unstable_lines(found))
    return Section(title, sentences=unstable, tables=(effect_table(found),), details=sure(*caveats(found), DESCRIBED))


def effect_table(found: Effects) -> Table:
    columns = (
        Column("", words=True),
        Column("lowest load", short="lowest\nload"),
        Column("highest load", short="highest\nload"),
        Column("effect"),
        Column("Cliff's delta", room="page"),
        Column("p"),
        Column("verdict", words=True),
    )
    return table(columns, map(effect_row, found.telling))


def effect_row(effect: Effect) -> tuple[str, ...]:
    name = effect.outcome.name[:1].upper() + effect.outcome.name[1:]
    ends = told(effect, effect.lowest), told(effect, effect.highest)
    delta = "-" if effect.delta is None else f"{effect.delta:+.2f}"
    return (name, *ends, size_of(effect), delta, f"{effect.p:.2g}", verdict(effect))
