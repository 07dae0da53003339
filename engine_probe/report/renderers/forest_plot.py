"""Changes as a forest plot: a row each, its interval as a bar, the ones that repeats show to be real in colour."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from engine_probe.analysis.compare.changes import Change
from page_kit.html import Html, element
from page_kit.svg import drawing, stroke, text

ROW, TOP, PLOT, WORDS, LETTER = 22, 30, 430, 200, 6.3  # a letter of 11 pixels, at its widest on average
COLOURS = {"better": "c2", "worse": "c3", "not shown to differ": "c5", "no repeats": "c0"}
LEAST = 0.05  # to either side of no change: less is mostly noise
SPANS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)  # to either side of no change


def forest(rows: Sequence[tuple[str, Change]], label: str, least: float = LEAST) -> Html:
    """Of changes that relate to something; what lies beyond the picture ends in an arrow, its figure beside it."""
    drawn = [(name, change, change.relative) for name, change in rows if change.relative is not None]
    span = reach([relative for _, _, relative in drawn], least)
    left = 20 + LETTER * max((len(name) for name, *_ in drawn), default=0)
    right = left + PLOT
    height = TOP + ROW * len(drawn) + 8

    def place(share: float) -> float:
        return left + (right - left) * (min(max(share, -span), span) + span) / (2 * span)

    def parts() -> Iterator[Html]:
        for share in (-span, -span / 2, 0.0, span / 2, span):
            yield text(place(share), 18, f"{100 * share:+.3g} %" if share else "0", "middle", opacity="0.7")
            yield stroke(place(share), TOP - 6, place(share), height - 4, 0.45 if share == 0 else 0.12)
        for number, (name, change, relative) in enumerate(drawn):
            y = TOP + ROW * number + ROW / 2
            colour = f"var(--{COLOURS[change.verdict]})"
            yield text(left - 12, y + 4, name, "end")
            yield from bar(change, y, colour, place)
            x = place(relative)
            if abs(relative) > span:
                points = f"{x:.1f},{y - 6:.1f} {x + (8 if relative > 0 else -8):.1f},{y:.1f} {x:.1f},{y + 6:.1f}"
                yield element("polygon", points=points, style=f"fill:{colour}")
            else:
                yield element("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r="4.5", style=f"fill:{colour}")
            yield text(right + 14, y + 4, f"{relative:+.{1 if span >= LEAST else 2}%}  {change.verdict}")

    return element("div", drawing(right + WORDS, height, label, parts()), class_="wide forest")


def bar(change: Change, y: float, colour: str, place: Callable[[float], float]) -> Iterator[Html]:
    if (interval := change.relative_interval) is None:
        return
    begin, end = map(place, interval)
    spot = {"x": f"{begin:.1f}", "y": f"{y - 3:.1f}", "width": f"{max(1, end - begin):.1f}", "height": "6", "rx": "3"}
    yield element("rect", **spot, style=f"fill:{colour};fill-opacity:.35")


def reach(relatives: Sequence[float], least: float = LEAST) -> float:
    """How far the picture goes to either side: past most changes, so that one outlier does not flatten the rest."""
    sizes = sorted(map(abs, relatives))
    most = sizes[int(0.85 * (len(sizes) - 1))] if sizes else 0
    return next((share for share in SPANS if share >= max(least, 1.25 * most)), SPANS[-1])
