"""Shares of right and of faulty answers over the load, and tests of whether load changes them.

A question counts once, however often it was asked: by the share of its answers. Intervals are Wilson's over questions.
Each load is compared with the lowest question by question: H0 is that as many questions got worse as got better (exact
sign test); all tests of a curve are corrected together (Holm).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import comb

from engine_probe.analysis.statistics.grouped import grouped
from engine_probe.analysis.statistics.rank_tests import corrected
from engine_probe.analysis.statistics.student import SIGNIFICANT, Interval, wilson_interval

Shares = Mapping[str, float]  # question -> share of its answers with a property


@dataclass(frozen=True)
class MeanShare:
    """Holds the mean over questions of a share, and how many answers are behind it."""

    share: float
    interval: Interval
    count: int  # answers that have the property
    judged: int  # answers
    questions: int


@dataclass(frozen=True)
class ChangedShare:
    """How the answers to the same questions differ between the lowest load and another one."""

    name: str
    load: float
    more: int  # questions whose answers have the property more often at the higher load
    less: int
    p: float

    @property
    def significant(self) -> bool:
        return self.p < SIGNIFICANT


def shares(verdicts: Iterable[tuple[str, bool]]) -> dict[str, float]:
    """Return for each question the share of its answers that have a property."""
    found = grouped(verdicts, lambda verdict: verdict[0])
    return {question: sum(value for _, value in values) / len(values) for question, values in found.items()}


def rate(verdicts: Sequence[tuple[str, bool]]) -> MeanShare | None:
    """Return how many answers have a property. None if none was judged."""
    if not verdicts:
        return None
    by_question = shares(verdicts)
    number = len(by_question)
    share = sum(by_question.values()) / number
    count = sum(value for _, value in verdicts)
    return MeanShare(share, wilson_interval(share * number, number), count, len(verdicts), number)


def paired_changes(measures: Mapping[str, Mapping[float, Shares]]) -> tuple[ChangedShare, ...]:
    """Compare each load with the lowest, for each measure that has a value at both."""
    found = []
    for name, levels in measures.items():
        loads = sorted(load for load, level in levels.items() if level)
        found += [paired_change(name, load, levels[loads[0]], levels[load]) for load in loads[1:]]
    return tuple(corrected(found))


def paired_change(name: str, load: float, low: Shares, high: Shares) -> ChangedShare:
    common = low.keys() & high.keys()
    more = sum(high[question] > low[question] for question in common)
    less = sum(high[question] < low[question] for question in common)
    return ChangedShare(name, load, more, less, sign_test_p(more, less))


def sign_test_p(more: int, less: int) -> float:
    """Return the exact two-sided p of the sign test, under which both directions are equally likely."""
    number = more + less
    fewer = sum(comb(number, each) for each in range(min(more, less) + 1))
    return min(1.0, 2 * fewer / 2.0**number)
