"""A comparison as one self-contained page, in the manner of the report's."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from engine_probe.analysis.compare.changes import METRICS, Change
from engine_probe.analysis.compare.gates import Gate
from engine_probe.evaluation.comparison import Comparison, Pair
from engine_probe.report.charts.levels import over_repeats
from engine_probe.report.charts.model import Axis, Lines, Series, load_axis
from engine_probe.report.charts.sweep import WHISKERS
from engine_probe.report.compare_text import SAME_LOOK, TITLES, cells, counted, short_names
from engine_probe.report.renderers.forest_plot import forest
from engine_probe.report.renderers.html_elements import Html, element, grid, joined, says, tiles
from engine_probe.report.renderers.html_page import Page, heading

CURVES = ("output_tokens_per_s", "ttft_p50_ms", "tpot_p50_ms", "recomputed_share")
MOST_ROWS = 16
EXPLAINED = (
    "A dot is the change of the mean over the repeats, its bar the interval at 95 % of this one change "
    "(Welch's; each side's relative spread of rates and times is taken from all levels of a curve together); "
    "the verdict is corrected for all that is judged here. Without repeats on both sides there is neither."
)

TOGETHER = (
    "The change of the geometric mean over the points, each being one pair: its bar is its interval at 95 % "
    f"had other points been measured, and the verdict is corrected for the metrics here. {SAME_LOOK}"
)


def compared_page(found: Sequence[Comparison], gates: Sequence[Gate]) -> str:
    names = short_names([found[0].before, *(comparison.after for comparison in found)])
    title = f"{', '.join(names[1:])} against {names[0]}"
    page = Page(f"engine_probe: {title}")
    below = f"{found[0].before} (before); {', '.join(comparison.after for comparison in found)} (after)"
    return page.document(heading(title, below), *body(page, found, gates, names))


def body(page: Page, found: Sequence[Comparison], gates: Sequence[Gate], names: Sequence[str]) -> Iterator[Html]:
    """First what changed and is real, then the curves, and every point below."""
    for comparison, name in zip(found, names[1:], strict=True):
        if len(found) > 1:
            yield element("h2", f"{name} against {names[0]}")
        yield from gate_lines(comparison, gates)
        yield headline(comparison)
        yield says(comparison.notes)
        yield from all_together(comparison)
        yield from foremost(comparison)
    for chart in curves(found, names):
        yield page.figure(chart)
    for comparison, name in zip(found, names[1:], strict=True):
        if len(comparison.pairs) > 1 or len(found) > 1:
            yield element("h2", f"Each point{f', {name}' if len(found) > 1 else ''}")
        for number, pair in enumerate(comparison.pairs):
            alone = len(comparison.pairs) == 1
            table = grid(TITLES, map(cells, pair.changes), text=(0, 1, len(TITLES) - 1))
            rows = [(change.metric.name, change) for change in pair.changes]
            whole = joined((forest(rows, f"changes at {pair.name}") if not alone else Html(), table))
            yield whole if alone else element("details", element("summary", pair.name or f"point {number + 1}"), whole)


def gate_lines(comparison: Comparison, gates: Sequence[Gate]) -> Iterator[Html]:
    """What does not hold, point by point; what does in one line."""
    for gate in gates:
        held = list(comparison.held([gate]))
        kept = [each for each in held if each.answer == "holds"]
        yield from (element("div", each.said, class_="warning") for each in held if each not in kept)
        if kept:
            said = f"{gate.text} holds at {len(kept)} of {len(held)} points" if len(held) > 1 else kept[0].said
            yield element("div", said, class_="kept")


def headline(comparison: Comparison) -> Html:
    metric = METRICS[0]
    moved = [change for pair in comparison.pairs if (change := pair.change(metric.name))]
    figures = [(counted(comparison.pairs), "changes at single points")]
    if (whole := comparison.together) is not None:
        figures.insert(0, (counted([whole]), whole.name))
    for change in moved[:1] if len(moved) == 1 else []:
        figures.append((f"{change.before:,.4g} to {change.after:,.4g}", f"{metric.name}, {metric.unit}"))
    return tiles((what, figure) for figure, what in figures)


def all_together(comparison: Comparison) -> Iterator[Html]:
    whole = comparison.together
    if whole is not None:
        rows = [(change.metric.name, change) for change in whole.changes]
        title = whole.name.capitalize()
        yield element("figure", element("h3", title), element("figcaption", TOGETHER), forest(rows, title))


def foremost(comparison: Comparison) -> Iterator[Html]:
    """What is real, the largest first; where nothing can be told from chance, the largest of all."""
    told = [(named(pair, change), change) for pair in comparison.pairs for change in pair.changes if change.relative]
    real = [(name, change) for name, change in told if change.verdict in ("better", "worse")]
    title = "What changed and is real" if real else "The largest changes; none is shown to be real"
    if len(comparison.pairs) == 1:
        rows, title = [(change.metric.name, change) for change in comparison.pairs[0].changes], "Changes"
    else:
        rows = sorted(real or told, key=lambda row: -abs(row[1].relative or 0))[:MOST_ROWS]
    if any(change.relative is not None for _, change in rows):
        yield element("figure", element("h3", title), element("figcaption", EXPLAINED), forest(rows, title))


def named(pair: Pair, change: Change) -> str:
    return f"{change.metric.name}, {pair.name}" if pair.name else change.metric.name


def curves(found: Sequence[Comparison], names: Sequence[str]) -> Iterator[Lines]:
    """For sweeps: every measurement's curve in one chart, a chart for each unit of load and each metric."""
    points = [(pair.point.unit, pair.point.label) for pair in found[0].pairs if pair.point]
    for unit, label in dict.fromkeys(points):
        for metric in CURVES:
            sides: list[dict[float, tuple[float, ...]]] = [{} for _ in names]
            for number, comparison in enumerate(found, 1):
                for pair in comparison.pairs:
                    change = pair.change(metric)
                    if pair.point and change and (pair.point.unit, pair.point.label) == (unit, label):
                        sides[0][pair.point.load] = change.old
                        sides[number][pair.point.load] = change.new
            xs = sorted(sides[0])
            if len(xs) < 2:
                continue
            (declared,) = (each for each in METRICS if each.name == metric)
            scale = 1.0 if declared.unit else 100.0
            yield Lines(
                title=f"{metric}, {label}" if label else metric,
                note=f"{declared.formula}.{WHISKERS if several(sides) else ''}",
                x=load_axis(unit),
                y=[Axis(metric, declared.unit or "%")],
                xs=list(xs),
                series=[
                    Series(
                        name,
                        **over_repeats(xs, side, scale, math.inf if declared.unit else 1.0),
                        style="both",
                        colour=number,
                    )
                    for number, (name, side) in enumerate(zip(names, sides, strict=True))
                ],
            )


def several(sides: Sequence[dict[float, tuple[float, ...]]]) -> bool:
    return any(len(repeats) > 1 for side in sides for repeats in side.values())
