"""Charts of lines and dots as SVG, without a script."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from page_kit.chart_words import chart_words, line_words, number
from page_kit.html import Html, element, joined
from page_kit.scale import Scale, ticks
from page_kit.svg import BORDERS, PATTERNS, colour, drawing, round_of, stroke, text

TINTS = {"spare": "#12a37c", "unclear": "#7a8699", "shared": "#3b7de0", "plateau": "#d9730d", "overload": "#d64545"}
MOST_SPOTS = 60  # of a line with its points marked
TICK_ROOM = 54  # pixels that the words of a tick take

Point = tuple[float, float, str]  # x, y and the tooltip
MOST_BANDS = 48
STYLE = ".at:hover line{stroke-opacity:.5}.at:hover text{visibility:visible}"


@dataclass(frozen=True)
class Series:
    label: str
    points: Sequence[Point]
    colour: int = 0
    style: str = "both"  # line, both (with its points), dots (points alone), dashed, step, area (a step, filled below)
    right: bool = False  # on the axis to the right, which is per cent


@dataclass(frozen=True)
class Region:
    """A stretch of x with a name; `None` is the edge of the chart."""

    label: str
    kind: str
    begin: float | None = None
    end: float | None = None


@dataclass(frozen=True)
class Frame:
    """The size of a chart, and the margins around its plot."""

    width: float = 900.0
    height: float = 270.0
    left: float = 62.0
    right: float = 30.0
    top: float = 24.0
    bottom: float = 40.0

    @property
    def wide(self) -> float:
        return self.width - self.left - self.right

    @property
    def high(self) -> float:
        return self.height - self.top - self.bottom

    @property
    def floor(self) -> float:
        return self.height - self.bottom


def chart(
    title: str,
    series: Sequence[Series],
    x: Scale,
    y: Scale,
    regions: Sequence[Region] = (),
    frame: Frame | None = None,
    hover: bool = False,
) -> Html:
    """Draw series over a common x, y from zero, with a key below. Nothing where there is no point.

    With `hover` the values at an x are shown while the mouse is over it, in place of the points' tooltips.
    """
    frame = frame or Frame()
    xs = [point[0] for line in series for point in line.points]
    if not xs:
        return Html()
    heights = [point[1] for line in series if not line.right for point in line.points]
    up = y.ticks or ticks(max(heights, default=0.0), 0.0, 4, y.whole, cover=True)
    low, high = x.ends(xs)

    def across(value: float) -> float:
        share = (x.place(value) - low) / (high - low) if high > low else 0.5
        return frame.left + frame.wide * min(max(share, 0.0), 1.0)

    def down(value: float, right: bool = False) -> float:
        return frame.top + frame.high * (1 - value / (100 if right else up[-1]))

    def parts() -> Iterator[Html]:
        yield from shaded(regions, across, frame)
        yield from axes(x, y, x.shown_ticks(xs), up, (across, down), frame)
        if any(line.right for line in series):
            for percent in (0, 50, 100):
                yield text(frame.left + frame.wide + 6, down(percent, True) + 4, f"{percent} %", opacity="0.75")
        for line in series:
            spots = [(across(at), down(value, line.right), tooltip) for at, value, tooltip in line.points]
            yield from drawn(line, spots, frame.floor)
        if hover:
            told = [(across(at), words) for at, words in readings(series, x, y)]
            yield from readout(told, frame.left, frame.left + frame.wide, frame.top, frame.floor)

    descriptions = (
        line_words(line.label, [point[:2] for point in line.points], x.label, "%" if line.right else y.label)
        for line in series
    )
    svg = drawing(frame.width, frame.height, chart_words(title, descriptions), parts())
    return joined((element("div", svg, class_="drawn"), key((line.label, line.colour) for line in series)))


def readings(series: Sequence[Series], x: Scale, y: Scale) -> Iterator[tuple[float, str]]:
    """Yield places on x, evenly chosen if there are many, each with the values of all series there, in words."""
    values = [{at: value for at, value, _ in line.points} for line in series]
    places = sorted({at for line in values for at in line})
    for at in (places[place] for place in thinned(len(places))):
        shown = (
            f"{line.label} {number(value[at])}{' %' if line.right else f' {y.label}' if len(series) == 1 else ''}"
            for line, value in zip(series, values, strict=True)
            if at in value
        )
        yield at, f"{x.label} {x.shown(at)}: {', '.join(shown)}"


def axes(
    x: Scale,
    y: Scale,
    along: Sequence[float],
    up: Sequence[float],
    place: tuple[Callable[[float], float], Callable[[float], float]],
    frame: Frame,
) -> Iterator[Html]:
    """Draw the grid, and the values beside it; along x only those that have room."""
    across, down = place
    for value in up:
        yield stroke(frame.left, down(value), frame.left + frame.wide, down(value))
        yield text(frame.left - 6, down(value) + 4, y.shown(value), "end", opacity="0.75")
    last = -math.inf
    for value in along:
        if across(value) - last >= TICK_ROOM:
            last = across(value)
            yield text(last, frame.floor + 16, x.shown(value), "middle", opacity="0.75")
    yield text(frame.left + frame.wide / 2, frame.height - 5, x.label, "middle", opacity="0.75")
    yield text(4, 12, y.label, opacity="0.75")


def shaded(regions: Sequence[Region], across: Callable[[float], float], frame: Frame) -> Iterator[Html]:
    for region in regions:
        begin = frame.left if region.begin is None else across(region.begin)
        end = frame.left + frame.wide if region.end is None else across(region.end)
        place = {"x": begin, "y": frame.top, "width": max(0.0, end - begin), "height": frame.high}
        yield element("rect", **place, fill=TINTS[region.kind], fill_opacity="0.12")
        yield stroke(end, frame.top, end, frame.top + frame.high, 0.35, stroke_dasharray="3 3")
        if end - begin > 7 * len(region.label):
            yield text((begin + end) / 2, frame.top + 12, region.label, "middle", opacity="0.7")


def drawn(line: Series, spots: Sequence[Point], floor: float) -> Iterator[Html]:
    if not spots:
        return
    paint, centres = colour(line.colour), [spot[:2] for spot in spots]
    path = list(steps(centres)) if line.style in ("step", "area") else centres
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in path)
    if line.style == "area":
        outline = f"{path[0][0]:.1f},{floor:g} {points} {path[-1][0]:.1f},{floor:g}"
        yield element("polygon", points=outline, fill=paint, fill_opacity="0.16")
    if line.style != "dots" and len(path) > 1:
        pattern = PATTERNS[round_of(line.colour)] or ("6 4" if line.style == "dashed" else "")
        dash = {"stroke_dasharray": pattern} if pattern else {}
        yield element("polyline", points=points, fill="none", stroke=paint, stroke_width=1.6, **dash)
    if line.style == "dots" or (line.style == "both" and len(spots) <= MOST_SPOTS):
        for x, y, tooltip in spots:
            title = [element("title", tooltip)] if tooltip else []
            inside = (
                {"fill": "none", "stroke": paint, "stroke_width": 1.6} if round_of(line.colour) else {"fill": paint}
            )
            yield element("circle", *title, cx=x, cy=y, r=3.2, **inside)


def steps(points: Sequence[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    """Yield the corners of a line that stays level until the next point."""
    for (x, y), (until, _) in pairwise(points):
        yield x, y
        yield until, y
    yield points[-1]


def key(names: Iterable[tuple[str, int]]) -> Html:
    """Say which colour and pattern is which, without a style sheet too."""
    square = "display:inline-block;width:11px;height:11px;border-radius:2px;margin-right:5px;vertical-align:-1px"

    def filled(number: int) -> str:
        again = round_of(number)
        return (
            f"box-sizing:border-box;border:2px {BORDERS[again]} {colour(number)}"
            if again
            else f"background:{colour(number)}"
        )

    marks = (
        element("span", element("i", style=f"{square};{filled(number)}"), label, style="margin-right:14px")
        for label, number in names
    )
    return element("div", *marks, class_="key", style="font-size:12px")


def thinned(count: int) -> list[int]:
    """Return the places of at most MOST_BANDS of so many values, evenly spread, the first and the last among them."""
    if count <= MOST_BANDS:
        return list(range(count))
    return [round(number * (count - 1) / (MOST_BANDS - 1)) for number in range(MOST_BANDS)]


def readout(at: Sequence[tuple[float, str]], left: float, right: float, top: float, floor: float) -> Iterator[Html]:
    """Yield a band around each place from left to right; its words are seen while the mouse is over it."""
    yield element("style", STYLE)
    places = [x for x, _ in at]
    edges = [left, *((one + next_) / 2 for one, next_ in pairwise(places)), right]
    for (x, words), (begin, end) in zip(at, pairwise(edges), strict=True):
        where = {
            "x": f"{begin:.1f}",
            "y": f"{top:g}",
            "width": f"{max(end - begin, 0):.1f}",
            "height": f"{floor - top:g}",
        }
        band = element("rect", **where, fill="currentColor", fill_opacity="0")
        yield element(
            "g",
            band,
            stroke(x, top, x, floor, 0.0, pointer_events="none"),
            text(right, 12, words, "end", visibility="hidden"),
            class_="at",
        )
