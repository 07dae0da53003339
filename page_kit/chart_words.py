"""Descriptions of charts for screen readers."""

from collections.abc import Iterable, Sequence

FEW_POINTS = 6  # a line with up to so many points is described by all of them, others by ends and extremes


def line_words(label: str, points: Sequence[tuple[float, float]], x_unit: str, y_unit: str) -> str:
    """Describe a line by its ends and extremes, or by every value if it has few points."""
    if not points:
        return f"{label}: no value"
    unit = f" {y_unit}" if y_unit else ""

    def at(point: tuple[float, float]) -> str:
        return f"{number(point[1])} at {number(point[0])}"

    if len(points) <= FEW_POINTS:
        values = ", ".join(map(at, points))
        return f"{label}{unit and f' in{unit}'}, by {x_unit}: {values}"
    low, high = (pick(points, key=lambda point: point[1]) for pick in (min, max))
    ends = f"from {at(points[0])} to {at(points[-1])}"
    return f"{label}{unit and f' in{unit}'}, by {x_unit}: {ends}, lowest {at(low)}, highest {at(high)}"


def chart_words(title: str, lines: Iterable[str]) -> str:
    return ". ".join((title, *lines)) + "."


def number(value: float) -> str:
    return f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
