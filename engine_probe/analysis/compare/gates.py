"""Bounds on changes, such as "output_tokens_per_s < -5%", which fail a CI job.

A bound is judged by a one-sided test at 5 %: the occasions after against those before, shifted to the bound. It is
broken or holds if the test is significant; otherwise it is open. All points together are one planned test. At single
points a broken bound is corrected for their number (Holm), since one of many is broken by chance more often than one
alone. With one occasion on each side the drift between earlier ones is the measure; where that is not known the bound
is open, too.

A cost or an energy without a percentage, as in "joules_per_token > 0.5", is bounded itself, too: a one-sided t-test of
the repeats or occasions after decides, and a single measurement leaves it open.

A success rate without a sign, as in "success_rate < 95%", is bounded itself and not its change: the bound is broken if
the whole Wilson interval of the rate after is beyond it, and holds if none of it is.
"""

import difflib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from engine_probe.analysis.compare.changes import COMPARED, PERPLEXITY, SUCCESS_RATE, Change, tested, variance_of_mean
from engine_probe.analysis.compare.drift import apart
from engine_probe.analysis.compare.perplexity import PerplexityChange
from engine_probe.analysis.money.metrics import COST_PER_ITEM, ENERGY
from engine_probe.analysis.run.success import Success
from engine_probe.analysis.statistics.rank_tests import holm
from engine_probe.analysis.statistics.student import SIGNIFICANT, two_sided_p, wilson_interval
from engine_probe.errors import InputError

FORM = re.compile(r"\s*(\w+)\s*([<>])\s*([+-]?\d+(?:\.\d+)?(?:e-?\d+)?)\s*(%?)\s*")
BOUNDED_ITSELF = [metric.name for metric in (*COST_PER_ITEM, *ENERGY)]  # also without a percentage


MOST_PERCENT = 100
Answer = Literal["holds", "broken", "open"]


@dataclass(frozen=True)
class Judged:
    answer: Answer
    p: float | None  # one-sided; None if it is not tested


@dataclass(frozen=True)
class Gate:
    text: str
    metric: str
    below: bool
    percent: float
    is_level: bool = False  # bounds the rate after, and not its change
    limit: float | None = None  # of the figure after itself, in its unit; `percent` is then not used

    def judge_rate(self, found: Success) -> Judged:
        """Judge the success rate of a measurement."""
        low, high = (end * 100 for end in wilson_interval(found.answered, found.asked))
        if self.percent >= MOST_PERCENT:  # no interval ends at the bound: the count decides
            low = high = found.rate * 100
        if not self.below:
            low, high = -high, -low
        bound = self.percent if self.below else -self.percent
        return Judged("broken" if high < bound else "holds" if low >= bound else "open", None)

    def judge_points(self, changes: Sequence[Change]) -> list[Judged]:
        """Judge the changes at single points, and correct those that break the bound for the number of points."""
        alone = [self.judge(change) for change in changes]
        tested = [index for index, each in enumerate(alone) if each.p is not None]
        chances = holm([1.0 if alone[index].answer == "holds" else alone[index].p or 0.0 for index in tested])
        for index, p in zip(tested, chances, strict=True):
            if alone[index].answer == "broken":
                alone[index] = Judged("broken" if p < SIGNIFICANT else "open", p)
        return alone

    def judge(self, change: Change) -> Judged:
        """Judge a change by itself; a change from zero exceeds every upper bound."""
        if self.limit is not None:
            return self._judge_itself(change, self.limit)
        if change.paired is not None:
            return self._judge_pairs(change.paired)
        at_bound = [value * (1 + self.percent / 100) for value in change.old]
        away = change.after - float(np.mean(at_bound))
        if change.moments is not None:
            found = apart(change.metric, change.earlier, change.moments, float(np.mean(at_bound)), change.after)
            both = found[0] if found else None
        elif change.p is None:
            both = None
        else:
            both, _ = tested(at_bound, change.new)
        if both is None:
            return Judged("open", None)
        on_bound = not change.earlier and not np.ptp([*at_bound, *change.new])
        if both / 2 >= SIGNIFICANT and not on_bound:
            return Judged("open", both / 2)
        return Judged("broken" if self._exceeds(away) else "holds", both / 2)

    def _judge_itself(self, change: Change, limit: float) -> Judged:
        count = len(change.new)
        if count < 2:
            return Judged("open", None)
        away = change.after - limit
        p = two_sided_p(away, math.sqrt(variance_of_mean(change.new)), count - 1) / 2
        return Judged("open" if p >= SIGNIFICANT else "broken" if self._exceeds(away) else "holds", p)

    def _exceeds(self, away: float) -> bool:
        return away < 0 if self.below else away > 0

    def _judge_pairs(self, paired: PerplexityChange) -> Judged:
        """Judge by the windows that both sides scored."""
        bound = self.percent / 100
        both = paired.p(bound) if bound > -1 else None
        p = None if both is None else both / 2
        away = paired.relative - bound
        if p is not None and p >= SIGNIFICANT and paired.nats.error:
            return Judged("open", p)
        return Judged("broken" if self._exceeds(away) else "holds", p)


def read_gate(text: str) -> Gate:
    found = FORM.fullmatch(text)
    not_one = f'--fail-if {text!r} is not a bound: write it as "output_tokens_per_s < -5%"'
    if not found:
        raise InputError(not_one)
    name, sign, number, unit = found.groups()
    names = [metric.name for metric in (*COMPARED, PERPLEXITY)]
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(names)}"
        raise InputError(f"--fail-if {text!r}: there is no metric {name}: {hint}")
    if not unit:
        if name not in BOUNDED_ITSELF or float(number) <= 0:
            raise InputError(not_one)
        return Gate(text, name, sign == "<", 0.0, limit=float(number))
    is_level = name == SUCCESS_RATE and not number.startswith(("+", "-"))
    if is_level and not 0 < float(number) <= MOST_PERCENT:
        raise InputError(f'--fail-if {text!r}: a success rate is above 0% and at most 100%: write "success_rate < 95%"')
    return Gate(text, name, sign == "<", float(number), is_level)
