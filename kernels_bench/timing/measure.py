"""The one timing loop. Every kernel of every test goes through `measure`.

Warm up until the clock rests; then rounds of samples, cold caches, one event pair per sample and one
synchronise per round, until three rounds in a row agree, there have been enough of them, or the time budget is spent.
Nothing is thrown away: all samples are kept, and a measurement that never came to rest says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from kernels_bench.results import Check, Figure, Samples, Unit

Call = Callable[[], object]

AGREEING_ROUNDS = 3
LEAST_SAMPLES = 3  # per round
MOST_SAMPLES = 2000  # per round: each keeps an event pair
COLD_CACHES = 4  # data that spans this many last-level caches is not in them when its turn comes again
# A clock that is still climbing from idle moves by tens of percent between two looks; at a power limit it
# trembles by a few.
RESTING_CLOCK_SHARE = 0.05


class OutOfTimeError(Exception):
    """The time budget does not suffice for the figure `name`."""

    def __init__(self, name: str = "") -> None:
        super().__init__(name)
        self.name = name


class Clock(Protocol):
    """How one kind of device is timed. Tests have one of their own."""

    cache_bytes: int
    short_ns: float  # a call shorter than this is not timed alone
    pauses: bool  # whether a flush goes before every long call, needed or not

    def time_ns(self, calls: Sequence[Call], count: int, flush: bool) -> list[float]:
        """The time of each of `count` samples, which take the calls in turn."""
        ...

    def bundle(self, calls: Sequence[Call], count: int) -> Call:
        """`count` calls in turn as one: a loop, or a graph where the device has them."""
        ...

    def frequency_mhz(self) -> int | None: ...

    def now_ns(self) -> int:
        """The wall's time, flushes and all: it decides how many samples fit, never what a sample is."""
        ...


@dataclass(frozen=True)
class Effort:
    """How long is tried for a stable figure."""

    round_s: float
    rounds_at_most: int
    warm_up_at_most_s: float
    tolerance: float  # rounds whose medians differ by less than this share agree
    at_most_s: float = float("inf")  # for all rounds together, however slow the machine has become


QUICK = Effort(round_s=0.1, rounds_at_most=8, warm_up_at_most_s=0.8, tolerance=0.02, at_most_s=1.5)
FULL = Effort(round_s=0.4, rounds_at_most=10, warm_up_at_most_s=3.0, tolerance=0.01, at_most_s=6.0)


def brief(effort: Effort) -> Effort:
    """For one of many trials: a look, not a figure."""
    return replace(effort, rounds_at_most=1, round_s=0.02, warm_up_at_most_s=0.02)


@dataclass(frozen=True)
class Work:
    """What is timed. The calls do the same work on different data."""

    calls: tuple[Call, ...]
    touched_bytes: int = 0  # by all the calls together
    cold: bool = True  # data comes from memory, not from a cache
    graph: bool = True  # may be captured in a graph


def measure(work: Work, clock: Clock, effort: Effort, until_ns: float = math.inf) -> Samples:
    """Time the work until the clock shows `until_ns`. Raise OutOfTimeError where not even one round fits."""
    flush = work.cold and work.touched_bytes < COLD_CACHES * clock.cache_bytes
    calls, per_sample, per_sample_ns = _bundled(work, clock, flush)
    flush = flush or (work.cold and clock.pauses and per_sample == 1)
    effort = _hurried(effort, per_sample_ns, until_ns - clock.now_ns())
    warm_up, settled, cost_ns = _settle(calls, clock, effort, flush)
    count = _count(effort.round_s, cost_ns)
    rounds: list[tuple[float, ...]] = []
    begun_ns = clock.now_ns()
    while not agree(rounds, effort.tolerance) and len(rounds) < effort.rounds_at_most:
        if rounds and clock.now_ns() - begun_ns > effort.at_most_s * 1e9:
            break
        if rounds and clock.now_ns() >= until_ns:
            break
        times = clock.time_ns(calls, count, flush)
        rounds.append(tuple(time / per_sample for time in times))
    stable = agree(rounds, effort.tolerance)
    shortened = len(rounds) < min(AGREEING_ROUNDS, effort.rounds_at_most)
    median_ns, iqr_ns = centre(rounds[-AGREEING_ROUNDS:] if stable else rounds)
    return Samples(tuple(rounds), per_sample, warm_up * per_sample, settled, stable, median_ns, iqr_ns, shortened)


def agree(rounds: Sequence[Sequence[float]], tolerance: float) -> bool:
    """Whether the medians of the last rounds lie within `tolerance` of each other."""
    if len(rounds) < AGREEING_ROUNDS:
        return False
    medians = [float(np.median(times)) for times in rounds[-AGREEING_ROUNDS:]]
    return max(medians) - min(medians) <= tolerance * min(medians)


def centre(rounds: Sequence[Sequence[float]]) -> tuple[float, float]:
    """Median and distance between the quartiles, over all samples of the rounds."""
    times = np.concatenate([np.asarray(times) for times in rounds])
    low, middle, high = np.percentile(times, (25, 50, 75))
    return float(middle), float(high - low)


def rate(
    test: str,
    name: str,
    unit: Unit,
    work: int,
    samples: Samples,
    check: Check | None = None,
    detail: dict[str, str | int | float] | None = None,
) -> Figure:
    """Work per second, from the median time of a call."""
    return Figure(test, name, unit, work / samples.median_ns * 1e9, work, samples, check, detail or {})


def latency(test: str, name: str, samples: Samples, detail: dict[str, str | int | float] | None = None) -> Figure:
    return Figure(test, name, "ns", samples.median_ns, 0, samples, None, detail or {})


def _hurried(effort: Effort, per_sample_ns: float, left_ns: float) -> Effort:
    """Leave two thirds of the remaining time to the rounds; a warm-up and a round take `LEAST_SAMPLES` each."""
    if 2 * LEAST_SAMPLES * per_sample_ns > left_ns:
        raise OutOfTimeError
    return replace(effort, warm_up_at_most_s=min(effort.warm_up_at_most_s, left_ns / 3e9))


def _bundled(work: Work, clock: Clock, flush: bool) -> tuple[tuple[Call, ...], int, float]:
    """Return what one sample runs, its calls and its time: many short calls at once, unless the cache is flushed."""
    clock.time_ns(work.calls, len(work.calls), flush)  # the first call of a kernel also loads it
    alone_ns = float(np.median(clock.time_ns(work.calls, max(LEAST_SAMPLES, len(work.calls)), flush)))
    if flush or not work.graph or alone_ns >= clock.short_ns:
        return work.calls, 1, alone_ns
    turns = math.ceil(10 * clock.short_ns / (max(alone_ns, 1.0) * len(work.calls)))
    per_sample = min(turns, 1000) * len(work.calls)
    return (clock.bundle(work.calls, per_sample),), per_sample, per_sample * alone_ns


def _settle(calls: Sequence[Call], clock: Clock, effort: Effort, flush: bool) -> tuple[int, bool, float]:
    """Samples until time and frequency stand still: how many, whether they did, and what one costs."""
    medians: list[tuple[float]] = []
    frequencies: list[int | None] = []
    done, count, cost_ns = 0, LEAST_SAMPLES, 0.0
    begun_ns = clock.now_ns()
    while not done or clock.now_ns() - begun_ns < effort.warm_up_at_most_s * 1e9:
        before_ns = clock.now_ns()
        times = clock.time_ns(calls, count, flush)
        cost_ns = (clock.now_ns() - before_ns) / len(times)
        frequencies.append(clock.frequency_mhz())
        medians.append((float(np.median(times)),))
        done += len(times)
        if agree(medians, effort.tolerance) and _rests(frequencies):
            return done, True, cost_ns
        count = _count(effort.round_s / 2, cost_ns)
    return done, False, cost_ns


def _rests(frequencies: Sequence[int | None]) -> bool:
    last = [frequency for frequency in frequencies[-AGREEING_ROUNDS:] if frequency]
    return not last or max(last) - min(last) <= RESTING_CLOCK_SHARE * max(last)


def _count(seconds: float, cost_ns: float) -> int:
    return max(LEAST_SAMPLES, min(MOST_SAMPLES, int(seconds * 1e9 / max(cost_ns, 1.0))))
