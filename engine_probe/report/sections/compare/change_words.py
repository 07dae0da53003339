"""Changes of metrics in words: values with units, the change in percent, better or worse."""

import math
from collections.abc import Sequence

from engine_probe.analysis.compare.changes import PERPLEXITY, Change, Metric, Verdict
from engine_probe.evaluation.comparison import Pair
from engine_probe.report.document import Cell, Tone
from engine_probe.text_format import milliseconds, rate_words

TONES: dict[Verdict, Tone] = {
    "better": "good",
    "worse": "problem",
    "not shown to differ": "soft",
    "not tested": "plain",
}
VERDICTS: dict[Verdict, str] = {
    "better": "better",
    "worse": "worse",
    "not shown to differ": "not significant",
    "not tested": "not tested",
}
PERPLEXITY_DIGITS = 2  # of a change in percent: a tenth of a percent of perplexity is a difference


def value_words(metric: Metric, value: float) -> str:
    if metric.unit == "ms":
        return milliseconds(value)
    if metric.name.endswith("_share"):
        return f"{value:.1%}"
    if metric is PERPLEXITY:
        return f"{value:.4f}"
    return rate_words(value) if metric.unit == "tokens/s" else f"{value:,.4g}"


def change_words(change: Change) -> str:
    if change.relative is None:
        return "from zero"
    return signed(change.relative, digits(change.metric))


def digits(metric: Metric) -> int:
    return PERPLEXITY_DIGITS if metric is PERPLEXITY else 1


def signed(share: float, digits: int) -> str:
    """Return percents with their sign; what rounds to zero has none."""
    words = f"{share:+.{digits}%}"
    return words[1:] if not words.strip("+-0.%") else words


def verdict_cell(change: Change, said_above: bool = False) -> Cell:
    """Return the verdict; without a test the direction, and that it is not tested unless that is said above."""
    doubt = "" if said_above or change.p is not None or change.direction == "same" else " (not tested)"
    return Cell(f"{short_verdict(change)}{doubt}", TONES[change.verdict])


def short_verdict(change: Change) -> str:
    if change.p is not None:
        return VERDICTS[change.verdict]
    return "within drift" if change.is_within_drift else change.direction


def interval_words(change: Change) -> str:
    if change.relative_interval is None:
        return "-"
    low, high = (signed(end, digits(change.metric)) for end in change.relative_interval)
    return f"{low} to {high}"


def chance_words(change: Change) -> str:
    return "-" if change.p is None else chance(change.p)


def chance(p: float) -> str:
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def short_names(paths: Sequence[str]) -> list[str]:
    """Return the last parts of paths, as many as tell them apart."""
    parts = [path.rstrip("/").split("/") for path in paths]
    for count in range(1, max(map(len, parts)) + 1):
        last = ["/".join(each[-count:]) for each in parts]
        if len(set(last)) == len(last):
            return last
    return list(paths)


def enumerated(names: Sequence[str], most: int = 4) -> str:
    """Return the first names, and how many there are beside them."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most:,} more"


def point_names(names: Sequence[str]) -> list[str]:
    """Leave out the words of a name that the name before it has, too: concurrency 4, 8, 16."""
    heads = [name.rpartition(" ")[0] for name in names]
    repeated = [bool(head) and head == before for before, head in zip(["", *heads], heads, strict=False)]
    return [name.rpartition(" ")[2] if known else name for name, known in zip(names, repeated, strict=True)]


def largest_first(rows: Sequence[tuple[Pair, Change]]) -> list[tuple[Pair, Change]]:
    """Sort rates and times before shares and counts, each by how far it moved as a ratio."""
    return sorted(rows, key=lambda row: (not row[1].metric.unit, -ratio(row[1])))


def ratio(change: Change) -> float:
    """Return how far the ratio of both sides is from one; what was or became zero is furthest."""
    shown = -1.0 if change.relative is None else round(change.relative, 3)
    return math.inf if shown <= -1 else abs(math.log1p(shown))
