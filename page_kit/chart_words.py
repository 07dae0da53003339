"""What a chart shows, in words, for those who hear a page read aloud."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

EVERY = 6  # so many points of a line are all named; of more the ends and the extremes


def line_words(label: str, points: Sequence[tuple[float, float]], x_unit: str, y_unit: str) -> str:
    """Say where a line begins, ends, and is lowest and highest; of few points, every value."""
    if not points:
        return f"{label}: no value"
    unit = f" {y_unit}" if y_unit else ""

    def at(point: tuple[float, float]) -> str:
        return f"{number(point[1])} at {number(point[0])}"

    if len(points) <= EVERY:
        named = ", ".join(map(at, points))
        return f"{label}{unit and f' in{unit}'}, by {x_unit}: {named}"
    low, high = (pick(points, key=lambda point: point[1]) for pick in (min, max))
    ends = f"from {at(points[0])} to {at(points[-1])}"
    return f"{label}{unit and f' in{unit}'}, by {x_unit}: {ends}, lowest {at(low)}, highest {at(high)}"


def chart_words(title: str, lines: Iterable[str]) -> str:
    return ". ".join((title, *lines)) + "."


def number(value: float) -> str:
    return f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
