"""Quantities with units, and safe text for a terminal."""

from rich.markup import escape

from page_kit.plain_text import plain

STEPS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
TIMES = ((1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1.0, "ns"))


def shown(text: str) -> str:
    """Return text that a terminal shows as it is: markup and control characters are escaped."""
    return escape(plain(text))


def quantity(value: float, unit: str) -> str:
    """Format a value with its unit, such as 4.30 TB/s, 788 TFLOP/s or 2.58 µs."""
    if unit == "ns":
        size, name = next(((size, name) for size, name in TIMES if value >= size), TIMES[-1])
        return f"{three(value / size)} {name}"
    size, prefix = next(((size, prefix) for size, prefix in STEPS if value >= size), (1.0, ""))
    return f"{three(value / size)} {prefix}{unit}"


def three(value: float) -> str:
    """Format with three digits, more than any of these figures is repeatable to."""
    return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f}"
