"""The most load that meets an SLO, read off the levels of a sweep with what they leave open."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, takewhile
from typing import Literal

import numpy as np

from engine_probe.analysis.curve.levels import PointFigures
from engine_probe.analysis.run.goodput import share_range
from engine_probe.analysis.statistics.repeats import Repeated, repeated

Verdict = Literal["met", "broken", "open"]


@dataclass(frozen=True)
class SloLevel:
    """One load, all repeats together."""

    load: float
    kept: int
    judged: int
    met: bool  # by the share counted
    verdict: Verdict  # "open": chance among so few requests could turn it, or repeats disagree
    goodput: Repeated | None  # requests/s
    requests_per_s: float  # answered
    strain: float | None  # geometric mean of the repeats' percentiles

    @property
    def share(self) -> float:
        return self.kept / self.judged


@dataclass(frozen=True)
class MostLoad:
    """`most` and `beyond` are neighbours that were measured; the truth is within `sure` and `sure_beyond`."""

    levels: tuple[SloLevel, ...]
    most: float | None  # the highest level up to which each met the limits
    beyond: float | None  # the one above it, which did not
    sure: float | None  # the highest of them that surely did
    sure_beyond: float | None  # the lowest that surely did not
    crossing: float | None  # where the strain is 1 on a power law between `most` and `beyond`: strain ~ load ** x
    notes: tuple[str, ...]

    @property
    def best(self) -> SloLevel | None:
        """The level of the most load."""
        return next((level for level in self.levels if level.load == self.most), None)


def most_load(points: Sequence[PointFigures]) -> MostLoad | None:
    """None where no limits were named, or nothing could be judged."""
    ordered = sorted((point for point in points if point.summary.goodput), key=lambda point: point.load)
    by_load = [(load, list(same)) for load, same in groupby(ordered, key=lambda point: point.load)]
    levels = tuple(level for load, same in by_load if (level := slo_level(load, same)))
    if not levels:
        return None
    notes = [f"at {load:g} no request can be judged" for load, same in by_load if slo_level(load, same) is None]
    good = list(takewhile(lambda level: level.met, levels))
    most = good[-1] if good else None
    beyond = levels[len(good)] if len(good) < len(levels) else None
    if beyond and (again := [level.load for level in levels[len(good) :] if level.met]):
        notes.append(
            f"the limits are broken at {beyond.load:g} and kept at {', '.join(f'{load:g}' for load in again)} again: "
            "the most load is the end of the first stretch"
        )
    # What a higher load surely keeps a lower one keeps, too.
    sure = [level for level in good if level.verdict == "met"]
    surely_not = next((level.load for level in levels if level.verdict == "broken"), None)
    return MostLoad(
        levels=levels,
        most=most.load if most else None,
        beyond=beyond.load if beyond else None,
        sure=sure[-1].load if sure else None,
        sure_beyond=surely_not,
        crossing=crossing(most, beyond) if most and beyond else None,
        notes=tuple(notes),
    )


def slo_level(load: float, points: Sequence[PointFigures]) -> SloLevel | None:
    found = [point.summary.goodput for point in points if point.summary.goodput and point.summary.goodput.judged]
    if not found:
        return None
    kept, judged = sum(each.kept for each in found), sum(each.judged for each in found)
    wanted = found[0].slo.percentile / 100
    low, high = share_range(kept, judged)
    agree = len({each.met for each in found}) == 1
    verdict: Verdict = "open" if not agree or low < wanted <= high else "met" if low >= wanted else "broken"
    strains = [each.strain for each in found]
    return SloLevel(
        load=load,
        kept=kept,
        judged=judged,
        met=kept >= wanted * judged - 1e-9,
        verdict=verdict,
        goodput=repeated([each.requests_per_s for each in found]),
        requests_per_s=float(np.mean([point.summary.requests_per_s for point in points])),
        strain=geometric_mean(strains),
    )


def geometric_mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None and 0 < value < math.inf]
    return math.exp(sum(map(math.log, known)) / len(known)) if len(known) == len(values) else None


def crossing(most: SloLevel, beyond: SloLevel) -> float | None:
    if most.strain is None or beyond.strain is None or not most.strain <= 1 < beyond.strain:
        return None
    part = -math.log(most.strain) / (math.log(beyond.strain) - math.log(most.strain))
    return most.load * math.exp(part * math.log(beyond.load / most.load))
