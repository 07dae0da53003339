"""Measurements against the first of them: opened, paired by point, judged, and held to gates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from engine_probe.analysis.compare.changes import METRICS, PERPLEXITY, Change, changes, corrected, known
from engine_probe.analysis.compare.gates import Answer, Gate, Judged
from engine_probe.analysis.compare.pooled_changes import together, with_common_noise
from engine_probe.analysis.run.slo import Slo
from engine_probe.analysis.run.summary import Summary
from engine_probe.errors import InputError
from engine_probe.evaluation.compared_texts import text_changes
from engine_probe.evaluation.setting_differences import SettingDifference, difference_lines, setting_differences
from engine_probe.recordings.perplexity import NAME, TextPoint, open_alone, text_folder
from engine_probe.recordings.remote_folder import place_name
from engine_probe.recordings.run import Run, load
from engine_probe.recordings.sweep import is_sweep, open_sweep
from engine_probe.recordings.sweep_point import SweptPoint

SAID: dict[Answer, str] = {"broken": "is broken", "holds": "holds", "cannot tell": "is left open"}


Has = Literal["before", "after", "neither"]


@dataclass(frozen=True)
class Side:
    """One point of one measurement: its repeats, and its place on a curve (None for a run by itself)."""

    runs: list[Run]
    point: SweptPoint | None = None


@dataclass(frozen=True)
class Pair:
    """One point in both measurements, each with its repeats."""

    name: str
    changes: list[Change]
    point: SweptPoint | None = None
    seconds: float = 0.0  # that the later measurement of it took, all repeats together
    lacks: Mapping[str, Has] = field(default_factory=dict)  # metrics that are not on both sides
    is_whole: bool = False  # all points together

    def change(self, metric: str) -> Change | None:
        return next((change for change in self.changes if change.metric.name == metric), None)


@dataclass(frozen=True)
class Held:
    """A gate at one point, and what the repeats there say of it."""

    gate: Gate
    pair: Pair | None
    point: str
    answer: Answer | Literal["not measured"]
    p: float | None
    said: str

    def stops(self, strict: bool) -> bool:
        """Whether a CI job ends at it; an open bound only where that is asked for."""
        return self.answer in ("broken", "not measured") or (strict and self.answer == "cannot tell")


@dataclass(frozen=True)
class Comparison:
    before: str
    after: str
    pairs: list[Pair]
    differences: list[SettingDifference] | None  # of the first point that both have; None: no such point
    only_before: list[str]  # points that the other side was not asked for
    only_after: list[str]
    unmeasured: list[str]  # why points have no figures, a sentence each
    missing: list[str]  # points that one side has, and the other has not or not whole

    @property
    def notes(self) -> list[str]:
        """Return what the two differ in beside their figures, a line each."""
        alone = [f"only in {self.before}: {name}" for name in self.only_before]
        alone += [f"only in {self.after}: {name}" for name in self.only_after]
        return [*difference_lines(self.differences or ()), *alone, *self.unmeasured]

    @property
    def together(self) -> Pair | None:
        """All points as one, where there are several: no gate is held to it."""
        found = together([pair.changes for pair in self.pairs])
        return Pair(f"all {len(self.pairs)} points together", found, is_whole=True) if found else None

    def held(self, gates: Sequence[Gate]) -> Iterator[Held]:
        for gate in gates:
            for name in self.missing:
                where = f" at {name}" if name else ""
                yield Held(
                    gate,
                    None,
                    name,
                    "not measured",
                    None,
                    f"{gate.text} cannot be held{where}: not all of it was measured",
                )
            told = [(pair, change) for pair in self.pairs if (change := pair.change(gate.metric))]
            if not told and all(pair.lacks.get(gate.metric, "neither") == "neither" for pair in self.pairs):
                what = f"{gate.metric}: name limits with --goodput" if "goodput" in gate.metric else gate.metric
                raise InputError(f"--fail-if {gate.text!r}: these runs have no {what}, so it cannot be held")
            yield from (
                without(gate, pair, pair.lacks[gate.metric]) for pair in self.pairs if gate.metric in pair.lacks
            )
            whole = self.together
            if whole is not None and len(told) > 1 and (change := whole.change(gate.metric)) is not None:
                told.append((whole, change))
            for pair, change in told:
                judged, where = gate.judge(change), f" at {pair.name}" if pair.name else ""
                said = f"{gate.text} {SAID[judged.answer]}{where}: {moved(change)}, {why(judged, change)}"
                yield Held(gate, pair, pair.name, judged.answer, judged.p, said)

    def worth_saying(self, gates: Sequence[Gate]) -> list[Held]:
        """All but the gates that hold."""
        return [held for held in self.held(gates) if held.answer != "holds"]


def without(gate: Gate, pair: Pair, has: Has) -> Held:
    """A point that lacks the metric: not measured where one side has it, else open."""
    where = f" at {pair.name}" if pair.name else ""
    if has == "neither":
        said = f"{gate.text} is left open{where}: neither side has {gate.metric} (a percentile takes requests enough)"
        return Held(gate, pair, pair.name, "cannot tell", None, said)
    said = f"{gate.text} cannot be held{where}: only {has} has {gate.metric}"
    return Held(gate, pair, pair.name, "not measured", None, said)


def compare(first: Path, others: Sequence[Path], slo: Slo | None = None) -> list[Comparison]:
    """Each against the first; what repeats say is corrected for all that is judged in all of them."""
    before = opened(first)
    found = [paired(first, before, other, slo) for other in others]
    judged = iter(corrected([change for each in found for pair in each.pairs for change in pair.changes]))
    return [
        replace(each, pairs=[replace(pair, changes=[next(judged) for _ in pair.changes]) for pair in each.pairs])
        for each in found
    ]


Opened = tuple[str, dict[str, Side], dict[str, str], dict[str, TextPoint]]


def paired(before: Path, first: Opened, after: Path, slo: Slo | None) -> Comparison:
    (kind, old, notes, was), (other, new, more, now) = first, opened(after)
    failed = [name for name in old if name in more] + [name for name in new if name in notes]
    if kind != other:
        raise InputError(f"{before} is a {kind} and {after} a {other}: compare two of a kind")
    shared = [name for name in old if name in new]
    texts = text_changes(before, was, after, now)
    if not shared and not texts.changes:
        for note in texts.notes:
            raise InputError(f"{before} and {after}: {note}")
        raise InputError(f"{before} and {after} have no point in common: nothing can be compared")
    pairs = list(judged_by_curve([pair(name, old[name], new[name], slo) for name in shared]))
    pairs += [Pair(name, [change], seconds=seconds) for name, (change, seconds) in texts.changes.items()]
    return Comparison(
        place_name(before),
        place_name(after),
        pairs,
        setting_differences(old[shared[0]].runs[0], new[shared[0]].runs[0]) if shared else None,
        [name for name in old if name not in new and name not in more],
        [name for name in new if name not in old and name not in notes],
        [*notes.values(), *more.values(), *texts.notes],
        [*failed, *texts.missing],
    )


def pair(name: str, old: Side, new: Side, slo: Slo | None) -> Pair:
    was, now = ([run.summary(slo) for run in side.runs] for side in (old, new))
    return Pair(name, changes(was, now), old.point, sum(each.seconds for each in now), lacking(was, now))


def judged_by_curve(pairs: Sequence[Pair]) -> Iterator[Pair]:
    """In their order; a run by itself is no point of a curve."""
    curves: dict[str, list[Pair]] = {}
    for each in pairs:
        curves.setdefault(each.point.label if each.point else each.name, []).append(each)
    better = {
        each.name: replace(each, changes=changes)
        for curve in curves.values()
        for each, changes in zip(curve, with_common_noise([each.changes for each in curve]), strict=True)
    }
    return (better[each.name] for each in pairs)


def lacking(was: Sequence[Summary], now: Sequence[Summary]) -> dict[str, Has]:
    before, after = known(was), known(now)
    which: dict[tuple[bool, bool], Has] = {(True, False): "before", (False, True): "after", (False, False): "neither"}
    held = {metric.name: (metric.name in before, metric.name in after) for metric in METRICS}
    return {name: which[sides] for name, sides in held.items() if sides in which}


def opened(folder: Path) -> Opened:
    """The runs of every point by its name, and by name why a point has none, or not all it should have."""
    if not is_sweep(folder):
        if text_folder(folder):
            return "text that was predicted", {}, {}, {NAME: open_alone(folder)}
        run = load(folder)
        return "run", {"": Side([run])}, {"": f"{folder}: {'; '.join(run.notes)}"} if run.notes else {}, {}
    points: dict[str, Side] = {}
    notes = {}
    swept = open_sweep(folder)
    for point in swept.points:
        name = point.name
        if point.unprobed:
            notes[name] = f"{folder}: {name} ran without the probe: there is nothing to compare"
        elif point.run is None or point.analysis is None:
            notes[name] = f"{folder}: {name} was not measured: {point.reason}"
        else:
            points.setdefault(name, Side([], point)).runs.append(point.run)
    return "sweep", points, notes, {text.name: text for text in swept.texts}


def moved(change: Change) -> str:
    relative = "from zero" if change.relative is None else f"{change.relative:+.1%}"
    unit = f" {change.metric.unit}" if change.metric.unit else ""
    return f"{change.before:,.4g} to {change.after:,.4g}{unit}, {relative}"


def why(judged: Judged, change: Change) -> str:
    if change.paired is not None and judged.p is None:
        return "over a single window chance is not known, so the change itself is held to the bound"
    if judged.p is None:
        return "without repeats on both sides the change itself is held to the bound"
    more_of = "a longer text" if change.metric is PERPLEXITY else "more points"
    what = more_of if change.paired is not None else "more repeats"
    more = f"; {what} would tell" if judged.answer == "cannot tell" else ""
    return f"tested against the bound: one-sided p {judged.p:.2g}{more}"
