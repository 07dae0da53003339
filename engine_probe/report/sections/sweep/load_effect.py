"""The effect of load on failures, latency, answers and scores: the values that are tested, and the results in words."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.compute as pc

from engine_probe.analysis.compare.load_effect import (
    MARGIN,
    SHARE_MARGIN,
    UNSTABLE,
    Effect,
    Effects,
    OutcomeFigure,
    RunSeen,
    effects,
)
from engine_probe.analysis.run.latencies import LATENCIES, answered
from engine_probe.analysis.statistics.arrays import Reals
from engine_probe.analysis.statistics.grouped import grouped
from engine_probe.errors import InputError
from engine_probe.evaluation.scores import Scores
from engine_probe.files.safe_read import read_json
from engine_probe.record.run_folder import ANSWERS_FILE
from engine_probe.record.schema import AnswerOutcome
from engine_probe.recordings.sweep_point import SweptPoint
from engine_probe.report.document import Column, Section, Sentence, Table, says, sure, table
from engine_probe.text_format import capitalized, milliseconds

FAILURES = OutcomeFigure("requests not answered", "", share=True)
ANSWERS = OutcomeFigure("answers that changed", "", share=True)
ABOUT_EFFECT = "Effect: Spearman's rho of runs and loads."
ABOUT_DELTA = "Cliff's delta compares the requests of the highest and the lowest load; it is a description, not a test."
ENOUGH_ANSWERS = 30
TESTED = ("TTFT", "TPOT", "E2EL")
ABOUT_ANSWERS = (
    "Answers are compared with those of the lowest load that has enough of them. Sums in BF16 and FP16 depend on which "
    "requests share a batch, so some answers change without a fault: repeats of that load show how many."
)


class Checksums(NamedTuple):
    """Holds the checksums of a request's prompt and of its answer."""

    prompt: int | None  # None in sweeps before the table `answers`
    answer: int


def load_effects(points: Sequence[SweptPoint], scores: Scores | None = None) -> Effects:
    """Test the effect of load over the measured points of one curve: a prediction has neither noise nor answers."""
    measured = sorted(
        (point for point in points if point.run and not point.run.predicted and point.analysis),
        key=lambda point: point.load,
    )
    first = reference(measured)
    runs = [seen(point, first, scores or {}) for point in measured]
    latencies = [OutcomeFigure(f"{name}, median", "ms") for name in TESTED]
    return effects(runs, [FAILURES, *latencies, ANSWERS, *(OutcomeFigure(name, "") for name in scores or {})])


def reference(measured: Sequence[SweptPoint]) -> SweptPoint | None:
    """Return the point whose answers are compared with those of all points at its load and above.

    It is the first at the lowest load with enough answers, or with the most; two loads must be above it.
    """
    loads = sorted({point.load for point in measured})[:-2]
    counts = [(len(answers_of(point)), point) for point in measured if point.load in loads]
    most = max((count for count, _ in counts), default=0)
    return next((point for count, point in counts if count >= min(most, ENOUGH_ANSWERS) > 0), None)


def seen(point: SweptPoint, first: SweptPoint | None, scores: Scores) -> RunSeen:
    assert point.run is not None
    assert point.analysis is not None
    summary, run = point.analysis.summary, point.run
    found = summary.success
    values: dict[str, float] = {FAILURES.name: 1 - found.rate} if found else {}
    samples: dict[str, Reals] = {}
    requests = answered(run.measured_requests)
    for latency in LATENCIES:
        if latency.name in TESTED:
            sample = latency.sample_ns(run.iterations, requests, run.profiled_span)
            ms = sample.values / 1e6
            (median,) = sample.percentiles((50,))  # the median that the table of levels shows
            if median is not None:
                values[f"{latency.name}, median"] = median / 1e6
                samples[f"{latency.name}, median"] = ms
    common = set[str]()  # requests that both points answered
    if first is not None and point is not first and point.load >= first.load:
        mine, theirs = answers_of(point), answers_of(first)
        common = {name for name in mine.keys() & theirs.keys() if mine[name].prompt == theirs[name].prompt}
        if common:
            values[ANSWERS.name] = sum(mine[name].answer != theirs[name].answer for name in common) / len(common)
    for name, given in scores.items():
        if point.id in given:
            samples[name] = np.array(list(given[point.id].values()))
            values[name] = float(samples[name].mean())
    began = run.facts["clock"]["wall_ns"] / 1e9
    counts = {FAILURES.name: found.asked if found else 0, ANSWERS.name: len(common)}
    return RunSeen(point.name, point.load, began, values, samples, counts)


def answers_of(point: SweptPoint) -> dict[str, Checksums]:
    """Return the checksums of each answered request by its id in the plan. Empty if none were kept."""
    assert point.run is not None
    try:
        rows = point.run.answers
        if not rows.num_rows:
            return answers_in_file(Path(point.run.folder) / ANSWERS_FILE)
    except InputError:
        return {}
    whole = rows.filter(pc.and_(pc.equal(rows["outcome"], AnswerOutcome.ANSWERED), pc.is_valid(rows["answer_crc32"])))
    columns = (whole[name].to_pylist() for name in ("prompt_id", "prompt_crc32", "answer_crc32"))
    return {name: Checksums(prompt, answer) for name, prompt, answer in zip(*columns, strict=True)}


def answers_in_file(path: Path) -> dict[str, Checksums]:
    """Read the checksums of a sweep made before the table `answers`."""
    checksums = read_json(path)
    if not isinstance(checksums, dict):
        return {}
    return {name: Checksums(None, answer) for name, answer in checksums.items()}


def value_text(effect: Effect, value: float) -> str:
    if effect.outcome.unit == "ms":
        return milliseconds(value)
    return f"{value:.1%}" if effect.outcome.share else f"{value:,.4g}"


def verdict(effect: Effect) -> str:
    """Return the result of a test in words; where no effect was shown, also how large one may be."""
    match effect.verdict:
        case "rises" | "falls":
            return f"{effect.verdict} with load{' or with time' if effect.in_order else ''}"
        case "not different":
            return f"not different: {within(effect)}"
        case _:
            return f"undecided: {within(effect)}"


def within(effect: Effect) -> str:
    """Return how large an effect the measurements leave possible."""
    margin = SHARE_MARGIN if effect.outcome.share else MARGIN
    limit = f"and {margin:.0%} is the limit for 'no effect'"
    if effect.bound is not None:
        event = "failure" if effect.outcome == FAILURES else "change"
        return f"no {event} seen; up to {effect.bound:.1%} possible (95%), {limit}"
    if effect.furthest is None:
        return f"repeat every load, in rounds, to test for a change below {margin:.0%}"
    low, high = effect.furthest
    return f"{low:+.1%} to {high:+.1%} against the lowest load (90%), {limit}"


def caveats(found: Effects) -> Iterator[str]:
    """Yield how the effect was tested, and what weakens the tests."""
    if not found.tested:
        return
    runs, loads = (max(getattr(effect, name) for effect in found.tested) for name in ("runs", "loads"))
    if any(effect.by == "loads" for effect in found.tested):
        test = (
            f"Test of a trend over the order of {loads} loads (t-test), each with the mean of its runs: {runs} runs. "
            "They may share what disturbs a load, as the requests of a run share what disturbs the run. Loads repeated "
            "in rounds must show it through a drift from run to run, too: the larger p counts."
        )
    else:
        test = (
            f"Permutation test of the hypothesis that load has no effect: {runs} runs at {loads} loads. Whole runs are "
            "shuffled, because the requests of one run are not independent."
        )
    yield f"{test} p is corrected for {len(found.tested)} tests (Holm)."
    for note in found.notes:
        yield f"{capitalized(note)}."
    if any(effect.outcome == ANSWERS for effect in found.tested):
        yield ABOUT_ANSWERS


def unstable_line(found: Effects) -> Iterator[str]:
    """Yield which figures differ between repeats, and by how much at most; `unstable_loads` has each load."""
    by_name = grouped(found.unstable, lambda unstable: unstable.outcome.name)
    if by_name:
        most = (
            f"{name.replace(', median', ' p50')} {max(row.range for row in rows):.0%}" for name, rows in by_name.items()
        )
        yield f"Unstable: repeats differ by over {UNSTABLE:.0%} of their mean ({', '.join(most)})."


def unstable_loads(found: Effects) -> Iterator[str]:
    for name, rows in grouped(found.unstable, lambda unstable: unstable.outcome.name).items():
        loads = ", ".join(f"{each.load:g} ({each.range:.0%})" for each in rows)
        yield f"{capitalized(name)}: repeats differ at {loads}."


def effect_section(found: Effects, label: str = "") -> Section:
    """Return what load changes. Empty if nothing could be tested."""
    title = f"Effect of load{f': {label}' if label else ''}"
    if not found.tested:
        return Section(title)
    unstable = tuple(Sentence(line, "caution", label) for line in unstable_line(found))
    on_pages = Section(sentences=says((ABOUT_DELTA,)), shown="page")  # as its column is
    details = tuple(
        replace(part, parts=(on_pages,)) for part in sure(*unstable_loads(found), *caveats(found), ABOUT_EFFECT)
    )
    return Section(title, sentences=unstable, tables=(effect_table(found),), details=details)


def effect_table(found: Effects) -> Table:
    delta = Column("Cliff's delta", room="page")
    titles = ("measure", "lowest\nload", "highest\nload", "effect", delta, "p", "verdict")
    return table(titles, map(effect_row, found.tested), words=(0, 6))


def effect_row(effect: Effect) -> tuple[str, ...]:
    ends = value_text(effect, effect.lowest), value_text(effect, effect.highest)
    delta = "-" if effect.delta is None else f"{effect.delta:+.2f}"
    name, rho = capitalized(effect.outcome.name), f"rho {effect.size:+.2f}"
    return (name, *ends, rho, delta, f"{effect.p:.2g}", verdict(effect))
