"""Charts as SVG in the colours of the style sheet, so that light and dark need no second drawing."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from kernels_bench.output.page.html import Html, element, joined

WIDTH, HEIGHT = 720.0, 260.0
LEFT, RIGHT, TOP, BOTTOM = 62.0, 30.0, 12.0, 40.0
COLOURS = 8  # --c0 to --c7 in the style sheet
STEPS = (1, 2, 2.5, 5, 10)

Point = tuple[float, float, str]  # x, y, and what is told of it


@dataclass(frozen=True)
class Series:
    label: str
    points: tuple[Point, ...]
    dots: bool = False  # not joined
    dashed: bool = False


@dataclass(frozen=True)
class Scale:
    label: str
    log: bool = False
    shown: Callable[[float], str] = lambda value: f"{value:g}"
    ticks: tuple[float, ...] = ()


def chart(series: Sequence[Series], x: Scale, y: Scale) -> Html:
    """Lines or dots over a common x; y begins at zero. Hovering tells each point."""
    known = [point for line in series for point in line.points]
    if not known:
        return Html()
    place = [math.log2(point[0]) if x.log else point[0] for point in known]
    low, high = min(place), max(place)
    top = max(point[1] for point in known) * 1.05 or 1.0

    def across(value: float) -> float:
        at = math.log2(value) if x.log else value
        return LEFT + (WIDTH - LEFT - RIGHT) * ((at - low) / (high - low) if high > low else 0.5)

    def down(value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * value / top

    parts: list[str] = []
    for tick in steps(top):
        parts.append(line_(LEFT, down(tick), WIDTH - RIGHT, down(tick), "grid"))
        parts.append(words(LEFT - 6, down(tick) + 4, y.shown(tick), "end"))
    shown_ticks = x.ticks or (tuple(dict.fromkeys(point[0] for point in known)) if x.log else steps(high, low))
    last = -math.inf
    for tick in sorted(tick for tick in shown_ticks if low <= (math.log2(tick) if x.log else tick) <= high):
        if across(tick) - last >= 54:  # room for its words
            last = across(tick)
            parts.append(words(across(tick), HEIGHT - BOTTOM + 16, x.shown(tick), "middle"))
    parts.append(words((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, x.label, "middle"))
    parts.append(words(LEFT, TOP - 1, y.label, "start"))
    for number, each in enumerate(series):
        colour = f"var(--c{number % COLOURS})"
        spots = [(across(at), down(value), told) for at, value, told in each.points]
        if not each.dots and len(spots) > 1:
            path = " ".join(f"{left:.1f},{height:.1f}" for left, height, _ in spots)
            dash = {"stroke_dasharray": "6 4"} if each.dashed else {}
            parts.append(element("polyline", points=path, fill="none", stroke=colour, stroke_width=1.6, **dash))
        if each.dashed:
            continue
        if each.dots or len(spots) <= 60:
            parts += [spot(left, height, colour, told) for left, height, told in spots]
    drawn = element(
        "svg", *parts, viewBox=f"0 0 {WIDTH:g} {HEIGHT:g}", role="img", aria_label=f"{y.label} over {x.label}"
    )
    return joined((element("div", drawn, class_="drawn"), key(each.label for each in series)))


def key(labels: Iterable[str]) -> Html:
    marks = (
        element("span", element("i", style=f"background: var(--c{number % COLOURS})"), label)
        for number, label in enumerate(labels)
    )
    return element("div", *marks, class_="key")


def heat(names: Sequence[str], cells: dict[tuple[str, str], tuple[float, str, str]], best_is_high: bool) -> Html:
    """A square from each to each: value, its words, and what is told of it. The better, the stronger the colour."""
    values = [value for value, _, _ in cells.values()]
    low, high = min(values), max(values)
    rows = []
    for source in names:
        made: list[str] = [element("th", source, scope="row")]
        for target in names:
            if (source, target) not in cells:
                made.append(element("td", "–" if source == target else ""))
                continue
            value, shown, told = cells[source, target]
            share = (value - low) / (high - low) if high > low else 1.0
            strength = 12 + 58 * (share if best_is_high else 1 - share)
            paint = f"background: color-mix(in srgb, var(--c2) {strength:.0f}%, var(--card))"
            made.append(element("td", shown, title=told, style=paint))
        rows.append(element("tr", *made))
    head = element("tr", element("th", "from \\ to"), *(element("th", name) for name in names))
    return element(
        "div", element("table", element("thead", head), element("tbody", *rows), class_="heat"), class_="wide"
    )


def box(quantiles: Sequence[float], told: str) -> Html:
    """Least, quartiles and most of the samples as shares of their median: 0.05 is one edge of the picture."""
    width, height, edge = 110.0, 18.0, 0.05

    def at(share: float) -> float:
        return width / 2 * (1 + max(-1.0, min(1.0, share / edge)))

    least, low, high, most = (at(value) for value in quantiles)
    parts = (
        element("title", told),
        line_(width / 2, 2, width / 2, height - 2, "grid"),
        line_(least, height / 2, most, height / 2, "whisker"),
        element("rect", x=low, y=4, width=max(2.0, high - low), height=height - 8, rx=2, class_="box"),
    )
    return element("svg", *parts, viewBox=f"0 0 {width:g} {height:g}", class_="spread", role="img", aria_label=told)


def steps(high: float, low: float = 0.0, wanted: int = 5) -> tuple[float, ...]:
    """Round numbers from low to high."""
    size = 10 ** math.floor(math.log10(max(high - low, 1e-12) / wanted))
    step = next(size * factor for factor in STEPS if (high - low) / (size * factor) <= wanted + 1)
    first = math.ceil(low / step)
    return tuple(number * step for number in range(first, math.floor(high / step) + 1))


def line_(x1: float, y1: float, x2: float, y2: float, kind: str) -> Html:
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=kind)


def words(x: float, y: float, text: str, anchor: str) -> Html:
    return element("text", text, x=x, y=y, text_anchor=anchor)


def spot(x: float, y: float, colour: str, told: str) -> Html:
    return element("circle", element("title", told), cx=x, cy=y, r=3.2, fill=colour)
