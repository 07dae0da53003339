"""A forest plot of changes: one in a row, its interval as a bar; a colour marks significant changes."""

from collections.abc import Callable, Iterator, Sequence

from engine_probe.analysis.compare.changes import Change
from engine_probe.report.sections.compare.change_words import VERDICTS
from page_kit.chart_words import chart_words
from page_kit.html import Html, element
from page_kit.scale import ticks
from page_kit.svg import drawing, stroke, text

ROW, TOP, PLOT, WORDS, LETTER = 22, 30, 430, 200, 6.3  # LETTER: mean width of a letter at 11 pixels, rounded up
COLOURS = {"better": "c2", "worse": "c3", "not shown to differ": "c5", "not tested": "c0"}
LEAST = 0.05  # least extent of the axis to either side of no change; smaller changes are mostly noise
SPANS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)  # possible extents of a side
NEAR = 3  # times the change that most stay below: what is no further is no outlier
MOST_WIDER = 1.5  # by how much intervals may extend a side
MOST_WIDE = 4  # largest ratio of one side to the other if both have a change to show
EDGE = 1e-9  # tolerance for rounding at the end of the axis
FLOOR = 1.0  # nothing falls by more than 100 %


def forest(rows: Sequence[tuple[str, Change]], label: str, least: float = LEAST) -> Html:
    """Draw the changes that have a relative size.

    A change beyond the axis ends in an arrow at the edge; its figure is printed beside the row.
    """
    plotted = [(name, change, change.relative) for name, change in rows if change.relative is not None]
    intervals = [interval for _, change, _ in plotted if (interval := change.relative_interval) is not None]
    low, high = wider(reach([relative for _, _, relative in plotted], least), intervals)
    left = 20 + LETTER * max((len(name) for name, *_ in plotted), default=0)
    right = left + PLOT
    height = TOP + ROW * len(plotted) + 8

    def place(share: float) -> float:
        return left + PLOT * (min(max(share, -low), high) + low) / (low + high)

    def parts() -> Iterator[Html]:
        for share in ticks(high, -low):
            yield text(place(share), 18, f"{100 * share:+.3g}%" if share else "0", "middle", opacity="0.7")
            yield stroke(place(share), TOP - 6, place(share), height - 4, 0.45 if share == 0 else 0.12)
        for number, (name, change, relative) in enumerate(plotted):
            y = TOP + ROW * number + ROW / 2
            paint = f"fill:var(--{COLOURS[change.verdict]})"
            yield text(left - 12, y + 4, name, "end")
            yield from bar(change, y, f"{paint};fill-opacity:.35", place, (low, high))
            if -low - EDGE <= relative <= high + EDGE:
                yield element("circle", cx=place(relative), cy=y, r=4.5, style=paint)
            else:
                yield arrow(place(relative), y, 6 if relative > 0 else -6, paint)
            yield text(right + 14, y + 4, words(relative, change, least))

    descriptions = (f"{name} {words(relative, change, least)}" for name, change, relative in plotted)
    svg = drawing(right + WORDS, height, chart_words(label, descriptions), parts())
    return element("div", svg, class_="wide forest")


def words(relative: float, change: Change, least: float) -> str:
    """Return the change and its verdict, where anything was tested."""
    verdict = "" if change.verdict == "not tested" else f" {VERDICTS[change.verdict]}"
    return f"{relative:+.{1 if least >= LEAST else 2}%}{verdict}"


def bar(
    change: Change, y: float, paint: str, place: Callable[[float], float], reached: tuple[float, float]
) -> Iterator[Html]:
    """Draw the interval of a change; an end beyond the axis is an arrow at its edge."""
    if (interval := change.relative_interval) is None:
        return
    begin, end = map(place, interval)
    yield element("rect", x=begin, y=y - 3, width=max(1.0, end - begin), height=6, rx=3, style=paint)
    if interval[0] < -reached[0]:
        yield arrow(begin, y, -6, paint)
    if interval[1] > reached[1]:
        yield arrow(end, y, 6, paint)


def arrow(x: float, y: float, size: float, paint: str) -> Html:
    points = f"{x:.1f},{y - 6:.1f} {x + 1.4 * size:.1f},{y:.1f} {x:.1f},{y + 6:.1f}"
    return element("polygon", points=points, style=paint)


def reach(relatives: Sequence[float], least: float = LEAST) -> tuple[float, float]:
    """Return how far the axis extends below and above no change.

    Each side has room for most of its own changes, so that one outlier does not flatten the rest, and neither side is
    so wide that a change on the other cannot be seen.
    """
    below, above = (sorted(sign * change for change in relatives if sign * change > 0) for sign in (-1, 1))
    low, high = (side(sizes, least) for sizes in (below, above))
    if below and below[-1] >= least:
        high = min(high, MOST_WIDE * low)
    if above and above[-1] >= least:
        low = min(low, MOST_WIDE * high)
    return min(low, FLOOR), high


def wider(reached: tuple[float, float], intervals: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return the extents of the axis with room for the intervals, as far as that leaves the changes visible."""
    ends = [max((sign * interval[place] for interval in intervals), default=0.0) for place, sign in ((0, -1), (1, 1))]
    low, high = (max(extent, min(MOST_WIDER * extent, end)) for extent, end in zip(reached, ends, strict=True))
    return min(low, FLOOR), high


def side(sizes: Sequence[float], least: float) -> float:
    most = sizes[round(0.85 * (len(sizes) - 1))] if sizes else 0
    if sizes and sizes[-1] <= NEAR * most:
        most = sizes[-1]
    return next((share for share in SPANS if share >= max(least, 1.15 * most)), SPANS[-1])
