"""Small pictures that need no script, for places that run none: notebooks, and pages of few figures.

Words and axes take the colour of the text around them, so that they are read on light and on dark.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from engine_probe.report.charts.model import Region
from engine_probe.report.renderers.html_elements import Html, element, joined

COLOURS = ("#3b7de0", "#d9730d", "#12a37c", "#d64545", "#8a63d2", "#868e99")
TINTS = {"spare": "#12a37c", "shared": "#d9730d", "plateau": "#d9730d", "overload": "#d64545", "cliff": "#d64545"}
WIDTH, HEIGHT = 640, 190
LEFT, RIGHT, TOP, BOTTOM = 52, 44, 22, 34


@dataclass(frozen=True)
class Line:
    label: str
    values: Sequence[float | None]
    colour: int = 0
    right: bool = False  # on the axis to the right, which is per cent
    style: str = "step"  # step, area (filled below), dots (with a line between them)


def ticks(most: float, about: int = 4) -> list[float]:
    """Round values from zero up to at least `most`."""
    if most <= 0:
        return [0.0, 1.0]
    rough = most / about
    size = 10 ** math.floor(math.log10(rough))
    step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if size * factor >= rough * (1 - 1e-9))
    return [step * number for number in range(math.ceil(most / step - 1e-9) + 1)]


def text(x: float, y: float, words: str, anchor: str = "start", **more: str) -> Html:
    return element("text", words, x=f"{x:.1f}", y=f"{y:.1f}", text_anchor=anchor, fill="currentColor", **more)


def stroke(x1: float, y1: float, x2: float, y2: float, opacity: float = 0.15, **more: str) -> Html:
    places = {"x1": x1, "y1": y1, "x2": x2, "y2": y2}
    drawn = {name: f"{value:.1f}" for name, value in places.items()}
    return element("line", **drawn, stroke="currentColor", stroke_opacity=f"{opacity:g}", **more)


def drawing(width: float, height: float, label: str, parts: Iterable[Html]) -> Html:
    return element(
        "svg",
        *parts,
        viewBox=f"0 0 {width:g} {height:g}",
        width="100%",
        style=f"max-width:{width:g}px;display:block;font:11px system-ui,sans-serif",
        role="img",
        aria_label=label,
    )


def chart(
    label: str, xs: Sequence[float], x_label: str, y_label: str, lines: Sequence[Line], regions: Sequence[Region] = ()
) -> Html:
    """Lines over a common x, both from zero."""
    across = ticks(max(xs, default=0), 6)
    heights = [value for line in lines if not line.right for value in line.values if value is not None]
    up = ticks(max(heights, default=0))
    wide, high = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def x_of(value: float) -> float:
        return LEFT + wide * min(value / (max(xs, default=0) or 1), 1)

    def y_of(value: float, right: bool = False) -> float:
        return TOP + high * (1 - value / (100 if right else up[-1]))

    def parts() -> Iterator[Html]:
        for region in regions:
            begin = x_of(region.begin) if region.begin is not None else LEFT
            end = x_of(region.end) if region.end is not None else LEFT + wide
            place = {"x": f"{begin:.1f}", "y": str(TOP), "width": f"{max(0, end - begin):.1f}", "height": str(high)}
            yield element("rect", **place, fill=TINTS[region.kind], fill_opacity="0.12")
            yield stroke(end, TOP, end, TOP + high, 0.35, stroke_dasharray="3 3")
            if end - begin > 7 * len(region.label):
                yield text((begin + end) / 2, TOP + 12, region.label, "middle", opacity="0.7")
        for value in up:
            yield stroke(LEFT, y_of(value), LEFT + wide, y_of(value))
            yield text(LEFT - 6, y_of(value) + 4, f"{value:,.6g}", "end", opacity="0.75")
        for value in across:
            if value <= max(xs, default=0):
                yield text(x_of(value), TOP + high + 15, f"{value:,.6g}", "middle", opacity="0.75")
        if any(line.right for line in lines):
            for percent in (0, 50, 100):
                yield text(LEFT + wide + 6, y_of(percent, True) + 4, f"{percent} %", opacity="0.75")
        for line in lines:
            ys = [None if value is None else y_of(value, line.right) for value in line.values]
            yield from drawn(line, list(map(x_of, xs)), ys)
        yield text(LEFT + wide / 2, HEIGHT - 4, x_label, "middle", opacity="0.75")
        yield from legend(y_label, lines)

    return drawing(WIDTH, HEIGHT, label, parts())


def drawn(line: Line, xs: Sequence[float], ys: Sequence[float | None]) -> Iterator[Html]:
    colour = COLOURS[line.colour % len(COLOURS)]
    known = [(x, y) for x, y in zip(xs, ys, strict=True) if y is not None]
    if not known:
        return
    path = known if line.style == "dots" else list(held(known))
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in path)
    if line.style == "area":
        floor = HEIGHT - BOTTOM
        outline = f"{path[0][0]:.1f},{floor} {points} {path[-1][0]:.1f},{floor}"
        yield element("polygon", points=outline, fill=colour, fill_opacity="0.16")
    yield element("polyline", points=points, fill="none", stroke=colour, stroke_width="1.6")
    if line.style == "dots":
        for x, y in known:
            yield element("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r="3", fill=colour)


def held(known: Sequence[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    """A level stays what it was until it is told anew."""
    for (x, y), (until, _) in pairwise(known):
        yield x, y
        yield until, y
    yield known[-1]


def legend(y_label: str, lines: Sequence[Line]) -> Iterator[Html]:
    yield text(4, 12, y_label, opacity="0.75")
    x = LEFT + 6.5 * max(0, len(y_label) - 6) + 14
    for line in lines:
        fill = COLOURS[line.colour % len(COLOURS)]
        yield element("rect", x=f"{x:.1f}", y="4", width="10", height="10", rx="2", fill=fill)
        yield text(x + 14, 13, line.label)
        x += 14 + 6.5 * len(line.label) + 16


def page_of(*parts: str) -> Html:
    """A cell's output: no style but its own, nothing that could leave it."""
    return element("div", joined(parts), style="max-width:760px;line-height:1.45;font-family:system-ui,sans-serif")
