"""Figures of one engine over many occasions: where they changed, if they did.

Under the null hypothesis occasions scatter around one mean, normally and independently, rates and times on a
logarithmic scale. The test takes the stretch of occasions, to the end or not, that differs most from the others by
Student's t (circular binary segmentation), and its p from simulated sequences of the same length, which allows for the
choice of the stretch, corrected for the number of figures (Holm). Where that is significant its parts are tested again.
An engine that drifts is no such sequence: then a change says that the mean moved, not that it moved at once.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np

from engine_probe.analysis.compare.changes import Metric
from engine_probe.analysis.statistics.arrays import Integers, Reals
from engine_probe.analysis.statistics.rank_tests import holm
from engine_probe.analysis.statistics.student import SIGNIFICANT, quantile

FEWEST = 4  # occasions; of fewer no split can be told from chance
SIMULATED, SEED = 20_000, 1
CELLS = 2_000_000  # that are computed at once


@dataclass(frozen=True)
class Shift:
    """A change of the mean; `at` is the place of the first occasion after it."""

    at: int
    before: float
    after: float
    p: float  # corrected

    @property
    def relative(self) -> float | None:
        return self.after / self.before - 1 if self.before else None


@dataclass(frozen=True)
class Trend:
    """One figure over the occasions."""

    metric: Metric
    values: tuple[float, ...]
    shifts: tuple[Shift, ...]
    intervals: tuple[tuple[float, float] | None, ...]  # in which an occasion would be found again
    tested: bool  # there are enough occasions, which differ

    def is_worse(self, shift: Shift) -> bool:
        return (shift.after < shift.before) == (self.metric.better == "more")


@dataclass(frozen=True)
class _Stretch:
    """Occasions from `begin` to before `end` of `parts[0]` to before `parts[1]`, which differ from the others there."""

    begin: int
    end: int
    part: tuple[int, int]
    p: float

    @property
    def places(self) -> list[int]:
        """Return where a change is: at both ends that are inside the part."""
        return [at for at in (self.begin, self.end) if self.part[0] < at < self.part[1]]


def trends(figures: Sequence[tuple[Metric, Sequence[float]]]) -> list[Trend]:
    """Return the trend of each figure; the tests of all of them are corrected together."""
    scaled = [on_scale(metric, values) for metric, values in figures]
    roots = {number: found for number, values in enumerate(scaled) if (found := stretch(values, 0, len(values)))}
    corrected = zip(roots.items(), holm([found.p for found in roots.values()]), strict=True)
    changed = {number: dict(changes(scaled[number], found, p, len(roots))) for (number, found), p in corrected}
    return [trend(*figure, scaled[number], changed.get(number, {})) for number, figure in enumerate(figures)]


def changes(values: Reals, found: _Stretch, p: float, tests: int) -> Iterator[tuple[int, float]]:
    """Yield the places of a stretch with its corrected p if that is significant, and those within its parts.

    A part is tested only then, so its p is corrected for the other parts and the other figures, and never below that
    of the stretch that made it.
    """
    if p >= SIGNIFICANT:
        return
    yield from dict.fromkeys(found.places, p).items()
    parts = list(pairwise(sorted({found.part[0], found.begin, found.end, found.part[1]})))
    for part in parts:
        if inner := stretch(values, *part):
            yield from changes(values, inner, max(p, min(1.0, inner.p * len(parts) * tests)), tests)


def trend(metric: Metric, values: Sequence[float], scaled: Reals, changed: dict[int, float]) -> Trend:
    ends = [0, *sorted(changed), len(values)]
    parts = [(begin, end) for begin, end in pairwise(ends) if end > begin]
    means = [float(np.mean(values[begin:end])) for begin, end in parts]
    shifts = (
        Shift(at, before, after, changed[at])
        for at, (before, after) in zip(sorted(changed), pairwise(means), strict=True)
    )
    logarithmic = is_logarithmic(metric, values)
    tested = len(values) >= FEWEST and bool(np.ptp(scaled))
    return Trend(metric, tuple(values), tuple(shifts), tuple(intervals(scaled, parts, logarithmic)), tested)


def on_scale(metric: Metric, values: Sequence[float]) -> Reals:
    """Return the logarithms of a rate or a time, as their noise is in proportion to them; other figures as they are."""
    array = np.asarray(values, dtype=np.float64)
    return np.log(array) if is_logarithmic(metric, values) else array


def is_logarithmic(metric: Metric, values: Sequence[float]) -> bool:
    return metric.in_proportion and min(values) > 0


def intervals(
    scaled: Reals, parts: Sequence[tuple[int, int]], logarithmic: bool
) -> Iterator[tuple[float, float] | None]:
    """Yield for each occasion the interval of the scatter between changes. None if that is not known."""
    freedom = len(scaled) - len(parts)
    squares = sum(float(((scaled[begin:end] - scaled[begin:end].mean()) ** 2).sum()) for begin, end in parts)
    if freedom < 1 or squares <= 0:
        yield from [None] * len(scaled)
        return
    reach = quantile(freedom) * math.sqrt(squares / freedom)
    for value in scaled.tolist():
        ends = value - reach, value + reach
        yield (math.exp(ends[0]), math.exp(ends[1])) if logarithmic else ends


def stretch(values: Reals, first: int, last: int) -> _Stretch | None:
    """Return the stretch that differs most, of the occasions from `first` to before `last`. None if nothing differs."""
    part = values[first:last]
    if len(part) < FEWEST or not np.ptp(part):
        return None
    begins, ends = pairs(len(part))
    strengths = differences(part[None, :])[0]
    best = int(np.argmax(strengths))
    p = float((1 + np.count_nonzero(null_strengths(len(part)) >= strengths[best])) / (1 + SIMULATED))
    return _Stretch(first + int(begins[best]), first + int(ends[best]), (first, last), p)


@cache
def pairs(count: int) -> tuple[Integers, Integers]:
    """Return the beginning and the end of every stretch that ends after the first occasion and is not the whole."""
    begins, ends = np.triu_indices(count + 1, 1)
    inside = (begins > 0) & (ends - begins < count)  # one that begins with the first is the complement of another
    return begins[inside], ends[inside]


def differences(rows: Reals) -> Reals:
    """Return for each row the absolute t of every stretch against the others, with the variance of both pooled."""
    count = rows.shape[1]
    begins, ends = pairs(count)
    sums = np.concatenate([np.zeros((len(rows), 1)), np.cumsum(rows, axis=1)], axis=1)
    sizes = ends - begins
    inside = sums[:, ends] - sums[:, begins]
    whole, squares = sums[:, -1:], np.square(rows).sum(axis=1, keepdims=True)
    within, without = inside / sizes, (whole - inside) / (count - sizes)
    rest = squares - sizes * within**2 - (count - sizes) * without**2
    floor = 1e-18 * np.maximum(1.0, squares)
    error = np.sqrt(np.maximum(rest, floor) / (count - 2) * (1 / sizes + 1 / (count - sizes)))
    found: Reals = np.abs(within - without) / error
    return found


@cache
def null_strengths(count: int) -> Reals:
    """Return the largest t of many sequences without a change."""
    rows = np.random.default_rng(SEED).standard_normal((SIMULATED, count))
    at_once = max(1, CELLS // len(pairs(count)[0]))
    parts = [differences(rows[at : at + at_once]).max(axis=1) for at in range(0, SIMULATED, at_once)]
    return np.concatenate(parts)
