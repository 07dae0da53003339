"""Measurements compared with the first of them, point by point, and the gates that they must pass."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, NamedTuple

from engine_probe.analysis.compare.changes import METRICS, PERPLEXITY, Change, changes, corrected, shared_metrics
from engine_probe.analysis.compare.gates import Answer, Gate, Judged
from engine_probe.analysis.compare.occasions import together_between
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

Outcome = Answer | Literal["not measured"]
ANSWERS: dict[Outcome, str] = {
    "broken": "FAIL",
    "not measured": "not measured",
    "cannot tell": "undecided",
    "holds": "pass",
}
Has = Literal["before", "after", "neither"]


@dataclass(frozen=True)
class Side:
    """Holds the repeats of one point, and the point itself (None for a run outside a sweep)."""

    runs: list[Run]
    point: SweptPoint | None = None


@dataclass(frozen=True)
class Pair:
    """Holds the changes of one point between two measurements."""

    name: str
    changes: list[Change]
    point: SweptPoint | None = None
    seconds: float = 0.0  # duration of the later measurement, all repeats together
    lacks: Mapping[str, Has] = field(default_factory=dict)  # metrics that are not on both sides
    is_whole: bool = False  # all points together

    def change(self, metric: str) -> Change | None:
        return next((change for change in self.changes if change.metric.name == metric), None)


@dataclass(frozen=True)
class Held:
    """Holds the result of one gate at one point."""

    gate: Gate
    pair: Pair | None
    point: str
    answer: Outcome
    p: float | None
    said: str

    def stops(self, strict: bool) -> bool:
        """Return whether the gate fails a CI job; an undecided one does so only if `strict`."""
        return self.answer in ("broken", "not measured") or (strict and self.answer == "cannot tell")


@dataclass(frozen=True)
class Comparison:
    before: str
    after: str
    pairs: list[Pair]
    differences: list[SettingDifference] | None  # of the first point that both have; None: there is none
    only_before: list[str]  # points that the other side was not asked for
    only_after: list[str]
    unmeasured: list[str]  # a sentence for each point without figures
    missing: list[str]  # points that one side has, and the other lacks or has only in part
    occasions: tuple[int, int] | None = None  # measurements of each side, if the test is between them
    unlike: tuple[str, ...] = ()  # a sentence for each of them whose settings are not those of the first of its side

    @property
    def notes(self) -> list[str]:
        """Return a line for each difference that is not a figure."""
        alone = [f"only in {self.before}: {name}" for name in self.only_before]
        alone += [f"only in {self.after}: {name}" for name in self.only_after]
        return [*difference_lines(self.differences or ()), *self.unlike, *alone, *self.unmeasured]

    @property
    def together(self) -> Pair | None:
        """Return the changes pooled over all points; None if there is only one point."""
        pool = together_between if self.occasions else together
        pooled = pool([pair.changes for pair in self.pairs if pair.point is not None or not self.occasions])
        return Pair(f"all {len(self.pairs)} points together", pooled, is_whole=True) if pooled else None

    def held(self, gates: Sequence[Gate]) -> Iterator[Held]:
        """Yield the result of every gate at every point, and at all points together."""
        for gate in gates:
            for name in self.missing:
                text = answer_words(gate, "not measured", name, "no complete results on both sides")
                yield Held(gate, None, name, "not measured", None, text)
            changed = [(pair, change) for pair in self.pairs if (change := pair.change(gate.metric))]
            if not changed and all(pair.lacks.get(gate.metric, "neither") == "neither" for pair in self.pairs):
                metric = f"{gate.metric}: name limits with --goodput" if "goodput" in gate.metric else gate.metric
                raise InputError(f"--fail-if {gate.text!r}: these runs have no {metric}, so it cannot be checked")
            for pair in self.pairs:
                if gate.metric in pair.lacks:
                    yield without(gate, pair, pair.lacks[gate.metric])
            together = self.together
            if together is not None and len(changed) > 1 and (change := together.change(gate.metric)) is not None:
                changed.append((together, change))
            for pair, change in changed:
                judged = gate.judge(change)
                text = answer_words(gate, judged.answer, pair.name, f"{percent(change)} {self.why(judged, change)}")
                yield Held(gate, pair, pair.name, judged.answer, judged.p, text)

    def why(self, judged: Judged, change: Change) -> str:
        """Return the test behind an answer, and for an undecided one what would decide it."""
        if change.paired is not None and judged.p is None:
            return "(a single window: not tested, only compared with the bound)"
        if judged.p is None:
            return "(no repeats on both sides: not tested, only compared with the bound)"
        if change.metric is PERPLEXITY:
            more_data = "a longer text"
        elif self.occasions:
            more_data = "more measurements on each side"
        else:
            more_data = "more points" if change.paired is not None else "more repeats"
        hint = f"; {more_data} would decide" if judged.answer == "cannot tell" else ""
        return f"(one-sided p {judged.p:.2g}){hint}"

    def worth_saying(self, gates: Sequence[Gate]) -> list[Held]:
        """Return the results of all gates that did not pass."""
        return [held for held in self.held(gates) if held.answer != "holds"]


def answer_words(gate: Gate, answer: Outcome, point: str, reason: str) -> str:
    return f"{ANSWERS[answer]} {gate.text}: {f'{point}, ' if point else ''}{reason}"


def without(gate: Gate, pair: Pair, has: Has) -> Held:
    """Return the result of a gate whose metric a point lacks: not measured if one side has it, else undecided."""
    if has == "neither":
        reason = f"neither side has {gate.metric} (too few requests for this percentile)"
        return Held(gate, pair, pair.name, "cannot tell", None, answer_words(gate, "cannot tell", pair.name, reason))
    text = answer_words(gate, "not measured", pair.name, f"only {has} has {gate.metric}")
    return Held(gate, pair, pair.name, "not measured", None, text)


def compare(first: Path, others: Sequence[Path], slo: Slo | None = None) -> list[Comparison]:
    """Compare each measurement with the first; p-values are corrected for all changes of all comparisons."""
    before = opened(first)
    comparisons = [paired(first, before, other, slo) for other in others]
    all_changes = [change for comparison in comparisons for pair in comparison.pairs for change in pair.changes]
    judged = iter(corrected(all_changes))
    return [
        replace(
            comparison,
            pairs=[replace(pair, changes=[next(judged) for _ in pair.changes]) for pair in comparison.pairs],
        )
        for comparison in comparisons
    ]


class Opened(NamedTuple):
    """Holds a measurement's points by name, and by name why a point is missing or incomplete."""

    kind: str
    points: dict[str, Side]
    notes: dict[str, str]
    texts: dict[str, TextPoint]


def paired(before: Path, old: Opened, after: Path, slo: Slo | None) -> Comparison:
    new = opened(after)
    if old.kind != new.kind:
        raise InputError(f"{before} is a {old.kind} and {after} a {new.kind}: compare two of the same kind")
    failed = [name for name in old.points if name in new.notes] + [name for name in new.points if name in old.notes]
    shared = [name for name in old.points if name in new.points]
    texts = text_changes(before, old.texts, after, new.texts)
    if not shared and not texts.changes:
        for note in texts.notes:
            raise InputError(f"{before} and {after}: {note}")
        raise InputError(f"{before} and {after} have no point in common: nothing can be compared")
    pairs = list(judged_by_curve([pair(name, old.points[name], new.points[name], slo) for name in shared]))
    pairs += [Pair(name, [change], seconds=seconds) for name, (change, seconds) in texts.changes.items()]
    return Comparison(
        place_name(before),
        place_name(after),
        pairs,
        setting_differences(old.points[shared[0]].runs[0], new.points[shared[0]].runs[0]) if shared else None,
        only_in(old, new),
        only_in(new, old),
        [*old.notes.values(), *new.notes.values(), *texts.notes],
        [*failed, *texts.missing],
    )


def only_in(one: Opened, other: Opened) -> list[str]:
    return [name for name in one.points if name not in other.points and name not in other.notes]


def pair(name: str, old: Side, new: Side, slo: Slo | None) -> Pair:
    before, after = ([run.summary(slo) for run in side.runs] for side in (old, new))
    seconds = sum(summary.seconds for summary in after)
    return Pair(name, changes(before, after), old.point, seconds, lacking(before, after))


def judged_by_curve(pairs: Sequence[Pair]) -> Iterator[Pair]:
    """Return the pairs in their order, each judged with the noise that the points of its curve share."""
    curves: dict[str, list[Pair]] = {}
    for pair in pairs:
        curves.setdefault(pair.point.label if pair.point else pair.name, []).append(pair)
    judged = {
        pair.name: replace(pair, changes=changes)
        for curve in curves.values()
        for pair, changes in zip(curve, with_common_noise([pair.changes for pair in curve]), strict=True)
    }
    return (judged[pair.name] for pair in pairs)


def lacking(old: Sequence[Summary], new: Sequence[Summary]) -> dict[str, Has]:
    """Return the metrics that are not on both sides, with the side that has them."""
    before, after = shared_metrics(old), shared_metrics(new)
    sides: dict[tuple[bool, bool], Has] = {(True, False): "before", (False, True): "after", (False, False): "neither"}
    presence = {metric.name: (metric.name in before, metric.name in after) for metric in METRICS}
    return {name: sides[both] for name, both in presence.items() if both in sides}


def opened(folder: Path) -> Opened:
    """Open a run, a sweep or a scored text."""
    if not is_sweep(folder):
        if text_folder(folder):
            return Opened("perplexity result", {}, {}, {NAME: open_alone(folder)})
        run = load(folder)
        return Opened("run", {"": Side([run])}, {"": f"{folder}: {'; '.join(run.notes)}"} if run.notes else {}, {})
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
    return Opened("sweep", points, notes, {text.name: text for text in swept.texts})


def moved(change: Change) -> str:
    unit = f" {change.metric.unit}" if change.metric.unit else ""
    return f"{change.before:,.4g} to {change.after:,.4g}{unit}, {percent(change)}"


def percent(change: Change) -> str:
    digits = 2 if change.metric is PERPLEXITY else 1
    return "from zero" if change.relative is None else f"{change.relative:+.{digits}%}"
