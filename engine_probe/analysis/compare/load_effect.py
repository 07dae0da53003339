"""Tests of whether load changes failures, latency, answers or a score, on runs and not on requests.

Requests of one run share its batch, machine and time, so they are no independent sample: each run gives one value. H0:
the value does not depend on load. H1: it rises or falls with load. Runs of a load may share noise, and a difference
between loads in no order looks like that noise; so a trend alone is tested, and with repeats each load counts once, by
its mean (t-test of the slope over the order of loads). Without repeats the runs are shuffled (Spearman's rank
correlation). All tests of one curve are corrected together (Holm). Where H0 is not rejected, equivalence is tested.
Loads that were measured in their order cannot be told from time.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from engine_probe.analysis.compare.changes import variance_of_mean
from engine_probe.analysis.statistics.arrays import Reals
from engine_probe.analysis.statistics.grouped import grouped
from engine_probe.analysis.statistics.level_noise import LevelNoise, in_rounds, level_noise
from engine_probe.analysis.statistics.rank_tests import cliffs_delta, corrected, rho, trend_p
from engine_probe.analysis.statistics.slope_in_drift import slope_in_drift_p
from engine_probe.analysis.statistics.student import ONE_SIDED, SIGNIFICANT, Interval, two_sided_p, welch

MARGIN = 0.1  # relative to the lowest load: a smaller difference counts as equivalent
SHARE_MARGIN = 0.05  # of requests
UNSTABLE = 0.1  # range of a load's repeats over their mean
IN_ORDER = 0.9  # rank correlation of load and time

FEWEST_MEANS = 3  # loads with repeats, of which a slope has an error

Verdict = Literal["rises", "falls", "not different", "cannot tell"]


@dataclass(frozen=True)
class RunSeen:
    """One run as the tests see it: its load, when it began, and one value for each of its outcomes."""

    name: str
    load: float
    started: float
    values: Mapping[str, float]
    samples: Mapping[str, Reals] = field(default_factory=dict)  # of its requests, for Cliff's delta
    counts: Mapping[str, int] = field(default_factory=dict)  # number of requests behind a share


@dataclass(frozen=True)
class OutcomeFigure:
    name: str
    unit: str
    share: bool = False  # a share of requests is compared by difference, other values by ratio


@dataclass(frozen=True)
class Effect:
    """The test of one outcome against load; `effects` corrects `p`."""

    outcome: OutcomeFigure
    runs: int
    loads: int
    repeats: int  # of the load with the fewest
    size: float  # rho
    p: float
    lowest: float  # mean value at the lowest load
    highest: float  # mean value at the highest load
    delta: float | None  # Cliff's, over requests of the highest and the lowest load: descriptive, not tested
    furthest: Interval | None  # the 90 % interval that reaches furthest, of all loads against the lowest
    bound: float | None = None  # upper 95 % bound of a share that was always zero
    by: Literal["runs", "loads"] = "runs"  # shuffled runs, or the means of loads
    in_order: bool = False  # loads were measured in ascending or descending order: it may be an effect of time

    @property
    def rejected(self) -> bool:
        return self.p < SIGNIFICANT

    @property
    def verdict(self) -> Verdict:
        if self.rejected:
            return "rises" if self.size > 0 else "falls"
        if self.bound is not None:
            return "not different" if self.bound <= SHARE_MARGIN else "cannot tell"
        margin = SHARE_MARGIN if self.outcome.share else MARGIN
        within = self.furthest is not None and max(map(abs, self.furthest)) <= margin
        return "not different" if within else "cannot tell"


@dataclass(frozen=True)
class Unstable:
    """A load whose repeats vary by more than `UNSTABLE`."""

    outcome: OutcomeFigure
    load: float
    repeats: tuple[float, ...]

    @property
    def range(self) -> float:
        return (max(self.repeats) - min(self.repeats)) / float(np.mean(self.repeats))


@dataclass(frozen=True)
class Effects:
    tested: tuple[Effect, ...]
    unstable: tuple[Unstable, ...]
    notes: tuple[str, ...]


def effects(runs: Sequence[RunSeen], outcomes: Sequence[OutcomeFigure]) -> Effects:
    """Test every outcome of one curve; without a second load there is nothing to test."""
    found, shaky, notes = list[Effect](), list[Unstable](), list[str]()
    for outcome in outcomes:
        with_value = [run for run in runs if math.isfinite(run.values.get(outcome.name, math.nan))]
        if len({run.load for run in with_value}) < 2:
            continue
        found.append(trend_of(outcome, with_value))
        if not outcome.share:
            shaky += unstable(outcome, with_value)
    if not found:
        return Effects((), (), ())
    notes += too_few(found)
    if any(effect.in_order for effect in found):
        notes.append(
            "loads were measured in ascending or descending order, so that an effect of load cannot be told from a "
            "drift of the machine: repeat every load in rounds (interleave)"
        )
    return Effects(tuple(corrected(found)), tuple(shaky), tuple(notes))


def too_few(found: Sequence[Effect]) -> Iterator[str]:
    """Yield where no trend could be significant."""
    if any(effect.by == "loads" and effect.loads < FEWEST_MEANS for effect in found):
        yield f"a trend takes at least {FEWEST_MEANS} loads: runs of a load may share noise, so each load counts once"
    shuffled = [effect.runs for effect in found if effect.by == "runs"]
    if shuffled and (least := 2 / math.factorial(min(*shuffled, 20))) * len(found) >= SIGNIFICANT:
        yield f"{min(shuffled)} runs are too few for any trend to be significant (p >= {least:.2g})"


def trend_of(outcome: OutcomeFigure, runs: Sequence[RunSeen]) -> Effect:
    by_load = values_by_load(runs, outcome.name)
    loads = np.array([run.load for run in runs])
    values = np.array([run.values[outcome.name] for run in runs])
    ends = [run for run in runs if run.load in (min(by_load), max(by_load))]
    repeats = min(map(len, by_load.values()))
    apart = in_rounds((run.load, run.started) for run in runs)
    noise = level_noise(list(by_load), list(by_load.values())) if apart and not outcome.share else None
    repeated = len(runs) > len(by_load)
    return Effect(
        outcome=outcome,
        size=rho(loads, values),
        p=repeated_p(outcome.name, runs, apart) if repeated else trend_p(loads, values),
        runs=len(runs),
        loads=len(by_load),
        repeats=repeats,
        lowest=float(np.mean(by_load[min(by_load)])),
        highest=float(np.mean(by_load[max(by_load)])),
        delta=delta_of(outcome.name, ends),
        furthest=furthest(by_load, noise) if apart and repeats > 1 and (noise or outcome.share) else None,
        bound=none_seen(outcome, runs) if outcome.share and not values.any() else None,
        by="loads" if repeated else "runs",
        in_order=abs(rho(loads, [run.started for run in runs])) >= IN_ORDER,
    )


def repeated_p(name: str, runs: Sequence[RunSeen], apart: bool) -> float:
    """Return p of a trend with repeats: what the runs of a load share must not explain it, nor a drift meanwhile.

    Repeats that followed each other cannot tell one from the other.
    """
    alone = slope_p(list(values_by_load(runs, name).values()))
    return max(alone, drifting_slope_p(runs, name)) if apart else alone


def slope_p(by_load: Sequence[Sequence[float]]) -> float:
    """Return the two-sided p of a slope of means over the order of loads: of logarithms, if all values are above zero.

    The error of the slope is how far the means lie off it, which shows what the runs of a load share.
    """
    freedom = len(by_load) - 2
    if freedom < 1:
        return 1.0
    scale = scale_of(by_load)
    places = np.arange(len(by_load)) - (len(by_load) - 1) / 2
    places /= places @ places
    means = np.array([float(np.mean(scale(group))) for group in by_load])
    slope = float(places @ means)
    left = means - means.mean() - slope * places / (places @ places)
    return two_sided_p(slope, math.sqrt(float(left @ left / freedom * (places @ places))), freedom)


def drifting_slope_p(runs: Sequence[RunSeen], name: str) -> float:
    """Return the two-sided p of the slope of runs over the order of loads, where the machine may drift meanwhile."""
    in_time = sorted(runs, key=lambda run: run.started)
    loads, values = sorted({run.load for run in runs}), [run.values[name] for run in in_time]
    places = np.array([loads.index(run.load) for run in in_time], dtype=np.float64)
    return slope_in_drift_p(places, np.asarray(scale_of([values])(values), dtype=np.float64))


def scale_of(groups: Sequence[Sequence[float]]) -> Callable[[Sequence[float]], Reals]:
    return np.log if min(map(min, groups)) > 0 else np.array


def values_by_load(runs: Sequence[RunSeen], name: str) -> dict[float, list[float]]:
    ordered = sorted(runs, key=lambda each: (each.load, each.started))
    return {load: [run.values[name] for run in same] for load, same in grouped(ordered, lambda run: run.load).items()}


def delta_of(name: str, ends: Sequence[RunSeen]) -> float | None:
    loads = sorted({run.load for run in ends})
    sides = [[run.samples[name] for run in ends if run.load == load and name in run.samples] for load in loads]
    if not all(sides):
        return None
    low, high = (np.concatenate(side) for side in sides)
    return cliffs_delta(low, high) if len(low) and len(high) else None


def furthest(by_load: Mapping[float, Sequence[float]], noise: LevelNoise | None) -> Interval | None:
    """Return the 90 % interval that reaches furthest, of every load against the lowest.

    It is of ratios less one, with the noise of all loads; without that, as of a share, it is of differences, with the
    noise of each load. An interval of 90 % within the margin is two one-sided tests of equivalence at 5 %.
    """
    if noise:
        found = [noise.ratio(at, 0, ONE_SIDED) for at in range(1, len(by_load))]
        return max(((low - 1, high - 1) for low, high in found), key=lambda each: max(map(abs, each)))
    base, *others = by_load.values()
    differences = []
    for other in others:
        variances, freedoms = (variance_of_mean(base), variance_of_mean(other)), (len(base) - 1, len(other) - 1)
        distance = float(np.mean(other) - np.mean(base))
        differences.append(welch(distance, variances, freedoms, confidence=ONE_SIDED)[1])
    return max(differences, key=lambda each: max(map(abs, each)))


def none_seen(outcome: OutcomeFigure, runs: Sequence[RunSeen]) -> float:
    """Return the upper 95 % bound of a share, given that none of the requests at the highest load had it."""
    most = max(run.load for run in runs)
    asked = sum(run.counts.get(outcome.name, 0) for run in runs if run.load == most)
    return float(1 - SIGNIFICANT ** (1 / asked)) if asked else 1.0


def unstable(outcome: OutcomeFigure, runs: Sequence[RunSeen]) -> list[Unstable]:
    found = [Unstable(outcome, load, tuple(values)) for load, values in values_by_load(runs, outcome.name).items()]
    return [each for each in found if len(each.repeats) > 1 and np.mean(each.repeats) > 0 and each.range > UNSTABLE]
