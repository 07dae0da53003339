"""The axes of charts: the positions of values, and their ticks."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

STEPS = (1, 2, 2.5, 5, 10)
WHOLE_STEPS = (1, 2, 5, 10)


@dataclass(frozen=True)
class Scale:
    label: str
    log: bool = False  # by powers of two, marked at the values themselves
    shown: Callable[[float], str] = lambda value: f"{value:,.6g}"
    whole: bool = False  # counts, which have no halves
    from_zero: bool = False
    ticks: tuple[float, ...] = ()

    def place(self, value: float) -> float:
        return math.log2(value) if self.log else value

    def ends(self, values: Sequence[float]) -> tuple[float, float]:
        low = 0.0 if self.from_zero else self.place(min(values))
        return low, self.place(max(values))

    def shown_ticks(self, values: Sequence[float]) -> tuple[float, ...]:
        if self.ticks or self.log:
            return self.ticks or tuple(sorted(set(values)))
        low, high = self.ends(values)
        return ticks(high, low, 6, self.whole)


def ticks(
    high: float, low: float = 0.0, wanted: int = 5, whole: bool = False, *, cover: bool = False
) -> tuple[float, ...]:
    """Return about so many round values from low to high; with `cover` the last is at least as large as high."""
    span = max(high - low, 1e-12)
    if cover and high <= low:
        return (low, low + 1.0)
    size = 10.0 ** math.floor(math.log10(span / wanted))
    if whole:
        size = max(1.0, size)
    factors = WHOLE_STEPS if whole and size < 10 else STEPS
    step = next(size * factor for factor in factors if span / (size * factor) <= wanted * (1 + 1e-9))
    first = math.ceil(low / step - 1e-9)
    last = math.ceil(high / step - 1e-9) if cover else math.floor(high / step + 1e-9)
    return tuple(number * step for number in range(first, last + 1))
