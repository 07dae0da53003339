"""Shapes and text in SVG, in the colours of the style sheet, or in fixed ones without it.

Text and axes have the colour of the text around them, so that they are readable on light and dark backgrounds.
"""

from collections.abc import Iterable

from page_kit.html import Html, element

PALETTE = ("#3b7de0", "#d9730d", "#12a37c", "#d64545", "#8a63d2", "#868e99", "#d15cc3", "#8f7d00")

# Lines beyond the palette have its colours again, in patterns of their own and with hollow points.
PATTERNS = ("", "2 3", "12 3 2 3")
BORDERS = ("solid", "dotted", "dashed")  # the patterns as the key shows them


def colour(number: int) -> str:
    place = number % len(PALETTE)
    return f"var(--c{place}, {PALETTE[place]})"


def round_of(number: int) -> int:
    """Return how often the palette was used up before this line; the last pattern serves for all that are beyond."""
    return min(number // len(PALETTE), len(PATTERNS) - 1)


def text(x: float, y: float, words: str, anchor: str = "start", **more: str) -> Html:
    return element("text", words, x=x, y=y, text_anchor=anchor, fill="currentColor", **more)


def stroke(x1: float, y1: float, x2: float, y2: float, opacity: float = 0.15, **more: str) -> Html:
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, stroke="currentColor", stroke_opacity=opacity, **more)


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
