"""Sums and rates as text, and bands of them."""

from collections.abc import Callable


def amount(value: float | None, currency: str) -> str:
    """Return an amount with three significant figures. "-" if it is not known."""
    if value is None:
        return "-"
    digits = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"
    return f"{digits} {currency}".rstrip()


def sum_or_rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def band(ends: tuple[float, float] | None, form: Callable[[float], str] = sum_or_rate) -> str:
    """Return a band as `30–50`, or as one figure if its ends are alike. "-" if it is not known."""
    if ends is None:
        return "-"
    low, high = map(form, ends)
    return low if low == high else f"{low}–{high}"
