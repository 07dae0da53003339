"""Tests of whether load changes failures, latency, answers or a score, on runs and not on requests.

Requests of one run share its batch, machine and time, so they are no independent sample: each run gives one value, and
runs are shuffled between the loads. H0: the value does not depend on load. H1: it rises or falls with load (Spearman's
rank correlation), or, with repeats, it differs between loads in any order (Kruskal-Wallis). Where all runs of a load
share noise (`level_noise.py`), loads are tested instead of runs, for a trend alone. All tests of one curve are
corrected together (Holm). Where H0 is not rejected, equivalence is tested. Loads that were measured in their order
cannot be told from time.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from engine_probe.analysis.compare.changes import SIGNIFICANT, variance_of_mean
from engine_probe.analysis.statistics.level_noise import LevelNoise, in_rounds, level_noise
from engine_probe.analysis.statistics.rank_tests import Reals, any_difference, cliffs_delta, holm, rho, trend_p
from engine_probe.analysis.statistics.student import ONE_SIDED, Interval, welch

MARGIN = 0.1  # relative to the lowest load: a smaller difference counts as equivalent
SHARE_MARGIN = 0.05  # of requests
UNSTABLE = 0.1  # range of a load's repeats over their mean
IN_ORDER = 0.9  # rank correlation of load and time

Verdict = Literal["rises", "falls", "differs", "not different", "cannot tell"]


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
class Outcome:
    name: str
    unit: str
    share: bool = False  # a share of requests is compared by difference, other values by ratio


@dataclass(frozen=True)
class Effect:
    """The test of one outcome against load; `effects` corrects `p`."""

    outcome: Outcome
    question: Literal["trend", "any difference"]
    runs: int
    loads: int
    repeats: int  # of the load with the fewest
    size: float  # rho of a trend, epsilon squared of any difference
    p: float
    lowest: float  # mean value at the lowest load
    highest: float  # mean value at the highest load
    delta: float | None  # Cliff's, over requests of the highest and the lowest load: descriptive, not tested
    furthest: Interval | None  # the 90 % interval that reaches furthest, of all loads against the lowest
    bound: float | None = None  # upper 95 % bound of a share that was always zero
    by: Literal["runs", "loads", "curve"] = "runs"  # shuffled, or how far loads lie off a smooth curve
    in_order: bool = False  # loads were measured in ascending or descending order: it may be an effect of time

    @property
    def rejected(self) -> bool:
        return self.p < SIGNIFICANT

    @property
    def verdict(self) -> Verdict:
        if self.rejected:
            return "differs" if self.question == "any difference" else "rises" if self.size > 0 else "falls"
        if self.bound is not None:
            return "not different" if self.bound <= SHARE_MARGIN else "cannot tell"
        margin = SHARE_MARGIN if self.outcome.share else MARGIN
        within = self.furthest is not None and max(map(abs, self.furthest)) <= margin
        return "not different" if within else "cannot tell"


@dataclass(frozen=True)
class Unstable:
    """A load whose repeats vary by more than `UNSTABLE`."""

    outcome: Outcome
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

    @property
    def telling(self) -> tuple[Effect, ...]:
        """Return one effect per outcome: the trend, or the other test if only that is significant."""
        best: dict[str, Effect] = {}
        for effect in self.tested:
            kept = best.setdefault(effect.outcome.name, effect)
            if effect.rejected and not kept.rejected:
                best[effect.outcome.name] = effect
        return tuple(best.values())


def effects(runs: Sequence[RunSeen], outcomes: Sequence[Outcome]) -> Effects:
    """Test every outcome of one curve; without a second load there is nothing to test."""
    found, shaky, notes = list[Effect](), list[Unstable](), list[str]()
    for outcome in outcomes:
        with_value = [run for run in runs if math.isfinite(run.values.get(outcome.name, math.nan))]
        if len({run.load for run in with_value}) < 2:
            continue
        found += tests_of(outcome, with_value)
        if not outcome.share:
            shaky += unstable(outcome, with_value)
    if not found:
        return Effects((), (), ())
    if single := list(dict.fromkeys(effect.outcome.name for effect in found if effect.repeats < 2)):
        of = "" if len(single) == len({effect.outcome.name for effect in found}) else f" ({', '.join(single)})"
        notes.append(
            f"some loads have one run{of}: only a trend over all loads is tested, not one load against another"
        )
    notes += shared_noise_notes(found)
    fewest, what = min((effect.loads, "loads") if effect.by == "loads" else (effect.runs, "runs") for effect in found)
    if (least := 2 / math.factorial(min(fewest, 20))) * len(found) >= SIGNIFICANT:
        notes.append(f"{fewest} {what} are too few for any trend to be significant (p >= {least:.2g})")
    if any(effect.in_order for effect in found):
        notes.append(
            "loads were measured in ascending or descending order, so that an effect of load cannot be told from a "
            "drift of the machine: repeat every load in rounds (interleave)"
        )
    corrected = holm([effect.p for effect in found])
    return Effects(
        tuple(replace(effect, p=p) for effect, p in zip(found, corrected, strict=True)), tuple(shaky), tuple(notes)
    )


def shared_noise_notes(found: Sequence[Effect]) -> Iterator[str]:
    """Yield where runs of a load are no independent observations."""
    if any(effect.by == "loads" for effect in found):
        yield "the runs of a load followed each other: their mean counts once, and loads are shuffled"
    if shared := [effect.outcome.name for effect in found if effect.by == "curve"]:
        yield (
            f"loads lie further from a smooth curve than their runs explain ({', '.join(shared)}): the trend is held "
            "against that (t-test), and not against the scatter of runs"
        )


def tests_of(outcome: Outcome, runs: Sequence[RunSeen]) -> list[Effect]:
    by_load = grouped(runs, outcome.name)
    loads = np.array([run.load for run in runs])
    values = np.array([run.values[outcome.name] for run in runs])
    ends = [run for run in runs if run.load in (min(by_load), max(by_load))]
    repeats = min(map(len, by_load.values()))
    apart = in_rounds((run.load, run.started) for run in runs)
    noise = level_noise(list(by_load), list(by_load.values())) if apart and not outcome.share else None
    alike = repeats > 1 and not apart  # the runs of a load are one observation
    trend = Effect(
        outcome=outcome,
        question="trend",
        size=rho(loads, values),
        p=trend_p(*means_of(by_load)) if alike else trend_p(loads, values),
        runs=len(runs),
        loads=len(by_load),
        repeats=repeats,
        lowest=float(np.mean(by_load[min(by_load)])),
        highest=float(np.mean(by_load[max(by_load)])),
        delta=delta_of(outcome.name, ends),
        furthest=furthest(by_load, noise) if apart and repeats > 1 and (noise or outcome.share) else None,
        bound=none_seen(outcome, runs) if outcome.share and not values.any() else None,
        by="loads" if alike else "runs",
        in_order=abs(rho(loads, [run.started for run in runs])) >= IN_ORDER,
    )
    if noise and noise.shared:
        return [replace(trend, p=noise.trend_p(), by="curve")]
    if repeats < 2 or alike or not values.any():
        return [trend]
    size, p = any_difference(loads, values)
    return [trend, replace(trend, question="any difference", size=size, p=p)]


def means_of(by_load: Mapping[float, Sequence[float]]) -> tuple[Reals, Reals]:
    """Return the loads and the mean of each."""
    return np.array(list(by_load)), np.array([float(np.mean(values)) for values in by_load.values()])


def grouped(runs: Sequence[RunSeen], name: str) -> dict[float, list[float]]:
    found: dict[float, list[float]] = {}
    for run in sorted(runs, key=lambda each: each.load):
        found.setdefault(run.load, []).append(run.values[name])
    return found


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


def none_seen(outcome: Outcome, runs: Sequence[RunSeen]) -> float:
    """Return the upper 95 % bound of a share, given that none of the requests at the highest load had it."""
    most = max(run.load for run in runs)
    asked = sum(run.counts.get(outcome.name, 0) for run in runs if run.load == most)
    return float(1 - SIGNIFICANT ** (1 / asked)) if asked else 1.0


def unstable(outcome: Outcome, runs: Sequence[RunSeen]) -> list[Unstable]:
    found = [Unstable(outcome, load, tuple(values)) for load, values in grouped(runs, outcome.name).items()]
    return [each for each in found if len(each.repeats) > 1 and np.mean(each.repeats) > 0 and each.range > UNSTABLE]
