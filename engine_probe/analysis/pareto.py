"""Output tokens/s per GPU against those per user: the frontier of all levels of several curves, and who is best where.

Per user is 1 / TPOT of the median request (InferenceX's interactivity; MLPerf Endpoints takes the p90 of TPOT). Per GPU
is the output throughput over the GPUs of all ranks; without GPUs, over the ranks. Between two levels nothing is
interpolated: the best at an interactivity is the highest throughput of the levels that reach it. A level is dominated
if another one is better in both even at the near ends of their intervals; one that is merely lower is not told apart.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from engine_probe.analysis.curve.levels import PointFigures, rate_of_curve
from engine_probe.analysis.statistics.grouped import grouped
from engine_probe.analysis.statistics.level_noise import in_rounds, over_levels
from engine_probe.analysis.statistics.repeats import Repeated

Device = Literal["GPU", "rank"]  # a rank is a process of an engine without GPUs
Status = Literal["frontier", "not told apart", "dominated"]


@dataclass(frozen=True)
class Served:
    """What one measured point served: a recording, or several engines together."""

    load: float
    started_ns: int
    output_tokens_per_s: float | None  # None if its load was not held
    tpot_ns: float | None  # of the median request; None without a second token
    gpus: int | None  # of all ranks; None if not recorded

    def gpu_rate(self) -> float | None:
        return None if self.output_tokens_per_s is None or not self.gpus else self.output_tokens_per_s / self.gpus


@dataclass(frozen=True)
class ServingLevel:
    """One level of load: output tokens per second for each user and for each GPU, over its repeats."""

    load: float
    per_user: Repeated
    per_gpu: Repeated
    gpus: int

    @property
    def has_intervals(self) -> bool:
        return self.per_user.low is not None and self.per_gpu.low is not None

    @property
    def least(self) -> tuple[float, float]:
        """Return the lower ends of both intervals; the means without repeats."""
        return end_or_mean(self.per_user.low, self.per_user), end_or_mean(self.per_gpu.low, self.per_gpu)

    @property
    def most(self) -> tuple[float, float]:
        return end_or_mean(self.per_user.high, self.per_user), end_or_mean(self.per_gpu.high, self.per_gpu)

    @property
    def means(self) -> tuple[float, float]:
        return self.per_user.mean, self.per_gpu.mean


def end_or_mean(end: float | None, found: Repeated) -> float:
    return found.mean if end is None else end


@dataclass(frozen=True)
class ServingCurve:
    """The levels of one setting, in the order of their loads."""

    name: str  # empty if it is the only one
    unit: str  # of the load
    levels: tuple[ServingLevel, ...]
    device: Device = "GPU"  # of which `gpus` are counted


@dataclass(frozen=True)
class PlacedLevel:
    """A level among those of all curves."""

    curve: ServingCurve
    level: ServingLevel
    status: Status
    better: ServingLevel | None = None  # of those that dominate it, the one with the highest throughput per GPU
    better_curve: str = ""
    rivals: tuple[str, ...] = ()  # of a level on the frontier: other curves that are not shown to be worse there

    @property
    def candidates(self) -> tuple[str, ...]:
        return self.curve.name, *self.rivals


@dataclass(frozen=True)
class Stretch:
    """Interactivities at which a curve gives the most tokens/s per GPU, or is not shown to give less."""

    after: float  # tokens/s per user; not part of it
    to: float
    name: str
    levels: tuple[PlacedLevel, ...]  # of the frontier, from the highest throughput to the highest interactivity

    @property
    def rivals(self) -> tuple[str, ...]:
        """Return the other curves that are not shown to give less at any of its levels."""
        first, *others = (placed.candidates for placed in self.levels)
        shared = (name for name in first if all(name in candidates for candidates in others))
        return tuple(name for name in shared if name != self.name)


@dataclass(frozen=True)
class Frontier:
    placed: tuple[PlacedLevel, ...]  # every level, curve after curve

    @property
    def levels(self) -> list[PlacedLevel]:
        """Return the levels on the frontier, from the highest throughput to the highest interactivity."""
        found = [placed for placed in self.placed if placed.status == "frontier"]
        return sorted(found, key=lambda placed: placed.level.per_user.mean)

    @property
    def dominated(self) -> list[PlacedLevel]:
        return [placed for placed in self.placed if placed.status == "dominated"]

    @property
    def device(self) -> Device:
        return "rank" if any(placed.curve.device == "rank" for placed in self.placed) else "GPU"

    @property
    def has_intervals(self) -> bool:
        return all(placed.level.has_intervals for placed in self.placed)

    @property
    def stretches(self) -> list[Stretch]:
        """Return who is best where, from low to high interactivity, in as few stretches as the intervals allow."""
        found: list[Stretch] = []
        left = self.levels
        while left:
            name = max(left[0].candidates, key=lambda name: run_length(name, left))
            levels, left = left[: run_length(name, left)], left[run_length(name, left) :]
            after = found[-1].to if found else 0.0
            found.append(Stretch(after, levels[-1].level.per_user.mean, name, tuple(levels)))
        return found


def run_length(name: str, levels: Sequence[PlacedLevel]) -> int:
    """Return at how many of the first levels a curve is best, or not shown to be worse."""
    return next((place for place, placed in enumerate(levels) if name not in placed.candidates), len(levels))


def served_by(points: Sequence[PointFigures]) -> list[Served]:
    """Return what the points of one curve served."""
    rate = rate_of_curve(points)
    return [
        Served(
            load=point.load,
            started_ns=point.started_ns,
            output_tokens_per_s=rate(point),
            tpot_ns=point.percentile_ns("TPOT", 50),
            gpus=point.summary.gpus.cards,
        )
        for point in points
    ]


def serving_curve(
    name: str, unit: str, points: Sequence[Served], device: Device = "GPU", apart: bool = False
) -> ServingCurve | None:
    """Return the levels of a curve. None if its GPUs are not known, or no answer has a second token.

    `apart`: other points, of any curve, were measured between the repeats of each level.
    """
    by_load = grouped(sorted(points, key=lambda point: point.load), lambda point: point.load)
    apart = apart or in_rounds((point.load, point.started_ns) for point in points)
    # Tokens that all came in one step, in no time, tell no rate.
    tpots = over_levels([(load, [each.tpot_ns or None for each in alike]) for load, alike in by_load.items()], apart)
    per_gpu = [(load, [each.gpu_rate() for each in alike]) for load, alike in by_load.items()]
    rates = over_levels(per_gpu, apart, throughput=True)
    levels = tuple(
        ServingLevel(load, per_second(tpot), rate, alike[0].gpus or 0)
        for (load, alike), tpot, rate in zip(by_load.items(), tpots, rates, strict=True)
        if tpot is not None and rate is not None
    )
    return ServingCurve(name, unit, levels, device) if levels else None


def per_second(tpot_ns: Repeated) -> Repeated:
    """Return tokens per second from nanoseconds per token; the noise of a curve is that of its times."""
    if tpot_ns.low is None or tpot_ns.high is None:
        return Repeated(1e9 / tpot_ns.mean, tpot_ns.count)
    highest = 1e9 / tpot_ns.low if tpot_ns.low > 0 else math.inf
    return Repeated(1e9 / tpot_ns.mean, tpot_ns.count, 1e9 / tpot_ns.high, highest)


def frontier(curves: Sequence[ServingCurve]) -> Frontier:
    """Place every level of these curves."""
    levels = [(curve, level) for curve in curves for level in curve.levels]
    return Frontier(tuple(placed(curve, level, levels) for curve, level in levels))


def placed(
    curve: ServingCurve, level: ServingLevel, levels: Sequence[tuple[ServingCurve, ServingLevel]]
) -> PlacedLevel:
    better = [(other.name, each) for other, each in levels if exceeds(each.least, level.most)]
    if better:
        name, best = max(better, key=lambda pair: pair[1].per_gpu.mean)
        return PlacedLevel(curve, level, "dominated", best, name)
    if any(exceeds(each.means, level.means) for _, each in levels):
        return PlacedLevel(curve, level, "not told apart")
    rivals = (other.name for other, each in levels if other is not curve and reaches(each.most, level.least))
    return PlacedLevel(curve, level, "frontier", rivals=tuple(dict.fromkeys(rivals)))


def exceeds(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return reaches(one, other) and one != other


def reaches(one: tuple[float, float], other: tuple[float, float]) -> bool:
    """Return whether both figures are at least those of the other."""
    return all(mine >= theirs for mine, theirs in zip(one, other, strict=True))
