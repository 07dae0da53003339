"""The values of a chart under the mouse, by a style sheet alone; where styles are taken away the chart stays static."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from page_kit.html import Html, element
from page_kit.svg import stroke, text

MOST_BANDS = 48
STYLE = ".at:hover line{stroke-opacity:.5}.at:hover text{visibility:visible}"


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
