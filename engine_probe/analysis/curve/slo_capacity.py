"""The highest load of a curve that meets an SLO, and the certainty of that."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Literal

import numpy as np

from engine_probe.analysis.curve.levels import PointFigures, by_load
from engine_probe.analysis.run.goodput import Goodput
from engine_probe.analysis.run.slo import WHOLE
from engine_probe.analysis.statistics.repeats import Repeated, repeated
from engine_probe.analysis.statistics.student import wilson_interval

Verdict = Literal["met", "broken", "open"]


@dataclass(frozen=True)
class SloLevel:
    """The goodput at one load, over all repeats."""

    load: float
    kept: int
    judged: int
    met: bool  # by the counted share
    verdict: Verdict  # "open" if not significant, or if repeats disagree
    goodput: Repeated | None  # requests/s
    requests_per_s: float  # answered
    strain: float | None  # geometric mean over repeats
    only_dear: bool = False  # all that is missed is a limit on costs or energies
    unknown: tuple[str, ...] = ()  # why such a limit cannot be judged
    whole: tuple[tuple[str, float], ...] = ()  # the mean of each cost and energy that is limited

    @property
    def share(self) -> float:
        return self.kept / self.judged


@dataclass(frozen=True)
class MostLoad:
    """The highest load that meets the SLO: between `most` and `beyond`, surely between `sure` and `sure_beyond`."""

    levels: tuple[SloLevel, ...]
    most: float | None  # the highest level up to which all levels met the limits
    beyond: float | None  # the next level, which did not
    sure: float | None  # the highest of the levels up to `most` that significantly did
    sure_beyond: float | None  # the lowest that significantly did not
    crossing: float | None  # where the strain is 1, by a power law between `most` and `beyond`
    notes: tuple[str, ...]
    least: float | None = None  # the lowest level that meets them. None unless lower ones are only too dear

    @property
    def best(self) -> SloLevel | None:
        """Return the highest level that meets the limits."""
        return next((level for level in self.levels if level.load == self.most), None)


def most_load(points: Sequence[PointFigures]) -> MostLoad | None:
    """Find the highest load that meets the limits. None without limits or without a judged request."""
    judged_at = {same[0].load: slo_level(same) for same in by_load(point for point in points if point.summary.goodput)}
    levels = tuple(level for level in judged_at.values() if level)
    if not levels:
        return None
    notes = [f"at {load:g} no request can be judged" for load, level in judged_at.items() if level is None]
    notes += list(dict.fromkeys(reason for level in levels for reason in level.unknown))
    dear, judged = without_dear(levels)
    good = list(takewhile(lambda level: level.met, judged))
    most = good[-1] if good else None
    beyond = judged[len(good)] if len(good) < len(judged) else None
    if beyond and (again := [level.load for level in judged[len(good) :] if level.met]):
        notes.append(
            f"the limits are missed at {beyond.load:g} and met again at {', '.join(f'{load:g}' for load in again)}: "
            "the most load is the last level before the first miss"
        )
    # What a higher load surely meets a lower load meets, too.
    sure = [level for level in good if level.verdict == "met"]
    surely_not = next((level.load for level in judged if level.verdict == "broken"), None)
    return MostLoad(
        levels=levels,
        most=most.load if most else None,
        beyond=beyond.load if beyond else None,
        sure=sure[-1].load if sure else None,
        sure_beyond=surely_not,
        crossing=crossing(most, beyond) if most and beyond else None,
        notes=tuple(notes),
        least=good[0].load if dear and good else None,
    )


def without_dear(levels: Sequence[SloLevel]) -> tuple[Sequence[SloLevel], Sequence[SloLevel]]:
    """Separate the lowest levels if they miss only limits on costs and energies, which a higher load may meet."""
    dear = list(takewhile(lambda level: level.only_dear, levels))
    if len(dear) == len(levels) or not levels[len(dear)].met:
        return (), levels
    return dear, levels[len(dear) :]


def slo_level(points: Sequence[PointFigures]) -> SloLevel | None:
    """Return the goodput over the repeats of a load. None if no request can be judged."""
    found = [point.summary.goodput for point in points if point.summary.goodput and point.summary.goodput.judged]
    if not found:
        return None
    kept, judged = sum(each.kept for each in found), sum(each.judged for each in found)
    wanted = found[0].slo.percentile / 100
    low, high = wilson_interval(kept, judged)
    agree = len({each.met for each in found}) == 1
    verdict: Verdict = "open" if not agree or low < wanted <= high else "met" if low >= wanted else "broken"
    success_met, success_verdict = success_of(found)
    whole_met, whole_verdict, unknown, whole = whole_of(found)
    requests_met = kept >= wanted * judged - 1e-9 and success_met
    strains = [each.worst_strain for each in found]
    return SloLevel(
        load=points[0].load,
        kept=kept,
        judged=judged,
        met=requests_met and whole_met,
        verdict=worse(worse(verdict, success_verdict), whole_verdict),
        goodput=repeated([each.requests_per_s for each in found]),
        requests_per_s=float(np.mean([point.summary.requests_per_s for point in points])),
        strain=geometric_mean(strains),
        only_dear=requests_met and not whole_met and not unknown,
        unknown=unknown,
        whole=whole,
    )


def success_of(found: Sequence[Goodput]) -> tuple[bool, Verdict]:
    """Return whether the success rate over all repeats is as the SLO asks, and whether that is significant."""
    bound = found[0].slo.success_percent
    if bound is None:
        return True, "met"
    known = [each.success for each in found if each.success is not None]
    if len(known) < len(found):
        return False, "open"
    answered, asked = sum(each.answered for each in known), sum(each.asked for each in known)
    low, high = wilson_interval(answered, asked)
    is_met = answered * 100 >= bound * asked - 1e-9
    return is_met, "broken" if high * 100 < bound else "met" if low * 100 >= bound else "open"


def whole_of(found: Sequence[Goodput]) -> tuple[bool, Verdict, tuple[str, ...], tuple[tuple[str, float], ...]]:
    """Judge mean costs and energies: whether they are within their limits, whether significantly, and what is unknown.

    Last come the means that are known.
    Of several repeats the interval of the mean decides.
    """
    met, unknown, means = True, [], []
    verdict: Verdict = "met"
    for limits in zip(*(each.whole for each in found), strict=True):
        mean = repeated([limit.value for limit in limits])
        if mean is None:
            reasons = [limit.reason for limit in limits if limit.value is None]
            unknown.append(f"{WHOLE[limits[0].name]} cannot be judged: {reasons[0]}")
            continue
        means.append((limits[0].name, mean.mean))
        low, high = (mean.mean if end is None else end for end in (mean.low, mean.high))
        met &= mean.mean <= limits[0].limit
        verdict = worse(verdict, "broken" if low > limits[0].limit else "met" if high <= limits[0].limit else "open")
    return (False, "open", tuple(unknown), tuple(means)) if unknown else (met, verdict, (), tuple(means))


def worse(one: Verdict, other: Verdict) -> Verdict:
    order: tuple[Verdict, ...] = ("broken", "open", "met")
    return min(one, other, key=order.index)


def geometric_mean(values: Sequence[float | None]) -> float | None:
    positive = [value for value in values if value is not None and 0 < value < math.inf]
    return math.exp(sum(map(math.log, positive)) / len(positive)) if len(positive) == len(values) else None


def crossing(most: SloLevel, beyond: SloLevel) -> float | None:
    if most.strain is None or beyond.strain is None or not most.strain <= 1 < beyond.strain:
        return None
    part = -math.log(most.strain) / (math.log(beyond.strain) - math.log(most.strain))
    return most.load * math.exp(part * math.log(beyond.load / most.load))
