"""A comparison as a table, as Markdown for a pull request, as JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from engine_probe.analysis.compare.changes import Change
from engine_probe.analysis.compare.gates import Gate
from engine_probe.evaluation.comparison import Comparison, Pair
from engine_probe.text_format import plain

STYLES = {"better": "green", "worse": "red", "not shown to differ": "dim", "no repeats": "dim"}
MARKS = {"better": "better", "worse": "worse", "not shown to differ": "not shown", "no repeats": "?"}
WORDS = {
    "worse": "worse",
    "better": "better",
    "not shown to differ": "not shown to differ",
    "no repeats": "without repeats",
}

SAME_LOOK = "A machine that was slower throughout one of the two measurements looks the same."


def cells(change: Change) -> list[str]:
    relative = "from zero" if change.relative is None else f"{change.relative:+.1%}"
    chance = "-" if change.p is None else "exact" if change.exact else f"{change.p:.3f}"
    figures = (f"{value:,.4g}" for value in (change.before, change.after))
    return [change.metric.name, change.metric.unit, *figures, relative, chance, change.verdict]


TITLES = ("metric", "unit", "before", "after", "change", "p", "verdict")


def tables(found: Sequence[Comparison]) -> Iterator[Table]:
    """All points together, then each; of several comparisons side by side, every later one beside the first."""
    names = short_names([comparison.after for comparison in found])
    for name, comparison in zip(names, found, strict=True):
        if (whole := comparison.together) is not None:
            table = one_table(whole.name if len(found) == 1 else f"{whole.name}, {name}", whole)
            table.caption = SAME_LOOK
            yield table
    for name in dict.fromkeys(pair.name for comparison in found for pair in comparison.pairs):
        pairs = [next((pair for pair in comparison.pairs if pair.name == name), None) for comparison in found]
        yield one_table(name, pairs[0]) if len(pairs) == 1 and pairs[0] else side_by_side(name, found, pairs)


def one_table(name: str, pair: Pair) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), title=plain(name) or None)
    for number, title in enumerate(TITLES):
        table.add_column(title, justify="right" if 2 <= number <= 5 else "left", no_wrap=True)
    for change in pair.changes:
        *row, verdict = cells(change)
        table.add_row(*row, Text(verdict, STYLES[verdict]))
    return table


def side_by_side(name: str, found: Sequence[Comparison], pairs: Sequence[Pair | None]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), title=plain(name) or None)
    for title in ("metric", "unit"):
        table.add_column(title, no_wrap=True)
    names = short_names([found[0].before, *(comparison.after for comparison in found)])
    table.add_column(Text(plain(names[0])), justify="right", no_wrap=True)
    for after in names[1:]:
        table.add_column(Text(plain(after)), justify="right")
    metrics = dict.fromkeys(change.metric for pair in pairs if pair for change in pair.changes)
    for metric in metrics:
        moved = [pair.change(metric.name) if pair else None for pair in pairs]
        first = next(change for change in moved if change)
        table.add_row(metric.name, metric.unit, f"{first.before:,.4g}", *map(against, moved))
    return table


def against(change: Change | None) -> Text:
    if change is None:
        return Text("-", "dim")
    *_, after, relative, _, verdict = cells(change)
    return Text.assemble(f"{after} {relative} ", (MARKS[verdict], STYLES[verdict]))


def short_names(paths: Sequence[str]) -> list[str]:
    """Return the last parts of paths, as many as tell them apart."""
    parts = [path.rstrip("/").split("/") for path in paths]
    for count in range(1, max(map(len, parts)) + 1):
        last = ["/".join(each[-count:]) for each in parts]
        if len(set(last)) == len(last):
            return last
    return list(paths)


def markdown(comparison: Comparison, gates: Sequence[Gate]) -> Iterator[str]:
    """For a pull request: first what was to hold and does not."""
    yield f"**{quoted(comparison.after)}** against **{quoted(comparison.before)}**: {foremost_words(comparison)}"
    marks = {"cannot tell": ":grey_question:"}
    yield from (f"\n- {marks.get(held.answer, ':x:')} {quoted(held.said)}" for held in comparison.worth_saying(gates))
    for pair in (*filter(None, [comparison.together]), *comparison.pairs):
        yield f"\n### {quoted(pair.name)}\n" if pair.name else ""
        yield f"| {' | '.join(TITLES)} |"
        yield "|---|---|--:|--:|--:|--:|---|"
        yield from (f"| {' | '.join(cells(change))} |" for change in pair.changes)
    yield from (f"\n> {quoted(note)}" for note in comparison.notes)


def foremost_words(comparison: Comparison) -> str:
    """What all points together say, before what each says."""
    whole = comparison.together
    each = counted(comparison.pairs)
    return f"{counted([whole])} over {whole.name}; {each} at single points" if whole else each


def counted(pairs: Sequence[Pair]) -> str:
    """How many changes are what."""
    verdicts: Counter[str] = Counter(change.verdict for pair in pairs for change in pair.changes)
    return ", ".join(f"{verdicts[verdict]} {word}" for verdict, word in WORDS.items() if verdicts[verdict])


def quoted(text: str) -> str:
    r"""What Markdown and HTML would take for theirs is escaped: a name is only a name."""
    return "".join(f"&#{ord(each)};" if each in "<>&`*_[]|\\#" else each for each in plain(text))


def as_json(found: Sequence[Comparison], gates: Sequence[Gate]) -> str:
    return json.dumps([facts(comparison, gates) for comparison in found], indent=1)


def facts(comparison: Comparison, gates: Sequence[Gate]) -> dict[str, Any]:
    points = [
        {"point": pair.name, "changes": [{**moved_facts(change), "repeats": change.repeats} for change in pair.changes]}
        for pair in comparison.pairs
    ]
    whole = comparison.together
    held = [
        {"gate": each.gate.text, "point": each.point, "answer": each.answer, "p": each.p, "said": each.said}
        for each in comparison.held(gates)
    ]
    told: dict[str, Any] = {"before": comparison.before, "after": comparison.after}
    told["together"] = [moved_facts(change) for change in whole.changes] if whole else None
    return told | {"points": points, "gates": held, "notes": comparison.notes}


def moved_facts(change: Change) -> dict[str, Any]:
    return {
        "metric": change.metric.name,
        "unit": change.metric.unit,
        "better": change.metric.better,
        "before": change.before,
        "after": change.after,
        "relative": change.relative,
        "interval": change.interval,
        "p": change.p,
        "verdict": change.verdict,
    }
