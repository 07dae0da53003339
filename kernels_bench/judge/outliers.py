"""Devices that are slower than others of their model, in one machine or in a fleet."""

import statistics
from collections.abc import Sequence

import msgspec

from kernels_bench.judge.verdicts import gain, worst_of
from kernels_bench.output.quantities import quantity
from kernels_bench.results import INVALID, WARN, Result

FEW = 3  # devices from which the slow one can be told


def outliers(results: Sequence[Result], names: dict[str, str], tolerance: float, where: str = "here") -> list[Result]:
    """Return the results with a warning on each that is slower than those of equal devices; `names` tells equals."""
    judged = []
    for result in results:
        others = [other for other in results if _comparable(result, other, names)]
        judged.append(_against(result, others, tolerance, where) if others else result)
    return judged


def _comparable(result: Result, other: Result, names: dict[str, str]) -> bool:
    return (
        result is not other
        and result.figure is not None
        and other.figure is not None
        and (result.test, result.name) == (other.test, other.name)
        and INVALID not in (result.verdict, other.verdict)
        and names.get(result.device) == names.get(other.device) is not None
        # Events do not resolve five percent of the few microseconds from GPU to GPU.
        and not (result.test == "p2p" and result.figure.unit == "ns")
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
        reason = f"{change:+.1%} against {median} of {others[0].device}; with two, it is unknown which is right"
    return msgspec.structs.replace(result, verdict=worst_of((result.verdict, WARN)), reasons=(reason, *result.reasons))
