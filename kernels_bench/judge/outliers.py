"""The card that lags behind its equals: in one box, or in a fleet."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import msgspec

from kernels_bench.judge.verdicts import gain, worst_of
from kernels_bench.output.words import quantity
from kernels_bench.results import INVALID, WARN, Result

FEW = 3  # cards from which the odd one out can be told


def outliers(results: Sequence[Result], names: dict[str, str], tolerance: float, where: str = "here") -> list[Result]:
    """The same results, with the card named that lags behind its equals in the same box, or in the same fleet."""
    judged = []
    for result in results:
        others = [other for other in results if _comparable(result, other, names)]
        judged.append(_against(result, others, tolerance, where) if others else result)
    return judged


def _comparable(one: Result, other: Result, names: dict[str, str]) -> bool:
    return (
        one is not other
        and one.figure is not None
        and other.figure is not None
        and (one.test, one.name) == (other.test, other.name)
        and INVALID not in (one.verdict, other.verdict)
        and names.get(one.device) == names.get(other.device) is not None
        # Of the few microseconds from card to card, events tell no five percent.
        and not (one.test == "p2p" and one.figure.unit == "ns")
    )


def _against(result: Result, others: list[Result], tolerance: float, where: str) -> Result:
    values = [other.figure.value for other in others if other.figure]
    if result.figure is None or gain(result.figure, statistics.median(values)) >= -tolerance:
        return result
    median = quantity(statistics.median(values), result.figure.unit)
    change = gain(result.figure, statistics.median(values))
    if len(others) + 1 >= FEW:
        reason = f"{result.device} is the outlier: {change:+.1%} against {median}, the median of its equals {where}"
    else:
        reason = f"{change:+.1%} against {median} of {others[0].device}; of two, neither is known to be right"
    return msgspec.structs.replace(result, verdict=worst_of((result.verdict, WARN)), reasons=(reason, *result.reasons))
