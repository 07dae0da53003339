"""A bound on a change, such as "output_tokens_per_s < -5%": what a CI job stops at.

A bound is one question asked beforehand of one metric, so its own one-sided test at 5 % answers it, corrected for
nothing: Welch's, of the repeats after against those before, moved to the bound, with the noise that the points of a
curve have in common. Broken and kept are both shown by it;
what lies between is said to be open. With one run on a side the change itself is held to the bound.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import Literal

import numpy as np

from engine_probe.analysis.compare.changes import METRICS, PERPLEXITY, SIGNIFICANT, Change, difference
from engine_probe.analysis.compare.perplexity import PairedChange
from engine_probe.errors import InputError

FORM = re.compile(r"\s*(\w+)\s*([<>])\s*([+-]?\d+(?:\.\d+)?)\s*%\s*")


Answer = Literal["holds", "broken", "cannot tell"]


@dataclass(frozen=True)
class Judged:
    answer: Answer
    p: float | None  # one-sided: the chance to lie so far off a bound that is the truth; None with one run on a side


@dataclass(frozen=True)
class Gate:
    text: str
    metric: str
    below: bool
    percent: float

    def judge(self, change: Change) -> Judged:
        """A change from zero is beyond every bound above."""
        if change.paired is not None:
            return self._judge_pairs(change.paired)
        at_bound = [value * (1 + self.percent / 100) for value in change.old]
        together = change.noise.difference if change.noise is not None and self.percent > -100 else difference
        both, around = together(at_bound, change.new)
        p = None if both is None else both / 2
        away = change.after - float(np.mean(at_bound))
        beyond = away < 0 if self.below else away > 0
        if p is not None and p >= SIGNIFICANT and around != (0.0, 0.0):  # all repeats alike, and on the bound
            return Judged("cannot tell", p)
        return Judged("broken" if beyond else "holds", p)

    def _judge_pairs(self, paired: PairedChange) -> Judged:
        """By the windows that both sides scored."""
        bound = self.percent / 100
        both = paired.p(bound) if bound > -1 else None
        p = None if both is None else both / 2
        away = paired.relative - bound
        if p is not None and p >= SIGNIFICANT and paired.nats.error:
            return Judged("cannot tell", p)
        return Judged("broken" if (away < 0 if self.below else away > 0) else "holds", p)


def read_gate(text: str) -> Gate:
    found = FORM.fullmatch(text)
    if not found:
        raise InputError(f'--fail-if {text!r} is not a bound: write it as "output_tokens_per_s < -5%"')
    name, sign, percent = found.groups()
    names = [metric.name for metric in (*METRICS, PERPLEXITY)]
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(names)}"
        raise InputError(f"--fail-if {text!r}: there is no metric {name}: {hint}")
    return Gate(text, name, sign == "<", float(percent))
