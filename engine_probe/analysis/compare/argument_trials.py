"""What a search over engine arguments found: the best setting, its gain, and what each argument did to the objective.

The best of many measurements is partly the luckiest, so that its own measurement overstates it. The gain is therefore
that of the repeats alone, which were made after the best was known, in turns with the first setting.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from engine_probe.analysis.compare.changes import difference
from engine_probe.analysis.curve.levels import PointFigures, held_rate, whole_run_rate
from engine_probe.analysis.statistics.rank_tests import corrected, orders, ranks
from engine_probe.analysis.statistics.student import Interval

Objective = Literal["output_tokens_per_s", "goodput_requests_per_s"]
OUTPUT: Objective = "output_tokens_per_s"
GOODPUT: Objective = "goodput_requests_per_s"
UNITS = {OUTPUT: "output tokens/s", GOODPUT: "requests/s within the SLO"}
FEWEST_OF_EFFECT = 6  # measured settings; fewer have too few orders for a small p


@dataclass(frozen=True)
class Score:
    """What a measured setting is judged by."""

    value: float
    strain: float | None = None  # how near the SLO's tightest limit it is, 1 at the limit; None if that is not known


@dataclass(frozen=True)
class Trial:
    """One measurement of a setting."""

    point: str  # its id
    setting: Mapping[str, Any]  # the searched arguments
    repeat: int  # 0 in the search itself
    score: Score | None  # None: it failed, for this reason
    reason: str = ""
    limited: bool = False  # by an SLO, which a strain that is not known does not meet
    load: str = ""  # at which it was measured, where the load of each setting was searched for

    @property
    def name(self) -> str:
        return json.dumps(self.setting, sort_keys=True)

    @property
    def is_feasible(self) -> bool:
        if self.score is None:
            return False
        return not self.limited or (self.score.strain is not None and self.score.strain <= 1)

    @property
    def value(self) -> float:
        assert self.score is not None
        return self.score.value


def scored(figures: PointFigures, objective: str) -> Score | None:
    """Judge a measured point: throughput while its load was held, or of the whole run where none was."""
    goodput = figures.summary.goodput
    strain = goodput.worst_strain if goodput else None
    if objective == GOODPUT:
        return Score(goodput.requests_per_s, strain) if goodput else None
    return Score(held_rate(figures) or whole_run_rate(figures), strain)


def at_best_load(measured: Sequence[Trial]) -> Trial:
    """Return a setting at its best load: the most within the SLO, else the nearest to it, else why it failed."""
    feasible = [trial for trial in measured if trial.is_feasible]
    if feasible:
        return max(feasible, key=lambda trial: trial.value)
    known = [(trial.score.strain or math.inf, number) for number, trial in enumerate(measured) if trial.score]
    return measured[min(known)[1]] if known else measured[-1]


def best_of(trials: Sequence[Trial]) -> Trial | None:
    """Return the best feasible trial of the search itself, the earliest of equals. None if there is none."""
    feasible = [trial for trial in trials if not trial.repeat and trial.is_feasible]
    return max(feasible, key=lambda trial: trial.value, default=None)


def challenger(trials: Sequence[Trial]) -> Trial | None:
    """Return the best feasible trial besides the first, which is measured again in turns with it."""
    return best_of([trial for trial in trials[1:] if trial.name != trials[0].name])


@dataclass(frozen=True)
class Gain:
    """The best setting against the first, by the repeats alone."""

    before: tuple[float, ...]
    after: tuple[float, ...]

    @property
    def relative(self) -> float:
        """Return the gain of the geometric means, in the middle of the interval."""
        return math.expm1(float(np.mean(np.log(self.after)) - np.mean(np.log(self.before))))

    @property
    def interval(self) -> Interval | None:
        """Return the interval of the gain (Welch's of the logarithms, 95 %). None without repeats on both sides."""
        if min(*self.before, *self.after) <= 0:
            return None
        _, around = difference(np.log(self.before).tolist(), np.log(self.after).tolist())
        return None if around is None else (math.expm1(around[0]), math.expm1(around[1]))


@dataclass(frozen=True)
class ArgumentEffect:
    """What one argument did to the objective, over all measured settings of the search."""

    argument: str
    correlation: float | None  # of ranks; None for choices
    medians: Mapping[str, tuple[float, int]]  # of each choice, the median and its number of trials; empty for numbers
    p: float  # of a permutation test, corrected for the number of arguments (Holm)


@dataclass(frozen=True)
class ArgumentTrials:
    """The trials of a search, in their order; the first has the arguments of the sweep file."""

    trials: tuple[Trial, ...]
    unit: str = UNITS[OUTPUT]
    points: int = 0  # measured or failed, of all loads of all trials

    @cached_property
    def searched(self) -> list[Trial]:
        return [trial for trial in self.trials if not trial.repeat]

    @property
    def first(self) -> Trial:
        return self.trials[0]

    @cached_property
    def challenger(self) -> Trial | None:
        return challenger(self.searched)

    def repeats(self, of: Trial) -> list[Trial]:
        """Return the measured repeats of a setting, without its measurement in the search."""
        return [trial for trial in self.trials if trial.repeat and trial.name == of.name and trial.score]

    @cached_property
    def gain(self) -> Gain | None:
        """Return the gain of the challenger over the first setting. None unless both were repeated."""
        if self.challenger is None:
            return None
        before, after = (tuple(trial.value for trial in self.repeats(side)) for side in (self.first, self.challenger))
        return Gain(before, after) if before and after else None

    @cached_property
    def as_good(self) -> list[int]:
        """Return the numbers of other settings that measured once what the best gave in one of its repeats, or more.

        The first is left out, since the gain compares it. Empty without repeats.
        """
        best = self.challenger
        if best is None or self.gain is None:
            return []
        least = min(self.gain.after)
        others = [trial for trial in self.searched if trial.name not in (best.name, self.first.name)]
        return [self.searched.index(trial) + 1 for trial in others if trial.is_feasible and trial.value >= least]

    @property
    def failed(self) -> list[Trial]:
        return [trial for trial in self.searched if trial.score is None]

    @property
    def infeasible(self) -> list[Trial]:
        return [trial for trial in self.searched if trial.score and not trial.is_feasible]

    @cached_property
    def effects(self) -> list[ArgumentEffect]:
        """Return the effect of each argument; none where too few settings were measured."""
        measured = [trial for trial in self.searched if trial.score]
        names = [name for name in self.first.setting if len({str(trial.setting[name]) for trial in measured}) > 1]
        if len(measured) < FEWEST_OF_EFFECT:
            return []
        return corrected([effect_of(name, measured) for name in names])


def effect_of(name: str, measured: Sequence[Trial]) -> ArgumentEffect:
    """Return the effect of one argument: of ranks for numbers, of the ranks' means for choices."""
    given = [(trial, trial.setting[name]) for trial in measured]
    numeric = [trial for trial, value in given if isinstance(value, int | float) and not isinstance(value, bool)]
    if len({trial.setting[name] for trial in numeric}) > 1 and len(numeric) >= FEWEST_OF_EFFECT:
        sizes = ranks([float(trial.setting[name]) for trial in numeric])
        values = ranks([trial.value for trial in numeric])
        strengths = np.abs(values[orders(len(numeric))] @ sizes)
        scale = float(np.sqrt((sizes @ sizes) * (values @ values)))
        return ArgumentEffect(name, float(values @ sizes) / scale if scale else 0.0, {}, share(strengths))
    choices = sorted({str(trial.setting[name]) for trial in measured})
    members = np.array([[str(trial.setting[name]) == choice for trial in measured] for choice in choices], dtype=float)
    values = ranks([trial.value for trial in measured])
    strengths = ((members @ values[orders(len(measured))].T) ** 2 / members.sum(axis=1)[:, None]).sum(axis=0)
    of_choice = {each: [trial.value for trial in measured if str(trial.setting[name]) == each] for each in choices}
    medians = {choice: (float(np.median(found)), len(found)) for choice, found in of_choice.items()}
    return ArgumentEffect(name, None, medians, share(strengths))


def share(strengths: Any) -> float:
    """Return how often a random order is at least as strong as the measured one, which comes first."""
    return float(np.mean(strengths >= strengths[0] - 1e-9))
