"""Measurements compared with the first of them, point by point, and the gates that they must pass."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Literal

from engine_probe.analysis.compare.changes import COMPARED, PERPLEXITY, Change, changes, shared_metrics
from engine_probe.analysis.compare.gates import Answer, Gate, Judged
from engine_probe.analysis.compare.occasions import together_between
from engine_probe.analysis.compare.pooled_changes import together, with_common_noise
from engine_probe.analysis.run.slo import Slo
from engine_probe.analysis.run.success import Success, summed
from engine_probe.analysis.run.summary import Summary
from engine_probe.analysis.statistics.grouped import grouped
from engine_probe.analysis.statistics.rank_tests import corrected
from engine_probe.errors import InputError
from engine_probe.evaluation.history import History, earlier_of, open_history
from engine_probe.evaluation.measurement import Opened, Side, opened, text_changes
from engine_probe.evaluation.pareto import SameWork, same_work
from engine_probe.evaluation.setting_differences import SettingDifference, difference_lines, setting_differences
from engine_probe.notebook_view import NotebookView
from engine_probe.recordings.remote_folder import place_name
from engine_probe.recordings.sweep import Swept
from engine_probe.recordings.sweep_point import SweptPoint
from engine_probe.text_format import counted, plain

Outcome = Answer | Literal["not measured"]
ANSWERS: dict[Outcome, str] = {"broken": "FAIL", "not measured": "not measured", "open": "open", "holds": "pass"}
UNTESTED = "one measurement on each side, drift between measurements not known"
Has = Literal["before", "after", "neither"]


@dataclass(frozen=True)
class Pair:
    """Holds the changes of one point between two measurements."""

    name: str
    changes: list[Change]
    point: SweptPoint | None = None
    seconds: float = 0.0  # duration of the later measurement, all repeats together
    lacks: Mapping[str, Has] = field(default_factory=dict)  # metrics that are not on both sides
    is_whole: bool = False  # all points together
    success: Success | None = None  # of the later measurement, all repeats together; None if it is not known

    def change(self, metric: str) -> Change | None:
        return next((change for change in self.changes if change.metric.name == metric), None)


@dataclass(frozen=True)
class GateResult:
    """Holds the result of one gate at one point."""

    gate: Gate
    pair: Pair | None
    point: str
    answer: Outcome
    reason: str
    p: float | None = None

    @property
    def said(self) -> str:
        """Return the result in words."""
        return f"{ANSWERS[self.answer]} {self.gate.text}: {f'{self.point}, ' if self.point else ''}{self.reason}"

    def stops(self, strict: bool) -> bool:
        """Return whether the gate is one that did not hold; an open one counts as such only if `strict`."""
        return self.answer in ("broken", "not measured") or (strict and self.answer == "open")


@dataclass(frozen=True, repr=False)
class Comparison(NotebookView):
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
    earlier: int = 0  # earlier measurements of either side
    left_out: tuple[str, ...] = ()  # a sentence for each that is none of them
    sweeps: tuple[Swept, ...] = field(default=(), compare=False)  # before and after, if one sweep on each side

    def __repr__(self) -> str:
        return plain(
            f"<Comparison {self.after} against {self.before}: {counted(len(self.pairs), 'point')} on both sides>"
        )

    @property
    def notes(self) -> list[str]:
        """Return a line for each difference that is not a figure."""
        alone = [f"only in {self.before}: {name}" for name in self.only_before]
        alone += [f"only in {self.after}: {name}" for name in self.only_after]
        return [*difference_lines(self.differences or ()), *self.unlike, *self.left_out, *alone, *self.unmeasured]

    @property
    def same_work(self) -> list[SameWork]:
        """Return the curves of both sweeps that may be compared by tokens/s per user and per GPU."""
        return same_work(*self.sweeps, names=("before", "after")[: len(self.sweeps)])

    @property
    def drift_is_known(self) -> bool:
        """Return whether earlier measurements showed the drift between two, for any metric."""
        return any(change.earlier for pair in self.pairs for change in pair.changes)

    @property
    def together(self) -> Pair | None:
        """Return the changes pooled over all points; None if there is only one point."""
        pool = together_between if self.occasions else together
        pooled = pool([pair.changes for pair in self.pairs if pair.point is not None or not self.occasions])
        return Pair(f"all {len(self.pairs)} points together", pooled, is_whole=True) if pooled else None

    def held(self, gates: Sequence[Gate]) -> Iterator[GateResult]:
        """Yield the result of every gate at every point, and at all points together."""
        for gate in gates:
            for name in self.missing:
                yield GateResult(gate, None, name, "not measured", "no complete results on both sides")
            if gate.is_level:
                yield from self.held_rates(gate)
                continue
            changed = [(pair, change) for pair in self.pairs if (change := pair.change(gate.metric))]
            if not changed and all(pair.lacks.get(gate.metric, "neither") == "neither" for pair in self.pairs):
                metric = f"{gate.metric}{hint_for(gate.metric)}"
                raise InputError(f"--fail-if {gate.text!r}: these runs have no {metric}, so it cannot be checked")
            for pair in self.pairs:
                if gate.metric in pair.lacks:
                    yield without(gate, pair, pair.lacks[gate.metric])
            answers = gate.judge_points([change for _, change in changed])
            together = self.together if gate.limit is None else None  # another load has another cost
            if together is not None and len(changed) > 1 and (change := together.change(gate.metric)) is not None:
                changed.append((together, change))
                answers.append(gate.judge(change))
            for (pair, change), judged in zip(changed, answers, strict=True):
                reason = (
                    f"{percent(change)} {self.why(judged, change)}" if gate.limit is None else after(judged, change)
                )
                yield GateResult(gate, pair, pair.name, judged.answer, reason, judged.p)

    def held_rates(self, gate: Gate) -> Iterator[GateResult]:
        """Yield whether each point's success rate is within a bound, and that of all points together."""
        known = [(pair, pair.success) for pair in self.pairs if pair.success is not None]
        if not known:
            raise InputError(
                f"--fail-if {gate.text!r}: these runs have no {gate.metric}: whether aborted requests failed is not "
                "known"
            )
        for pair in self.pairs:
            if pair.success is None and pair.point is not None:
                reason = "whether aborted requests failed is not known"
                yield GateResult(gate, pair, pair.name, "not measured", reason)
        if (together := self.together) is not None and len(known) > 1:
            known.append((together, summed([found for _, found in known])))
        for pair, found in known:
            answer = gate.judge_rate(found).answer
            hint = "; more requests would decide" if answer == "open" else ""
            yield GateResult(gate, pair, pair.name, answer, f"{found.words}{hint}")

    def why(self, judged: Judged, change: Change) -> str:
        """Return the test behind an answer, and for an open one what would decide it."""
        if change.paired is not None and judged.p is None:
            return "(a single window: not tested, only compared with the bound)"
        if judged.p is None:
            return f"({UNTESTED})"
        more_data = "a longer text" if change.metric is PERPLEXITY else "more measurements on each side"
        hint = f"; {more_data} would decide" if judged.answer == "open" else ""
        drift = " with the known drift" if change.earlier else ""
        return f"(one-sided p {judged.p:.2g}{drift}){hint}"

    def worth_saying(self, gates: Sequence[Gate]) -> list[GateResult]:
        """Return the results of all gates that did not pass."""
        return [held for held in self.held(gates) if held.answer != "holds"]


def hint_for(metric: str) -> str:
    """Return what a metric needs that runs do not have by themselves."""
    if "goodput" in metric:
        return ": name limits with --goodput"
    if metric.startswith("cost_"):
        return ": give prices with --money or --cost-per-hour"
    return ": the energy of the GPUs is not known" if metric.startswith("joules_") else ""


def without(gate: Gate, pair: Pair, has: Has) -> GateResult:
    """Return the result of a gate whose metric a point lacks: not measured if one side has it, else open."""
    if has == "neither":
        reason = f"neither side has {gate.metric} (too few requests for this percentile)"
        return GateResult(gate, pair, pair.name, "open", reason)
    return GateResult(gate, pair, pair.name, "not measured", f"only {has} has {gate.metric}")


def compare(before: str | PathLike[str], after: str | PathLike[str]) -> Comparison:
    """Compare two runs or two sweeps: the settings in which they differ, and how far each metric moved."""
    return compare_each(Path(before), [Path(after)])[0]


def compare_each(
    first: Path, others: Sequence[Path], slo: Slo | None = None, earlier: Sequence[Path] = ()
) -> list[Comparison]:
    """Compare each measurement with the first; earlier ones of the same engines show the drift between two.

    The p-values of perplexities are corrected for all comparisons.
    """
    before, history = opened(first), open_history(earlier, [first, *others])
    comparisons = [paired(first, before, other, opened(other), slo, history) for other in others]
    judged = iter(corrected_pairs([pair for comparison in comparisons for pair in comparison.pairs]))
    return [replace(comparison, pairs=[next(judged) for _ in comparison.pairs]) for comparison in comparisons]


def corrected_pairs(pairs: Sequence[Pair]) -> list[Pair]:
    """Correct the p of all changes of these pairs together."""
    judged = iter(corrected([change for pair in pairs for change in pair.changes]))
    return [replace(pair, changes=[next(judged) for _ in pair.changes]) for pair in pairs]


def paired(
    before: Path, old: Opened, after: Path, new: Opened, slo: Slo | None = None, history: History = ()
) -> Comparison:
    """Compare two measurements, with what earlier ones show of the drift between two."""
    if old.kind != new.kind:
        raise InputError(f"{before} is a {old.kind} and {after} a {new.kind}: compare two of the same kind")
    failed = [name for name in old.points if name in new.notes] + [name for name in new.points if name in old.notes]
    shared = [name for name in old.points if name in new.points]
    texts = text_changes(before, old.texts, after, new.texts)
    if not shared and not texts.changes:
        for note in texts.notes:
            raise InputError(f"{before} and {after}: {note}")
        raise InputError(f"{before} and {after} have no point in common: nothing can be compared")
    pairs = list(with_curve_noise([pair(name, old.points[name], new.points[name], slo) for name in shared]))
    if not (old.in_rounds and new.in_rounds):
        pairs = [replace(pair, changes=[replace(each, interval=None) for each in pair.changes]) for pair in pairs]
    found = earlier_of(history, old, new, shared)
    if found.count:
        pairs = [replace(pair, changes=found.drifted(pair.name, pair.changes, slo)) for pair in pairs]
    pairs += [Pair(name, [change], seconds=seconds) for name, (change, seconds) in texts.changes.items()]
    return Comparison(
        old.named(place_name(before)),
        new.named(place_name(after)),
        pairs,
        setting_differences(old.points[shared[0]].runs[0], new.points[shared[0]].runs[0]) if shared else None,
        only_in(old, new),
        only_in(new, old),
        [*old.notes.values(), *new.notes.values(), *texts.notes],
        [*failed, *texts.missing],
        earlier=found.count,
        left_out=tuple(found.left_out),
        sweeps=(old.swept, new.swept) if old.swept and new.swept else (),
    )


def only_in(one: Opened, other: Opened) -> list[str]:
    return [name for name in one.points if name not in other.points and name not in other.notes]


def pair(name: str, old: Side, new: Side, slo: Slo | None) -> Pair:
    before, after = ([run.summary(slo) for run in side.runs] for side in (old, new))
    seconds = sum(summary.seconds for summary in after)
    success = success_of(after)
    return Pair(name, changes(before, after), old.point, seconds, lacking(before, after), success=success)


def success_of(runs: Sequence[Summary]) -> Success | None:
    """Return the success of several runs together. None if that of one is not known."""
    known = [run.success for run in runs if run.success is not None]
    return summed(known) if len(known) == len(runs) and known else None


def with_curve_noise(pairs: Sequence[Pair]) -> Iterator[Pair]:
    """Return the pairs in their order, with intervals from the noise that the points of a curve share."""
    curves = grouped(pairs, lambda pair: pair.point.label if pair.point else pair.name)
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
    presence = {metric.name: (metric.name in before, metric.name in after) for metric in COMPARED}
    return {name: sides[both] for name, both in presence.items() if both in sides}


def moved(change: Change) -> str:
    unit = f" {change.metric.unit}" if change.metric.unit else ""
    return f"{change.before:,.4g} to {change.after:,.4g}{unit}, {percent(change)}"


def after(judged: Judged, change: Change) -> str:
    """Return the figure after itself, with the test of it against its bound."""
    if judged.p is None:
        return f"{after_words(change)} (measured once: more repeats would decide)"
    hint = "; more repeats would decide" if judged.answer == "open" else ""
    return f"{after_words(change)} (one-sided p {judged.p:.2g}){hint}"


def after_words(change: Change) -> str:
    return f"{change.after:,.4g} {change.metric.unit}".rstrip()


def percent(change: Change) -> str:
    digits = 2 if change.metric is PERPLEXITY else 1
    return "from zero" if change.relative is None else f"{change.relative:+.{digits}%}"
