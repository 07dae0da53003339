"""Two measurements side by side: opened, paired by point, and shown as a table, Markdown or JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.table import Table
from rich.text import Text

from engine_probe.analysis.comparison import Change, changes, corrected
from engine_probe.analysis.gate import Gate
from engine_probe.analysis.slo import Slo
from engine_probe.errors import InputError
from engine_probe.report.plain import plain
from engine_probe.report.swept import is_sweep, open_sweep
from engine_probe.run import Run, load

STYLES = {"better": "green", "worse": "red", "not different": "dim", "no repeats": "dim"}


@dataclass(frozen=True)
class Pair:
    """One point in both measurements, each with its repeats."""

    name: str
    changes: list[Change]


@dataclass(frozen=True)
class Comparison:
    before: str
    after: str
    pairs: list[Pair]
    notes: list[str]
    missing: list[str]  # points that one side has, and the other has not or not whole

    def broken(self, gates: Sequence[Gate]) -> Iterator[str]:
        for gate in gates:
            told = [
                (pair, change) for pair in self.pairs for change in pair.changes if change.metric.name == gate.metric
            ]
            yield from (
                f"{gate.text} cannot be held{f' at {name}' if name else ''}: not all of it was measured"
                for name in self.missing
            )
            if not told:
                what = f"{gate.metric}: name limits with --goodput" if "goodput" in gate.metric else gate.metric
                raise InputError(f"--fail-if {gate.text!r}: these runs have no {what}, so it cannot be held")
            for pair, change in told:
                if gate.broken_by(change):
                    yield f"{gate.text} is broken{f' at {pair.name}' if pair.name else ''}: {moved(change)}"


def compare(before: Path, after: Path, slo: Slo | None = None) -> Comparison:
    (kind, old, notes), (other, new, more) = opened(before), opened(after)
    failed = [name for name in old if name in more] + [name for name in new if name in notes]
    if kind != other:
        raise InputError(f"{before} is a {kind} and {after} a {other}: compare two of a kind")
    shared = [name for name in old if name in new]
    if not shared:
        raise InputError(f"{before} and {after} have no point in common: nothing can be compared")
    alone = [f"only in {before}: {name}" for name in old if name not in new and name not in more]
    alone += [f"only in {after}: {name}" for name in new if name not in old and name not in notes]
    alone += [*notes.values(), *more.values()]
    raw = [changes([run.summary(slo) for run in old[name]], [run.summary(slo) for run in new[name]]) for name in shared]
    judged = iter(corrected([change for found in raw for change in found]))
    pairs = [Pair(name, [next(judged) for _ in found]) for name, found in zip(shared, raw, strict=True)]
    others = other_settings(old[shared[0]][0], new[shared[0]][0])
    return Comparison(str(before), str(after), pairs, [*alone, *others], failed)


def opened(folder: Path) -> tuple[str, dict[str, list[Run]], dict[str, str]]:
    """The runs of every point by its name, and by name why a point has none, or not all it should have."""
    if not is_sweep(folder):
        run = load(folder)
        return "run", {"": [run]}, {"": f"{folder}: {'; '.join(run.notes)}"} if run.notes else {}
    points: dict[str, list[Run]] = {}
    notes = {}
    for point in open_sweep(folder).points:
        name = point.name
        if point.run is None or point.anatomy is None:
            notes[name] = f"{folder}: {name} was not measured: {point.reason}"
        else:
            points.setdefault(name, []).append(point.run)
    return "sweep", points, notes


def other_settings(old: Run, new: Run) -> Iterator[str]:
    """What else differs: a change of throughput may be its doing."""
    for group, keys in (
        ("model", ("name", "dtype", "max_model_len")),
        ("kv", ("blocks", "block_size_tokens", "prefix_caching")),
        ("limits", ("max_num_seqs", "max_num_batched_tokens", "policy")),
        ("versions", ("vllm", "distribution")),
        ("process", ("host",)),
    ):
        for key in keys:
            if (was := old.facts[group][key]) != (now := new.facts[group][key]):
                yield f"{group}.{key} differs: {was} before, {now} after"


def moved(change: Change) -> str:
    relative = "from zero" if change.relative is None else f"{change.relative:+.1%}"
    unit = f" {change.metric.unit}" if change.metric.unit else ""
    return f"{change.before:,.4g} to {change.after:,.4g}{unit}, {relative}, {change.verdict}"


def cells(change: Change) -> list[str]:
    relative = "from zero" if change.relative is None else f"{change.relative:+.1%}"
    chance = "-" if change.p is None else f"{change.p:.3f}"
    figures = (f"{value:,.4g}" for value in (change.before, change.after))
    return [change.metric.name, change.metric.unit, *figures, relative, chance, change.verdict]


TITLES = ("metric", "unit", "before", "after", "change", "p", "verdict")


def tables(comparison: Comparison) -> Iterator[Table]:
    for pair in comparison.pairs:
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), title=plain(pair.name) or None)
        for number, title in enumerate(TITLES):
            table.add_column(title, justify="right" if 2 <= number <= 5 else "left", no_wrap=True)
        for change in pair.changes:
            *row, verdict = cells(change)
            table.add_row(*row, Text(verdict, STYLES[verdict]))
        yield table


def markdown(comparison: Comparison) -> Iterator[str]:
    """For a pull request."""
    yield f"**{quoted(comparison.before)}** against **{quoted(comparison.after)}**"
    for pair in comparison.pairs:
        yield f"\n### {quoted(pair.name)}\n" if pair.name else ""
        yield f"| {' | '.join(TITLES)} |"
        yield "|---|---|--:|--:|--:|--:|---|"
        yield from (f"| {' | '.join(cells(change))} |" for change in pair.changes)
    yield from (f"\n> {quoted(note)}" for note in comparison.notes)


def quoted(text: str) -> str:
    r"""What Markdown and HTML would take for theirs is escaped: a name is only a name."""
    return "".join(f"&#{ord(each)};" if each in "<>&`*_[]|\\#" else each for each in plain(text))


def as_json(comparison: Comparison) -> str:
    points = [
        {
            "point": pair.name,
            "changes": [
                {
                    "metric": change.metric.name,
                    "unit": change.metric.unit,
                    "better": change.metric.better,
                    "before": change.before,
                    "after": change.after,
                    "repeats": change.repeats,
                    "relative": change.relative,
                    "p": change.p,
                    "verdict": change.verdict,
                }
                for change in pair.changes
            ],
        }
        for pair in comparison.pairs
    ]
    return json.dumps(
        {"before": comparison.before, "after": comparison.after, "points": points, "notes": comparison.notes}, indent=1
    )
