"""The timing loop, which times every kernel of every test.

It warms up until the clock frequency settles. Then it takes rounds of samples with cold caches, one pair of events per
sample and one synchronise per round, until three rounds in a row agree, enough rounds were taken, or the time budget
is spent. All samples are kept, and a measurement that did not settle is marked.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from kernels_bench.results import Check, Detail, Figure, Samples, Unit

Call = Callable[[], object]

AGREEING_ROUNDS = 3
LEAST_SAMPLES = 3  # per round
MOST_SAMPLES = 2000  # per round, because each holds a pair of events
COLD_CACHES = 4  # data of this many times the last-level cache is no longer cached when it is used again
# Between two rounds, a clock that rises from idle changes by tens of percent, one at the power limit by a few.
SETTLED_CLOCK_SHARE = 0.05


class OutOfTimeError(Exception):
    """Raised when the time budget does not suffice for the figure `name`."""

    def __init__(self, name: str = "") -> None:
        super().__init__(name)
        self.name = name


class Clock(Protocol):
    """Times calls on one kind of device; the tests have a clock of their own."""

    cache_bytes: int
    short_ns: float  # a shorter call is not timed alone
    pauses: bool  # whether to flush before every long call, even if the data is cold

    def time_ns(self, calls: Sequence[Call], count: int, flush: bool) -> list[float]:
        """Return the times of `count` samples, which run the calls in turn."""
        ...

    def bundle(self, calls: Sequence[Call], count: int) -> Call:
        """Return one call that runs `count` calls in turn: a loop, or a graph on a GPU."""
        ...

    def frequency_mhz(self) -> int | None: ...

    def now_ns(self) -> int:
        """Return the wall-clock time, which decides how many samples are taken, and is never a sample."""
        ...


@dataclass(frozen=True)
class Effort:
    """Limits the time that is spent on a stable figure."""

    round_s: float
    rounds_at_most: int
    warm_up_at_most_s: float
    tolerance: float  # rounds agree if their medians differ by less than this share
    at_most_s: float = float("inf")  # for all rounds together


QUICK = Effort(round_s=0.1, rounds_at_most=8, warm_up_at_most_s=0.8, tolerance=0.02, at_most_s=1.5)
FULL = Effort(round_s=0.4, rounds_at_most=10, warm_up_at_most_s=3.0, tolerance=0.01, at_most_s=6.0)


def brief(effort: Effort) -> Effort:
    """Return the effort for a short trial, which is not a figure."""
    return replace(effort, rounds_at_most=1, round_s=0.02, warm_up_at_most_s=0.02)


@dataclass(frozen=True)
class Work:
    """Describes what is timed; the calls do the same work on different data."""

    calls: tuple[Call, ...]
    touched_bytes: int = 0  # by all calls together
    cold: bool = True  # data must come from memory, not from a cache
    graph: bool = True  # may be captured in a graph


def measure(work: Work, clock: Clock, effort: Effort, until_ns: float = math.inf) -> Samples:
    """Time the work until the clock shows `until_ns`; raise OutOfTimeError if not even one round fits."""
    flush = work.cold and work.touched_bytes < COLD_CACHES * clock.cache_bytes
    calls, per_sample, per_sample_ns = _bundled(work, clock, flush)
    flush = flush or (work.cold and clock.pauses and per_sample == 1)
    effort = _hurried(effort, per_sample_ns, until_ns - clock.now_ns())
    warm_up, settled, cost_ns = _settle(calls, clock, effort, flush)
    count = _count(effort.round_s, cost_ns)
    rounds: list[tuple[float, ...]] = []
    started_ns = clock.now_ns()
    while not agree(rounds, effort.tolerance) and len(rounds) < effort.rounds_at_most:
        if rounds and clock.now_ns() - started_ns > effort.at_most_s * 1e9:
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
    """Return whether the medians of the last rounds are within `tolerance` of each other."""
    if len(rounds) < AGREEING_ROUNDS:
        return False
    medians = [float(np.median(times)) for times in rounds[-AGREEING_ROUNDS:]]
    return max(medians) - min(medians) <= tolerance * min(medians)


def centre(rounds: Sequence[Sequence[float]]) -> tuple[float, float]:
    """Return median and interquartile range over all samples of the rounds."""
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
    detail: Detail | None = None,
) -> Figure:
    """Make the figure of a rate: work divided by the median time of a call."""
    return Figure(test, name, unit, work / samples.median_ns * 1e9, work, samples, check, detail or {})


def latency(
    test: str,
    name: str,
    samples: Samples,
    detail: Detail | None = None,
    check: Check | None = None,
) -> Figure:
    return Figure(test, name, "ns", samples.median_ns, 0, samples, check, detail or {})


def _hurried(effort: Effort, per_sample_ns: float, left_ns: float) -> Effort:
    """Limit the warm-up to a third of the time left; raise OutOfTimeError if warm-up and one round do not fit."""
    if 2 * LEAST_SAMPLES * per_sample_ns > left_ns:
        raise OutOfTimeError
    return replace(effort, warm_up_at_most_s=min(effort.warm_up_at_most_s, left_ns / 3e9))


def _bundled(work: Work, clock: Clock, flush: bool) -> tuple[tuple[Call, ...], int, float]:
    """Return what one sample runs, its number of calls and its time; bundle short calls unless flushing."""
    clock.time_ns(work.calls, len(work.calls), flush)  # the first call of a kernel also loads it
    alone_ns = float(np.median(clock.time_ns(work.calls, max(LEAST_SAMPLES, len(work.calls)), flush)))
    if flush or not work.graph or alone_ns >= clock.short_ns:
        return work.calls, 1, alone_ns
    turns = math.ceil(10 * clock.short_ns / (max(alone_ns, 1.0) * len(work.calls)))
    per_sample = min(turns, 1000) * len(work.calls)
    return (clock.bundle(work.calls, per_sample),), per_sample, per_sample * alone_ns


def _settle(calls: Sequence[Call], clock: Clock, effort: Effort, flush: bool) -> tuple[int, bool, float]:
    """Warm up until times and frequency settle; return the samples taken, whether they did, and a sample's cost."""
    medians: list[tuple[float]] = []
    frequencies: list[int | None] = []
    done, count, cost_ns = 0, LEAST_SAMPLES, 0.0
    started_ns = clock.now_ns()
    while not done or clock.now_ns() - started_ns < effort.warm_up_at_most_s * 1e9:
        before_ns = clock.now_ns()
        times = clock.time_ns(calls, count, flush)
        cost_ns = (clock.now_ns() - before_ns) / len(times)
        frequencies.append(clock.frequency_mhz())
        medians.append((float(np.median(times)),))
        done += len(times)
        if agree(medians, effort.tolerance) and _is_settled(frequencies):
            return done, True, cost_ns
        count = _count(effort.round_s / 2, cost_ns)
    return done, False, cost_ns


def _is_settled(frequencies: Sequence[int | None]) -> bool:
    last = [frequency for frequency in frequencies[-AGREEING_ROUNDS:] if frequency]
    return not last or max(last) - min(last) <= SETTLED_CLOCK_SHARE * max(last)


def _count(seconds: float, cost_ns: float) -> int:
    return max(LEAST_SAMPLES, min(MOST_SAMPLES, int(seconds * 1e9 / max(cost_ns, 1.0))))
